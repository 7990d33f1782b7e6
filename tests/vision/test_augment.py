"""Augmentation of batches against torchvision's functions on single images; the pixel range."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference

from selfsv.data.face_augment import FaceAugmentationParams, FaceInput, augmented, blend, blurred, draw_params, luma, shift_hue
from selfsv.engine.runtime import Runtime
from selfsv.models.face_resnet34 import untrained_face_encoder
from selfsv.settings.faces import FaceAugmentationSettings, FaceEncoderSettings
from tests.conftest import orl_face
from tests.training.pretended_gpu import GPU, pretended_gpu

REPOSITORY = Path(__file__).parents[2]
CPU = torch.device("cpu")
FACTORS = torch.tensor([0.6, 1.0, 1.4, 0.0])


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """[4, 3, 112, 96] in [0, 1]: tinted photographs, so that colours matter."""
    tints = np.array([[1.0, 0.8, 0.6], [0.7, 1.0, 0.9], [0.5, 0.6, 1.0], [1.0, 1.0, 1.0]])
    photos = np.stack([np.asarray(orl_face(person, 2).resize((96, 112))) for person in range(1, 5)])
    return torch.from_numpy((photos * tints[:, None, None] / 255).astype(np.float32)).permute(0, 3, 1, 2)


# torchvision rounds the first weight of grey to 0.2989: 1e-4 of the range.
CHANGES = {
    "brightness": (lambda x: blend(x, torch.zeros_like(x), FACTORS), reference.adjust_brightness),
    "contrast": (lambda x: blend(x, luma(x).mean(dim=(1, 2, 3), keepdim=True).expand_as(x), FACTORS), reference.adjust_contrast),
    "saturation": (lambda x: blend(x, luma(x).expand_as(x), FACTORS), reference.adjust_saturation),
}


@pytest.mark.parametrize("name", CHANGES)
def test_colours_change_as_torchvisions(name, images):
    ours, theirs = CHANGES[name]
    expected = torch.stack([theirs(image, float(factor)) for image, factor in zip(images, FACTORS, strict=True)])
    torch.testing.assert_close(ours(images), expected, atol=2e-4, rtol=0)


def test_hue_turns_as_torchvisions(images):
    shifts = torch.tensor([0.1, -0.07, 0.02, 0.0])
    expected = torch.stack([reference.adjust_hue(image, float(shift)) for image, shift in zip(images, shifts, strict=True)])
    torch.testing.assert_close(shift_hue(images, shifts), expected, atol=1e-5, rtol=0)


def test_blur_is_torchvisions(images):
    sigmas = torch.tensor([0.1, 0.8, 1.9])
    expected = [reference.gaussian_blur(image, [9, 9], [float(sigma)] * 2) for image, sigma in zip(images[:3], sigmas, strict=True)]
    torch.testing.assert_close(blurred(images[:3], sigmas), torch.stack(expected), atol=1e-5, rtol=0)


def plan_of(count: int, **changes: object) -> FaceAugmentationParams:
    """A plan that changes nothing but what is named."""
    neutral = FaceAugmentationParams(
        flip=torch.zeros(count, dtype=torch.bool),
        brightness=torch.ones(count),
        contrast=torch.ones(count),
        saturation=torch.ones(count),
        hue=torch.zeros(count),
        grey=torch.zeros(count, dtype=torch.bool),
        blur=torch.zeros(count),
    )
    return neutral._replace(**changes)


def test_each_image_is_changed_on_its_own(images):
    untouched = augmented(images, plan_of(4))
    torch.testing.assert_close(untouched, images, atol=1e-6, rtol=0)
    one = torch.tensor([False, True, False, False])
    torch.testing.assert_close(augmented(images, plan_of(4, flip=one))[1], images[1].flip(2), atol=1e-6, rtol=0)
    grey = augmented(images, plan_of(4, grey=one))
    torch.testing.assert_close(grey[1], luma(images)[1].expand(3, -1, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(grey[[0, 2, 3]], images[[0, 2, 3]], atol=1e-6, rtol=0)
    some = augmented(images, plan_of(4, hue=torch.tensor([0.0, 0.1, 0.0, 0.0]), blur=torch.tensor([0.0, 0.0, 1.0, 0.0])))
    torch.testing.assert_close(some[1], reference.adjust_hue(images[1], 0.1), atol=1e-5, rtol=0)
    torch.testing.assert_close(some[2], reference.gaussian_blur(images[2], [9, 9], [1.0, 1.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(some[[0, 3]], images[[0, 3]], atol=1e-6, rtol=0)


def test_the_encoder_sees_squares_of_pixels_between_minus_a_half_and_a_half():
    faces = torch.from_numpy(np.stack([np.asarray(orl_face(person, 3).resize((96, 112))) for person in range(1, 9)]))
    faces[0, :20], faces[0, -20:] = 0, 255
    seen = FaceInput(224, CPU)(faces)
    assert seen.shape == (8, 3, 224, 224) and seen.dtype == torch.float32
    assert seen.min() == -0.5 and seen.max() == 0.5
    expected = reference.resize(faces.permute(0, 3, 1, 2).float(), [224, 224], antialias=False) / 255 - 0.5
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


def both_faces(side: int, device: torch.device) -> list[torch.Tensor]:
    """What an encoder sees of eight faces, clean and augmented: some are turned in hue or blurred, some are not."""
    rng = np.random.default_rng(3)
    faces = torch.from_numpy(rng.integers(0, 256, (8, 112, 96, 3), dtype=np.uint8))
    plans = [draw_params(rng, FaceAugmentationSettings()) for _ in range(8)]
    plan = FaceAugmentationParams(*(torch.from_numpy(np.stack(field)) for field in zip(*plans, strict=True)))
    return [FaceInput(side, device)(faces), FaceInput(side, device)(faces, plan)]


@pytest.mark.parametrize("side", [32, 224])
def test_clean_and_augmented_faces_lie_alike_in_memory(side, monkeypatch):
    """As the device's convolutions want them: whatever lies otherwise is copied in every layer, or goes through other code."""
    assert all(seen.is_contiguous() for seen in both_faces(side, CPU))
    with pretended_gpu(monkeypatch):
        assert all(seen.is_contiguous(memory_format=torch.channels_last) for seen in both_faces(side, GPU))
        runtime = Runtime(GPU, 0, True, False, 600.0)
        encoder = runtime.placed(untrained_face_encoder(FaceEncoderSettings(width=4, blocks=(1, 1, 1, 1)), 1, 0))
        weights = [weight for weight in encoder.parameters() if weight.ndim == 4]
        assert weights and all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_a_step_on_clean_faces_survives_on_the_cpu():
    """In a process of its own: with channels last torch's CPU convolutions have ended it without a word."""
    code = """
import torch
from selfsv.models.face_resnet34 import untrained_face_encoder
from selfsv.settings.faces import FaceEncoderSettings
from selfsv.engine.runtime import Runtime
from selfsv.data.face_augment import FaceInput
cpu = torch.device("cpu")
encoder = Runtime(cpu, 0, False, False, 600.0).placed(untrained_face_encoder(FaceEncoderSettings(width=8, blocks=(1, 1, 1, 1)), 1, 0))
encoder(FaceInput(48, cpu)(torch.zeros(32, 112, 96, 3, dtype=torch.uint8))).sum().backward()
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "done\n", (done.returncode, done.stderr)


def test_augmented_pixels_stay_in_range():
    rng = np.random.default_rng(1)
    faces = torch.from_numpy(rng.integers(0, 256, (64, 112, 96, 3), dtype=np.uint8))
    plans = [draw_params(rng, FaceAugmentationSettings()) for _ in range(64)]
    plan = FaceAugmentationParams(*(torch.from_numpy(np.stack(field)) for field in zip(*plans, strict=True)))
    seen = FaceInput(64, CPU)(faces, plan)
    assert seen.min() >= -0.5 and seen.max() <= 0.5


def test_a_small_encoder_sees_the_same_changes(images):
    """Shrunk first, since changes cost by the pixel; what the encoder sees is what it would see of changes at the full size."""
    faces = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    plan = FaceAugmentationParams(
        flip=torch.tensor([True, False, True, False]),
        brightness=torch.tensor([0.7, 1.2, 1.0, 0.9]),
        contrast=torch.tensor([1.3, 0.8, 1.0, 1.1]),
        saturation=torch.tensor([0.5, 1.2, 1.0, 1.4]),
        hue=torch.tensor([0.1, 0.0, -0.05, 0.02]),
        grey=torch.tensor([False, False, True, False]),
        blur=torch.tensor([2.0, 1.0, 1.5, 0.0]),
    )
    pixels = augmented(faces.permute(0, 3, 1, 2).float() / 255, plan)
    expected = reference.resize(pixels, [48, 48], antialias=False) - 0.5
    unchanged = FaceInput(48, CPU)(faces)
    seen = FaceInput(48, CPU)(faces, plan)
    assert (seen - expected).abs().mean() < 0.01 < 0.05 < (unchanged - expected).abs().mean()


def test_plans_follow_the_settings():
    rng = np.random.default_rng(2)
    drawn = FaceAugmentationParams(
        *(np.stack(field) for field in zip(*(draw_params(rng, FaceAugmentationSettings()) for _ in range(4000)), strict=True))
    )
    assert np.mean(drawn.flip) == pytest.approx(0.5, abs=0.03)
    assert np.mean(drawn.grey) == pytest.approx(0.2, abs=0.03)
    assert np.mean(drawn.brightness != 1) == pytest.approx(0.8, abs=0.03)
    assert 0.6 <= drawn.brightness.min() < 0.62 and 1.38 < drawn.brightness.max() <= 1.4
    assert np.abs(drawn.hue).max() <= 0.1
    assert np.mean(drawn.blur > 0) == pytest.approx(0.5, abs=0.03) and drawn.blur.max() <= 2
    nothing = FaceAugmentationSettings(flip=0, colour=0, grey=0, blur=0)
    assert [float(value) for value in draw_params(rng, nothing)] == [0, 1, 1, 1, 0, 0, 0]
