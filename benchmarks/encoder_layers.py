"""Compare ways to compute each layer of ECAPA-TDNN, the features and DINO's loss: time of forward and backward.

    python benchmarks/encoder_layers.py --save FILE             # a GPU: the paper's encoder and batch
    python benchmarks/encoder_layers.py --save FILE --small     # to see on a CPU whether it runs

For each layer, shape and way: the first call's seconds (what compiling takes is in it), the median milliseconds after that, and how far
outputs and gradients lie from the plain way's, relative to their norm. Prints JSON and saves it after each layer.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the project is not installed

from benchmarks.measuring import synchronised, typical_seconds, versions
from benchmarks.speed_trainings import REPOSITORY, Figures, attempted
from selfsv.data.features import LogMel
from selfsv.losses.dino import dino_loss, entropy
from selfsv.models.ecapa import EcapaTdnn, SeRes2Block, TdnnLayer, TimeDelay
from selfsv.models.encoders import untrained
from selfsv.models.fused import delayed
from selfsv.settings.experiment import merged, resolve
from selfsv.settings.reading import read_file
from selfsv.torch_internals import let_vary

BUDGET = 0.15  # seconds per measurement after the first call
SHAPES = {"long": (512, 298), "short": (1024, 198)}  # crops and frames of a batch of 256 utterances
SMALL_SHAPES = {"long": (4, 40), "short": (6, 30)}
Way = Callable[..., Tensor]


def main() -> None:
    """Measure, print and save."""
    args = arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = {"channels": 32, "mfa_channels": 48} if args.small else {"channels": 512, "mfa_channels": 1536}
    experiment = resolve(merged(read_file(REPOSITORY / "config.yaml"), {"encoder": sizes}))
    encoder = untrained(experiment.encoder, experiment.features.mel_bins, 1, 0).to(device).train()
    assert isinstance(encoder, EcapaTdnn)
    shapes = SMALL_SHAPES if args.small else SHAPES
    outcome: Figures = {"machine": versions(device), "shapes": shapes, "layers": {}}
    layers = {**layers_of(encoder, device, shapes), **others(experiment.features, device, shapes, 512 if args.small else 65_536)}
    for name, (ways, inputs) in layers.items():
        outcome["layers"][name] = measured(ways, inputs, list(encoder.parameters()), device)
        print(json.dumps({name: outcome["layers"][name]}), flush=True)
        args.save.write_text(json.dumps(outcome, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--save", type=Path, required=True)
    made.add_argument("--small", action="store_true")
    return made.parse_args()


Layer = tuple[dict[str, Way], dict[str, list[Tensor]]]


def layers_of(encoder: EcapaTdnn, device: torch.device, shapes: dict[str, tuple[int, int]]) -> dict[str, Layer]:
    """The encoder's layers: ways to compute each, and its inputs by shape."""
    block = encoder.blocks[0]
    assert isinstance(block, SeRes2Block)
    enter, res2 = block.enter, block.res2.layers[0]
    assert isinstance(enter, TdnnLayer) and isinstance(res2, TdnnLayer)
    channels, width, wide = enter.delay.affine.out_features, res2.delay.affine.out_features, encoder.aggregate.affine.out_features

    def frames(size: int, count: int = 1) -> dict[str, list[Tensor]]:
        kind = torch.bfloat16 if device.type == "cuda" else torch.float32
        return {
            name: [torch.randn(*shape, size, device=device, dtype=kind).requires_grad_() for _ in range(count)]
            for name, shape in shapes.items()
        }

    def two_ways(method: Callable) -> dict[str, Way]:
        return {"plain": method, "compiled": compiled(method)}

    delay = partial(spliced_sum, res2.delay)
    return {
        "relu_norm_wide": (two_ways(lambda x: enter.normed(x, None)) | {"as an image": partial(norm_of_image, enter)}, frames(channels)),
        "relu_norm_narrow": (two_ways(lambda x: res2.normed(x, None)), frames(width)),
        "delay": (two_ways(delay) | {"convolution": partial(convolved, res2.delay)}, frames(width, 2)),
        "joined": (two_ways(lambda x, y: block.joined(x, y, None)), frames(channels, 2)),
        "pooled": (two_ways(lambda x: encoder.pooled(x, None)), frames(wide)),
        "affine_wide": ({"plain": enter.delay}, frames(channels)),
        "aggregate": ({"plain": encoder.aggregate}, frames(3 * channels)),
    }


def compiled(function: Callable) -> Way:
    """By torch's compiler, for any batch and number of frames."""
    made = torch.compile(function, dynamic=False)

    def call(*inputs: Tensor) -> Tensor:
        for tensor in inputs:
            let_vary(tensor, 0)
            let_vary(tensor, 1)
        return made(*inputs)

    return call


def spliced_sum(delay: TimeDelay, group: Tensor, before: Tensor) -> Tensor:
    """A delay in Res2."""
    return delay(group + before)


def convolved(delay: TimeDelay, group: Tensor, before: Tensor) -> Tensor:
    """The same by the convolution that trainings use on a GPU."""
    return delayed(delay, group + before) + delay.affine.bias


def norm_of_image(layer: TdnnLayer, frames: Tensor) -> Tensor:
    """ReLU and BatchNorm of an image of one row, whose BatchNorm may be another library's."""
    norm, image = layer.norm, F.relu(frames).transpose(1, 2).unsqueeze(2)
    return F.batch_norm(image, None, None, norm.weight, norm.bias, True).squeeze(2).transpose(1, 2)


def others(features: object, device: torch.device, shapes: dict[str, tuple[int, int]], prototypes: int) -> dict[str, Layer]:
    """Features, and the loss with its figures."""
    log_mel = LogMel(features).to(device)  # type: ignore[arg-type]
    waves = {name: [torch.randn(crops, 400 + 160 * (frames - 1), device=device)] for name, (crops, frames) in shapes.items()}
    (long, _), (short, _) = shapes["long"], shapes["short"]
    utterances = long // 2
    student = torch.randn(short // utterances, utterances, prototypes, device=device).requires_grad_()
    teacher = torch.randn(2, utterances, prototypes, device=device)
    return {
        "features": ({"plain": log_mel, "compiled": compiled(log_mel)}, waves),
        "loss": ({"plain": loss, "compiled": compiled(loss)}, {"batch": [student, teacher]}),
    }


def loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Of DINO, and the entropies that the history has."""
    targets = torch.softmax(teacher / 0.04, dim=-1)
    entropies = entropy(targets) + entropy(torch.softmax(student.detach() / 0.1, dim=-1))
    return torch.stack([dino_loss(student, targets, 0.1, "short_to_long"), 0 * entropies])


def measured(ways: dict[str, Way], inputs: dict[str, list[Tensor]], weights: list[Tensor], device: torch.device) -> Figures:
    """Every way on every shape."""
    return {way: {shape: attempted(partial(one, ways, way, tensors, weights, device)) for shape, tensors in inputs.items()} for way in ways}


def one(ways: dict[str, Way], way: str, inputs: list[Tensor], weights: list[Tensor], device: torch.device) -> Figures:
    """One way on one shape."""
    start = time.perf_counter()
    found = forth_and_back(ways[way], inputs, weights, device)
    synchronised(device)
    first = time.perf_counter() - start
    reference = forth_and_back(ways["plain"], inputs, weights, device)
    with torch.no_grad(), precision(device):
        forth = typical_seconds(lambda: ways[way](*inputs), device, BUDGET)
    return {
        "first_seconds": round(first, 2),
        "milliseconds": round(1000 * typical_seconds(lambda: forth_and_back(ways[way], inputs, weights, device), device, BUDGET), 3),
        "milliseconds_forth": round(1000 * forth, 3),
        "off": [float(f"{(a.float() - b.float()).norm() / b.float().norm():.2g}") for a, b in zip(found, reference, strict=True)],
    }


def precision(device: torch.device) -> AbstractContextManager:
    """As trainings have it on a GPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def forth_and_back(way: Way, inputs: list[Tensor], weights: list[Tensor], device: torch.device) -> list[Tensor]:
    """The output, and the gradients of its weighted sum: those of the inputs, and of the weights that are used."""
    with precision(device):
        output = way(*inputs)
    moved = [tensor for tensor in inputs if tensor.requires_grad]
    if not moved:
        return [output.detach()]
    upstream = torch.randn(output.shape, device=device, dtype=output.dtype, generator=torch.Generator(device).manual_seed(1))
    gradients = torch.autograd.grad(output, [*moved, *weights], upstream, allow_unused=True)
    return [output.detach(), *(gradient for gradient in gradients if gradient is not None)]


if __name__ == "__main__":
    main()
