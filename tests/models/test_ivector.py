"""The i-vector extractor as an encoder: its formulas against a plain loop, padding, its file, its export."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

import selfsv
from selfsv.data.features import LogMel
from selfsv.errors import InputError
from selfsv.inference.export import Contents, export
from selfsv.inference.inspection import described
from selfsv.inference.onnx_graph import write_graph
from selfsv.inference.speaker_model import SpeakerModel
from selfsv.models.encoders import title_of
from selfsv.models.ivector import Gaussians, IvectorExtractor, newton_inverse, unpacked
from selfsv.models.model_file import load_model, save_model
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.ivector import CepstraSettings, ExtractorSettings

SETTINGS = ExtractorSettings(components=5, embedding=7, cepstra=CepstraSettings(coefficients=6, mean_frames=100))
FEATURES = FeatureSettings(mean_normalise=False)


@pytest.fixture
def extractor() -> IvectorExtractor:
    """With random weights."""
    torch.manual_seed(1)
    made = IvectorExtractor(SETTINGS, 80)
    drawn = {name: torch.randn_like(value) for name, value in made.state_dict().items()}
    drawn["weights"] = drawn["weights"].softmax(0)
    drawn |= {name: drawn[name].exp() for name in ("variances", "ubm_variances")}
    made.load_state_dict(drawn)
    return made


@pytest.fixture
def features(voice) -> torch.Tensor:
    """[3, 130, 80] of a real voice."""
    waves = torch.stack([voice[start : start + 21_200] for start in (0, 12_000, 24_000)])
    return LogMel(FEATURES)(waves)


def test_posteriors_are_those_of_scipys_normal_distributions():
    generator = np.random.default_rng(0)
    weights, means, variances = generator.dirichlet(np.ones(4)), generator.normal(size=(4, 3)), generator.gamma(2, size=(4, 3))
    frames = generator.normal(size=(6, 3))
    densities = weights * norm(means, np.sqrt(variances)).pdf(frames[:, None]).prod(axis=2)
    mixture = Gaussians(*map(torch.from_numpy, (weights, means, variances)))
    np.testing.assert_allclose(mixture.joint(torch.from_numpy(frames)).exp(), densities)
    np.testing.assert_allclose(mixture.posteriors(torch.from_numpy(frames)), densities / densities.sum(axis=1, keepdims=True))


def test_ivectors_are_those_of_a_plain_loop(extractor, features):
    """In float64, over utterances, frames and Gaussians."""
    frames, posteriors = (value.double().numpy() for value in extractor.assigned(features))
    means, loadings, variances = (value.double().numpy() for value in extractor.factors)
    for found, cepstra, shares in zip(extractor(features), frames, posteriors, strict=True):
        precision, right = np.eye(7), np.zeros(7)
        for gaussian in range(5):
            scaled = loadings[gaussian].T / variances[gaussian]
            for frame, share in zip(cepstra, shares[:, gaussian], strict=True):
                precision += share * scaled @ loadings[gaussian]
                right += share * scaled @ (frame - means[gaussian])
        np.testing.assert_allclose(found, np.linalg.solve(precision, right), rtol=1e-3, atol=1e-3)


def test_an_ivector_does_not_depend_on_what_it_was_batched_with(extractor, features):
    lengths = torch.tensor([130, 61, 1])
    alone = torch.cat([extractor(row[None, :length]) for row, length in zip(features, lengths, strict=True)])
    together = extractor(features, lengths)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)
    assert together.shape == (3, 7) and torch.pdist(alone).min() > 1e-3


def test_bfloat16_changes_nothing(extractor, features):
    with torch.autocast("cpu", torch.bfloat16):
        rounded = extractor(features)
    assert torch.equal(rounded, extractor(features)) and rounded.dtype == torch.float32


def test_triangles_are_unpacked_as_they_were_packed():
    symmetric = torch.randn(3, 6, 6)
    symmetric += symmetric.mT.clone()
    row, column = torch.tril_indices(6, 6)
    assert torch.equal(unpacked(symmetric[:, row, column], 6), symmetric)


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e5])
def test_newtons_inverse_is_numpys(condition):
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))
    matrix = turn * np.geomspace(1, condition, 20) @ turn.T
    np.testing.assert_allclose(newton_inverse(torch.from_numpy(matrix)), np.linalg.inv(matrix), atol=1e-6)


def test_a_model_comes_back_from_its_file(extractor, features, tmp_path):
    """It has no settings that a training could start from."""
    save_model(tmp_path / "model.pt", SETTINGS, FEATURES, extractor.state_dict(), stage="ivector")
    loaded = load_model(tmp_path / "model.pt")
    assert torch.equal(loaded.encoder(features), extractor(features))
    assert loaded.encoder_settings is None and loaded.feature_settings == FEATURES
    assert title_of(loaded.encoder) == "i-vector of 5 Gaussians"


def test_weights_of_other_sizes_are_refused(extractor, tmp_path):
    huge = SETTINGS.model_copy(update={"components": 65536, "embedding": 4096})
    save_model(tmp_path / "model.pt", huge, FEATURES, extractor.state_dict())
    with pytest.raises(InputError, match=r"model\.pt is no model of this project: its weights"):
        load_model(tmp_path / "model.pt")


def test_it_is_exported_and_named(extractor, tmp_path):
    save_model(tmp_path / "model.pt", SETTINGS, FEATURES, extractor.state_dict(), stage="ivector")
    export(tmp_path / "model.pt", tmp_path / "out", Contents(name="x", licence="mit"))
    assert described(tmp_path / "out")["model"]["encoder"] == "i-vector of 5 Gaussians"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "i-vector of 5 Gaussians" in card and "- ivector\n" in card and "7 dimensions" in card and "expectation maximisation" in card
    waves = 0.1 * torch.randn(2, 20_000)
    before, after = (selfsv.load(tmp_path / name, "cpu").embed(waves) for name in ("model.pt", "out"))
    torch.testing.assert_close(before, after)


def test_the_graph_is_the_model_s(extractor, voice, tmp_path):
    """`write_graph` compares embeddings of waveforms of three lengths with PyTorch's, and refuses a graph with others."""
    onnxruntime = pytest.importorskip("onnxruntime")
    model = SpeakerModel("x", extractor.eval(), LogMel(FEATURES), torch.device("cpu"))
    write_graph(model, tmp_path / "model.onnx", "x", "")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    waves = torch.stack([voice[:40_000], voice[20_000:60_000]])
    (found,) = session.run(None, {"waveform": waves.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model.embed(waves), atol=1e-2, rtol=1e-2)
