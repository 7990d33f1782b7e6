"""The table of encoders: what each promises, and models of before it had one."""

import pytest
import torch

from selfsv.artifacts import load_torch, save_torch
from selfsv.models.encoders import ARCHITECTURES, TITLES, build_encoder, title_of, untrained
from selfsv.models.model_file import load_model, save_model
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.encoder import EncoderSettings

SMALL = {"channels": 16, "mfa_channels": 24, "bottleneck": 8, "embedding": 12}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_encoder_keeps_the_promises_of_the_table(architecture):
    settings = EncoderSettings(architecture=architecture, **SMALL)
    torch.manual_seed(0)
    encoder, features = build_encoder(settings, 80), torch.randn(3, 150, 80)
    encoder(features)  # statistics of BatchNorm that are not those of the start
    encoder.eval()
    lengths = torch.tensor([150, 97, 41])
    alone = torch.cat([encoder(row[None, :length]) for row, length in zip(features, lengths, strict=True)])
    assert alone.shape == (3, settings.embedding) and alone.dtype == torch.float32
    torch.testing.assert_close(encoder(features, lengths), alone, atol=1e-5, rtol=1e-4)
    assert title_of(encoder).startswith(TITLES[architecture])


def test_the_settings_and_the_table_name_the_same():
    named = EncoderSettings.model_json_schema()["properties"]["architecture"]
    assert set(named.get("enum", [named.get("const")])) == set(ARCHITECTURES) == set(TITLES)


def test_random_weights_depend_on_seed_and_stage_alone():
    settings = EncoderSettings(**SMALL)
    first, again, other = (untrained(settings, 80, 1, stage).state_dict()["embed.weight"] for stage in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_model_file_of_before_the_table_is_an_ecapa(tmp_path):
    settings = EncoderSettings(**SMALL)
    encoder = untrained(settings, 80, 1, 0)
    save_model(tmp_path / "new.pt", settings, FeatureSettings(), encoder.state_dict())
    content = load_torch(tmp_path / "new.pt")
    del content["encoder"]["architecture"]
    save_torch(tmp_path / "old.pt", content)
    loaded, features = load_model(tmp_path / "old.pt").encoder, torch.randn(1, 50, 80)
    torch.testing.assert_close(loaded(features), encoder.eval()(features))
