"""Where the time of a step of CA-DINO goes, beside the least that arithmetic and memory allow; and what several GPUs would exchange."""

import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import REPEATS, copy_rate, product_rate, synchronised, typical_seconds
from benchmarks.speed_trainings import Bench, Figures, pretraining
from selfsv.data.batches import BatchIndices, FeatureExtractor, PretrainBatch, PretrainCrops
from selfsv.data.features import LogMel
from selfsv.engine.compilation import compile_forward
from selfsv.engine.optimisation import clip_each
from selfsv.engine.runtime import Runtime
from selfsv.engine.sent import HOST_LATENCY, Links, NotedGroup, PretendedGroup
from selfsv.losses.dino import cosine_consistency, dino_loss, entropy, teacher_probabilities, updated_centre
from selfsv.methods.ca_dino import Objective
from selfsv.methods.objective import update_teacher
from selfsv.methods.pretraining import Pretraining

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}
FREE = {"_unsafe_view", "empty", "empty_like", "new_empty", "empty_strided", "lift_fresh"}  # move nothing
H100_PEAK = 990e12  # bfloat16 operations per second, without sparsity
PROGRESS = 5.0  # epochs
COUNTED = (4, 8)  # utterances: what is counted at both is extrapolated
Part = Callable[[], object]
PROFILED = 3  # steps
MOST_KERNELS, LONGEST_NAME = 40, 160
KINDS = {
    "fused by the compiler": "^triton_",
    "convolutions": "conv|fprop|dgrad|wgrad|cudnn",
    "matrix products": r"gemm|nvjet|cutlass|xmma|addmm|\bmm\b|bmm",
    "copies": "memcpy|memset|copy|cat",
    "reductions": "reduce|softmax|norm",
    "element by element": "elementwise|foreach|multi_tensor|index|gather|scatter",
}


def training(bench: Bench, runtime: Runtime) -> Pretraining:
    """CA-DINO in the midst of an epoch."""
    training = pretraining(bench._replace(runtime=runtime))
    training.begin_epoch(0)
    return training


def batch_of(bench: Bench, utterances: int) -> PretrainBatch:
    """One batch as the loader gives it."""
    crops = PretrainCrops(bench.inputs.corpus, bench.inputs.sampler, bench.experiment.pretrain.crops, 1, None)
    batch: PretrainBatch = crops[BatchIndices(0, np.arange(utterances))]
    if bench.runtime.device.type == "cuda":
        long, short = (views._replace(samples=views.samples.pin_memory()) for views in (batch.long, batch.short))
        return batch._replace(long=long, short=short)
    return batch


# Parts of a step ------------------------------------------------------------------------------------------------------


def parts(method: Pretraining, features: FeatureExtractor, batch: PretrainBatch) -> dict[str, Part]:
    """The parts of `Pretraining.step`, each to be carried out by itself, any number of times."""
    device, dino, both = features.device, method.settings.dino, (batch.long, batch.short)
    objective = cast(Objective, method.objective)
    moved = [views.samples.flatten(0, 1).to(device) for views in both]
    plans = [type(views.params)(*(field.flatten() for field in views.params)) for views in both if views.params is not None]
    waves = [features._augmenter(crops, plan) for crops, plan in zip(moved, plans, strict=True)]
    long, short = (features.log_mel(wave) for wave in waves)
    views = len(batch.long.samples)
    autocast, student, teacher = method._runtime.autocast, objective.student, objective.teacher
    with torch.no_grad(), autocast():
        seen = teacher.encoder(long)
        embeddings = torch.cat([student.encoder(part).unflatten(0, (-1, len(batch.utterances))) for part in (long, short)])
        logits = teacher.head(seen).unflatten(0, (views, -1))

    def teacher_encoder() -> None:
        with torch.no_grad(), autocast():
            teacher.encoder(long)

    def student_encoder() -> None:
        with autocast():
            outputs = torch.cat([student.encoder(long), student.encoder(short)])
        outputs.backward(torch.ones_like(outputs))
        student.encoder.zero_grad(set_to_none=True)

    def teacher_head() -> None:
        with torch.no_grad(), autocast():
            teacher.head(seen)

    def student_head_and_loss() -> None:
        leaf = embeddings.detach().requires_grad_()
        targets = teacher_probabilities(logits, objective.centre, 0.04)
        with autocast():
            outputs = student.head(leaf[views:].flatten(0, 1)).unflatten(0, (-1, len(batch.utterances)))
        loss = dino_loss(outputs, targets, dino.student_temperature, dino.pairing)
        (loss + dino.cosine_weight * cosine_consistency(leaf, views)).backward()
        student.head.zero_grad(set_to_none=True)

    def figures_and_centre() -> None:
        with torch.no_grad():
            mean = logits.float().flatten(0, -2).mean(dim=0)
            updated_centre(objective.centre, mean[None], dino.centre_momentum)
            targets = torch.softmax(logits.float(), dim=-1)
            entropy(targets), targets.flatten(0, 1).mean(dim=0)
            entropy(torch.softmax(students.float() / dino.student_temperature, dim=-1))

    with torch.no_grad(), autocast():
        students = student.head(embeddings[views:].flatten(0, 1))

    def optimiser_and_average() -> None:
        for parameter in student.parameters():
            parameter.grad = gradients[parameter]
        clip_each(student.parameters(), method.settings.optimiser.clip_gradient)
        method._optimiser.step()
        update_teacher(teacher, student, 0.996)
        method._optimiser.zero_grad(set_to_none=True)

    gradients = {parameter: torch.zeros_like(parameter) for parameter in student.parameters()}
    return {
        "copies": lambda: [views.samples.to(device, non_blocking=True) for views in both],
        "augmentation": lambda: [features._augmenter(crops, plan) for crops, plan in zip(moved, plans, strict=True)],
        "features": lambda: [features.log_mel(wave) for wave in waves],
        "teacher_encoder": teacher_encoder,
        "student_encoder_forward_and_backward": student_encoder,
        "teacher_head": teacher_head,
        "student_head_and_loss_forward_and_backward": student_head_and_loss,
        "figures_and_centre": figures_and_centre,
        "optimiser_and_average": optimiser_and_average,
    }


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write when none is fused with another, and of matrix products alone."""

    def __init__(self) -> None:
        super().__init__()
        self.every, self.products = 0.0, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if not func.is_view and name not in FREE:
            moved = float(sum(map(nbytes, tree_leaves((args, kwargs, result)))))
            self.every += moved
            self.products += moved if name in PRODUCTS else 0.0
        return result


def nbytes(value: object) -> int:
    """Of a tensor; what an expanded one repeats lies in memory once."""
    return min(value.numel() * value.element_size(), value.untyped_storage().nbytes()) if isinstance(value, Tensor) else 0


class Count(NamedTuple):
    """Of one part."""

    operations: float  # floating point, a multiply-add being two
    bytes_unfused: float
    bytes_of_products: float


def counted(part: Part) -> Count:
    """What a part of a network that is not compiled does; `part` has run before, so that nothing is set up in it."""
    with FlopCounterMode(display=False) as operations, Traffic() as traffic:
        part()
    return Count(float(operations.get_total_flops()), traffic.every, traffic.products)


def counts(bench: Bench) -> dict[str, Count]:
    """Of every part of a step: counted at two small sizes, as everything is constant or grows in proportion."""
    method = training(bench, replace(bench.runtime, compile=False))
    found = []
    for size in COUNTED:
        made = parts(method, bench.inputs.features, batch_of(bench, size))
        found.append({name: counted(part) for name, part in made.items()})
    few, more = COUNTED

    def extrapolated(low: float, high: float) -> float:
        return low + (high - low) * (bench.args.batch_size - few) / (more - few)

    return {name: Count(*map(extrapolated, found[0][name], found[1][name])) for name in found[0]}


def parts_of_pretraining(bench: Bench) -> Figures:
    """Milliseconds of each part by itself, of the whole step, and the floors of each."""
    device, dtype = bench.runtime.device, torch.bfloat16 if bench.runtime.bfloat16 else torch.float32
    arithmetic, memory = product_rate(device, dtype), copy_rate(device)
    expected = counts(bench)
    method, batch = training(bench, bench.runtime), batch_of(bench, bench.args.batch_size)
    whole = typical_seconds(lambda: method.step(batch, PROGRESS), device)
    seconds = {name: typical_seconds(part, device) for name, part in parts(method, bench.inputs.features, batch).items()}
    found = {name: floors(value, expected[name], arithmetic, memory) for name, value in seconds.items()}
    operations = sum(count.operations for count in expected.values())
    return {
        "utterances": bench.args.batch_size,
        "whole_step_milliseconds": milliseconds(whole),
        "sum_of_parts_milliseconds": milliseconds(sum(seconds.values())),
        "gigaflop_per_utterance": round(operations / bench.args.batch_size / 1e9, 2),
        "flop_per_second": float(f"{operations / whole:.3g}"),
        "share_of_measured_matrix_product_rate": round(operations / whole / arithmetic, 4),
        "share_of_the_paper_peak": round(operations / whole / H100_PEAK, 4) if is_h100(device) else None,
        "parts": found,
    }


def is_h100(device: torch.device) -> bool:
    """Whether the peak that its data sheet names is known here."""
    return device.type == "cuda" and "H100" in torch.cuda.get_device_name()


def floors(seconds: float, count: Count, arithmetic: float, memory: float) -> Figures:
    """A part's time beside what its arithmetic would take at the rate of a large matrix product, and its traffic at that of a copy.

    The least traffic is that of matrix products whose neighbours are all fused into them; the greatest that of operations each of
    which reads its inputs from memory and writes its outputs to it.
    """
    return {
        "milliseconds": milliseconds(seconds),
        "gigaflop": round(count.operations / 1e9, 2),
        "floor_arithmetic_milliseconds": milliseconds(count.operations / arithmetic),
        "floor_traffic_of_products_milliseconds": milliseconds(count.bytes_of_products / memory),
        "traffic_unfused_milliseconds": milliseconds(count.bytes_unfused / memory),
    }


def milliseconds(seconds: float) -> float:
    """Rounded to what can be trusted."""
    return float(f"{1000 * seconds:.4g}")


def kernels(bench: Bench) -> Figures:
    """Profile a step of CA-DINO on a batch that is loaded already."""
    method, batch = training(bench, bench.runtime), batch_of(bench, bench.args.batch_size)
    return kernels_of(lambda: method.step(batch, PROGRESS), bench.runtime.device)


def kernels_of(work: Part, device: torch.device) -> Figures:
    """Profile `work`: its kernels by their time on the device, and the share of each kind.

    On the CPU it is torch's operations, by their own time.
    """
    for _ in range(3):
        work()
    wall = typical_seconds(work, device)
    host = host_seconds(work, device)
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiled:
        for _ in range(PROFILED):
            work()
        synchronised(device)
    events = profiled.key_averages()
    spent = Counter({event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total for event in events})
    calls = {event.key: event.count for event in events}
    total = max(sum(spent.values()), 1e-9)  # nothing, where the machine does not let its GPU be watched
    kinds: Counter[str] = Counter()
    for name, microseconds in spent.items():
        kinds[kind_of(name)] += microseconds
    return {
        "step_milliseconds": milliseconds(wall),
        "host_milliseconds": milliseconds(host),
        "device_busy_milliseconds": milliseconds(1e-6 * total / PROFILED),
        "kernels_per_step": round(sum(calls.values()) / PROFILED),
        "share_of_kind": {kind: round(microseconds / total, 4) for kind, microseconds in kinds.most_common()},
        "kernels": [
            {
                "name": name[:LONGEST_NAME],
                "milliseconds_per_step": milliseconds(1e-6 * microseconds / PROFILED),
                "calls_per_step": round(calls[name] / PROFILED, 1),
                "share": round(microseconds / total, 4),
            }
            for name, microseconds in spent.most_common(MOST_KERNELS)
        ],
    }


def host_seconds(work: Part, device: torch.device) -> float:
    """The median time until everything has been handed to an idle device, which may have hardly begun by then."""
    times = []
    for _ in range(REPEATS):
        synchronised(device)
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    synchronised(device)
    return statistics.median(times)


def kind_of(kernel: str) -> str:
    """Of what sort a kernel is, by its name."""
    return next((kind for kind, names in KINDS.items() if re.search(names, kernel, re.IGNORECASE)), "other")


# What is not compiled today ----------------------------------------------------------------------------------------


def candidates(bench: Bench) -> Figures:
    """What compiling more than the encoder would save: features, and the loss on the logits of all prototypes, forward and backward."""
    device, batch = bench.runtime.device, batch_of(bench, bench.args.batch_size)
    waves = [torch.randn(views.samples.flatten(0, 1).shape, device=device) for views in (batch.long, batch.short)]
    plain, compiled = (LogMel(bench.experiment.features).to(device) for _ in range(2))
    compile_forward(compiled)
    loss = torch.compile(loss_of_logits, dynamic=False)
    shape = (len(batch.short.samples), bench.args.batch_size, bench.args.prototypes)
    logits, targets = torch.randn(shape, device=device), torch.softmax(torch.randn(2, *shape[1:], device=device), dim=-1)
    logits = logits.bfloat16() if bench.runtime.bfloat16 else logits

    def gradient_by(function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        leaf = logits.detach().requires_grad_()
        function(leaf, targets).backward()
        return leaf.grad

    return {
        "features": versus(lambda: [plain(wave) for wave in waves], lambda: [compiled(wave) for wave in waves], device),
        "loss": versus(lambda: [gradient_by(loss_of_logits)], lambda: [gradient_by(loss)], device),
    }


def loss_of_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """Of the student, at the paper's temperature and pairing."""
    return dino_loss(logits, targets, 0.1, "short_to_long")


def versus(plain: Callable[[], list[Tensor]], compiled: Callable[[], list[Tensor]], device: torch.device) -> Figures:
    """Both times, and the greatest difference of the outcomes as a share of their greatest value."""
    pairs = list(zip(plain(), compiled(), strict=True))
    difference = max(float((one - other).abs().max() / one.abs().max()) for one, other in pairs)
    return {
        "milliseconds": milliseconds(typical_seconds(plain, device)),
        "compiled_milliseconds": milliseconds(typical_seconds(compiled, device)),
        "greatest_difference": float(f"{difference:.2g}"),
    }


# Several GPUs ---------------------------------------------------------------------------------------------------------


def many_gpus(bench: Bench, link: float, latency: float) -> Figures:
    """What a step of CA-DINO sends, and how much faster several GPUs would be if sending took as long as said.

    The time of a step without sending is measured on this device, with the BatchNorm that several processes have, on the part of
    the batch that each would see. Sending is not hidden behind computing, which is how the training does it.

    Args:
        link: GB/s one way.
        latency: of one message, microseconds.
    """
    group = NotedGroup()
    noted = training(bench, replace(bench.runtime, compile=False, group=group))
    with group.noting_norms():
        noted.step(batch_of(bench, COUNTED[0]), PROGRESS)
    group.largest(0)  # the loop's own, on whether to save
    sent, links = group.sent(), Links(gigabytes_per_second=link, latency_microseconds=latency)
    one = step_seconds(bench, bench.runtime, bench.args.batch_size)

    def of(gpus: int) -> Figures:
        grouped = replace(bench.runtime, group=PretendedGroup(0, gpus))
        same_batch = step_seconds(bench, grouped, max(2, bench.args.batch_size // gpus))
        larger_batch = step_seconds(bench, grouped, bench.args.batch_size)
        return {
            "sending_milliseconds": milliseconds(sent.seconds(gpus, links=links)),
            "efficiency_same_batch": round(one / (gpus * (same_batch + sent.seconds(gpus, links=links))), 3),
            "efficiency_batch_grows": round(one / (larger_batch + sent.seconds(gpus, links=links)), 3),
        }

    return {
        "megabytes_per_step": round(sent.bytes / 1e6, 2),
        "megabytes_of_gradients": round(sent.gradients / 1e6, 2),
        "messages_between_devices": len(sent.between_devices),
        "messages_between_hosts": sent.between_hosts,
        "step_milliseconds_of_one": milliseconds(one),
        "assumed": {"link_gigabytes_per_second": link, "latency_microseconds": latency, "host_latency_microseconds": 1e6 * HOST_LATENCY},
        "gpus": {str(gpus): of(gpus) for gpus in (2, 4, 8)},
    }


def step_seconds(bench: Bench, runtime: Runtime, utterances: int) -> float:
    """Of the whole step."""
    method, batch = training(bench, runtime), batch_of(bench, utterances)
    return typical_seconds(lambda: method.step(batch, PROGRESS), runtime.device)
