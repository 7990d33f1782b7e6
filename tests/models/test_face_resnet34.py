"""The visual encoder: Table II by its numbers."""

import torch
from torch import nn

from selfsv.models.face_model import load_face_model, save_face_model
from selfsv.models.face_resnet34 import ResNet34, untrained_face_encoder
from selfsv.settings.faces import FaceEncoderSettings

SMALL = FaceEncoderSettings(width=4, input_side=64, embedding=12)


def table_ii(widths: tuple[int, ...] = (32, 64, 128, 256), blocks: tuple[int, ...] = (3, 4, 6, 3), embedding: int = 192) -> int:
    """Parameters counted from the table: 3 x 3 convolutions without bias, BatchNorm (2 per channel), shortcuts, embedding."""

    def convolution(inputs: int, outputs: int, side: int = 3) -> int:
        return side * side * inputs * outputs + 2 * outputs

    total, inputs = convolution(3, widths[0]), widths[0]
    for width, count in zip(widths, blocks, strict=True):
        total += convolution(inputs, width) + convolution(width, width) + convolution(inputs, width, 1)
        total += (count - 1) * 2 * convolution(width, width)
        inputs = width
    return total + widths[-1] * embedding + embedding


def test_parameters_are_those_of_table_ii():
    assert sum(parameter.numel() for parameter in ResNet34(FaceEncoderSettings()).parameters()) == table_ii() == 5_374_368


def test_each_stage_halves_the_image_as_table_ii_says():
    encoder = ResNet34(FaceEncoderSettings()).eval()
    shapes: list[tuple[int, ...]] = []
    for module in (encoder.stem, *encoder.stages):
        module.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        embedding = encoder(torch.zeros(1, 3, 224, 224))
    assert shapes == [(32, 224, 224), (32, 112, 112), (64, 56, 56), (128, 28, 28), (256, 14, 14)]
    assert embedding.shape == (1, 192)


def test_its_depth_is_34():
    layers = [module for module in ResNet34(FaceEncoderSettings()).modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    shortcuts = [layer for layer in layers if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)]
    assert len(layers) - len(shortcuts) == 34


def test_random_weights_depend_on_seed_and_round_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = untrained_face_encoder(SMALL, 1, 2).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = untrained_face_encoder(SMALL, 1, 2).state_dict(), untrained_face_encoder(SMALL, 1, 3).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["embedding.weight"], other["embedding.weight"])


def test_a_face_model_comes_back_from_its_file(tmp_path):
    encoder = untrained_face_encoder(SMALL, 1, 1).eval()
    save_face_model(tmp_path / "face_model.pt", SMALL, encoder.state_dict(), stage="train_av")
    loaded, settings = load_face_model(tmp_path / "face_model.pt")
    images = torch.rand(2, 3, 64, 64) - 0.5
    with torch.no_grad():
        assert settings == SMALL and torch.equal(loaded(images), encoder(images))
