"""The table of encoders: what each promises, and models of before it had one."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.flop_counter import FlopCounterMode

from selfsv.artifacts import load_torch, save_torch
from selfsv.data.features import LogMel
from selfsv.inference.onnx_graph import write_graph
from selfsv.inference.speaker_model import SpeakerModel
from selfsv.models import campplus, residual
from selfsv.models.encoders import ARCHITECTURES, build_encoder, title_of, untrained
from selfsv.models.model_file import load_model, save_model
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.encoder import KEYS, EncoderSettings
from tests.models.small import SMALL

every = pytest.mark.parametrize("architecture", ARCHITECTURES)
TITLES = {
    "ecapa_tdnn": "ECAPA-TDNN of 16 channels",
    "resnet34": "ResNet34 of 4 channels",
    "res2net50": "Res2Net50 of 3 x 3 channels",
    "fast_resnet34": "FastResNet34 of 8 channels",
    "campplus": "CAM++ of growth 4",
}


def trained(architecture: str, mel_bins: int = 80) -> nn.Module:
    """Its BatchNorm statistics are not those of the start."""
    encoder = untrained(SMALL[architecture], mel_bins, 1, 0)
    encoder(torch.randn(3, 60, mel_bins).cumsum(1))
    return encoder.eval()


@every
@pytest.mark.parametrize("mel_bins", [80, 37])
def test_an_embedding_does_not_depend_on_what_it_was_batched_with(architecture, mel_bins):
    """Lengths beyond one, two and three segments of CAM++'s, odd ones, a single frame; what is in the padding counts for nothing."""
    encoder, features = trained(architecture, mel_bins), torch.randn(6, 450, mel_bins)
    lengths = torch.tensor([450, 401, 200, 97, 41, 1])
    with torch.no_grad():
        alone = torch.cat([encoder(row[None, :length]) for row, length in zip(features, lengths, strict=True)])
        together = encoder(features, lengths)
    assert alone.shape == (6, 12) and alone.dtype == torch.float32 and alone.isfinite().all()
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert torch.pdist(alone).min() > 1e-3


# Of the repositories that they come from, built there. Res2Net50: the formula that gives timm's published 48.40 and 25.70 million
# for its res2net50_26w_8s and res2net50_26w_4s.
@pytest.mark.parametrize(
    ("architecture", "embedding", "mel_bins", "body", "whole"),
    [
        ("ecapa_tdnn", 192, 80, 5_600_704, 6_190_720),  # WeSpeaker
        ("resnet34", 192, 80, 5_323_360, 6_306_592),  # WeSpeaker
        ("resnet34", 256, 80, 5_323_360, 6_634_336),  # WeSpeaker
        ("res2net50", 256, 80, 46_345_944, 56_831_960),
        ("fast_resnet34", 512, 40, 1_371_030, 1_437_078),  # voxceleb_unsupervised
        ("campplus", 192, 80, 6_651_936, 6_848_544),  # WeSpeaker
        ("campplus", 512, 80, 6_651_936, 7_176_224),  # WeSpeaker
    ],
)
def test_parameter_counts(architecture, embedding, mel_bins, body, whole):
    with torch.device("meta"):
        encoder = build_encoder(EncoderSettings(architecture=architecture, embedding=embedding), mel_bins)
    assert count(encoder) == whole and count(encoder) - count(encoder.embed) == body


def test_res2net50_with_four_groups_has_half_the_body():
    with torch.device("meta"):
        encoder = build_encoder(EncoderSettings(architecture="res2net50", res2net50={"scale": 4}), 80)
    assert count(encoder) - count(encoder.embed) == 23_641_288


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# CAM++ computes each gate once per segment. The usual count repeats it in each of the segment's frames, here one segment of 100.
REPEATED_GATES = 52 * 99 * (128 * 64 + 64 * 32)


@pytest.mark.parametrize(
    ("architecture", "saved", "published"),
    [("resnet34", 0, 4.55e9), ("res2net50", 0, 41.9e9), ("campplus", REPEATED_GATES, 1.15e9)],
)
def test_cost_at_200_frames(architecture, saved, published):
    """Multiplications. WeSpeaker's figures, which count some other layers, too; the formula's for Res2Net50."""
    with torch.device("meta"), torch.no_grad():
        encoder = build_encoder(EncoderSettings(architecture=architecture), 80).eval()
        with FlopCounterMode(display=False) as counter:
            encoder(torch.zeros(1, 200, 80))
    assert counter.get_total_flops() / 2 + saved == pytest.approx(published, rel=0.025)


@every
def test_every_parameter_learns_in_bfloat16_too(architecture):
    for enabled in (False, True):
        encoder = untrained(SMALL[architecture].model_copy(update={"embedding_batchnorm": True}), 80, 1, 0)
        for name, parameter in encoder.named_parameters():
            if "squeeze.bias" in name:  # so few hidden units may all be off
                nn.init.ones_(parameter)
        features, outward = torch.randn(4, 230, 80), torch.rand(4, 12)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            embeddings = encoder(features)
        assert embeddings.dtype == torch.float32
        embeddings.square().mul(outward).sum().backward()
        gradients = {name: parameter.grad for name, parameter in encoder.named_parameters()}
        assert not [name for name, gradient in gradients.items() if gradient is None or not gradient.abs().sum() > 0]


@every
def test_bfloat16_rounds_and_pads_without_a_trace(architecture):
    encoder, features, lengths = trained(architecture), torch.randn(3, 120, 80), torch.tensor([120, 75, 33])
    with torch.no_grad():
        exact = encoder(features, lengths)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = encoder(features, lengths)
    assert torch.cosine_similarity(rounded, exact).min() > 0.99


@every
def test_random_weights_depend_on_seed_and_stage_alone(architecture):
    first, again, other = (untrained(SMALL[architecture], 80, 1, stage).state_dict() for stage in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    different = [name for name in first if not torch.equal(first[name], other[name])]
    assert {"embed.weight", "embed.0.weight"} & {*different} and len(different) > 20


@pytest.fixture
def shallow(monkeypatch):
    """Few blocks of each kind: a compiler or an exporter goes through every layer."""
    monkeypatch.setattr(residual, "DEPTHS", (2, 2, 1, 1))
    monkeypatch.setattr(campplus, "BLOCKS", ((2, 1), (2, 2)))


# ECAPA-TDNN's: tests/training/test_compilation.py and tests/selfsv/test_export.py.
others = pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "ecapa_tdnn"])


@others
@pytest.mark.usefixtures("shallow")
def test_it_compiles_as_a_whole(architecture):
    torch._dynamo.reset()
    encoder, counted = trained(architecture), CompileCounterWithBackend("eager")
    compiled = torch.compile(encoder, backend=counted, fullgraph=True)
    features, lengths = torch.randn(2, 130, 80), torch.tensor([130, 71])
    with torch.no_grad():
        torch.testing.assert_close(compiled(features, lengths), encoder(features, lengths))
    assert counted.frame_count == 1


@every
def test_a_model_comes_back_from_its_file(architecture, tmp_path):
    """With the sizes that it has, and no others."""
    settings, encoder = SMALL[architecture], trained(architecture)
    save_model(tmp_path / "model.pt", settings, FeatureSettings(), encoder.state_dict())
    loaded = load_model(tmp_path / "model.pt")
    features = torch.randn(1, 50, 80)
    with torch.no_grad():
        torch.testing.assert_close(loaded.encoder(features), encoder(features))
    assert loaded.encoder_settings == settings and title_of(loaded.encoder) == TITLES[architecture]
    saved = load_torch(tmp_path / "model.pt")["encoder"]
    assert saved.keys() == {"architecture", "embedding", "embedding_batchnorm"} | KEYS[architecture]


@others
@pytest.mark.usefixtures("shallow")
def test_the_graph_is_the_model_s(architecture, tmp_path):
    """`write_graph` compares embeddings of waveforms of three lengths with PyTorch's, and refuses a graph with others."""
    onnxruntime = pytest.importorskip("onnxruntime")
    features = FeatureSettings()
    model = SpeakerModel("x", trained(architecture), LogMel(features), torch.device("cpu"))
    write_graph(model, tmp_path / "model.onnx", "x", "")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    waves = 0.1 * torch.randn(2, 70_000)  # other lengths than the check's: three segments of CAM++'s
    (found,) = session.run(None, {"waveform": waves.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model.embed(waves), atol=1e-3, rtol=1e-3)


def test_a_model_file_of_before_the_table_is_an_ecapa(tmp_path):
    settings = SMALL["ecapa_tdnn"]
    encoder = untrained(settings, 80, 1, 0)
    save_model(tmp_path / "new.pt", settings, FeatureSettings(), encoder.state_dict())
    content = load_torch(tmp_path / "new.pt")
    del content["encoder"]["architecture"]
    save_torch(tmp_path / "old.pt", content)
    loaded, features = load_model(tmp_path / "old.pt").encoder, torch.randn(1, 50, 80)
    torch.testing.assert_close(loaded(features), encoder.eval()(features))


def test_what_has_no_weights_is_no_architecture():
    assert title_of(nn.Identity()) == "fbank statistics"
