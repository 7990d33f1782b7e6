"""Every overlay of systems/ from raw audio to scores, on the cut of the demo: two rounds each, minutes for all."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from snakemake.utils import update_config

from selfsv.models.model_file import load_model
from selfsv.settings.reading import read_file
from tests.cut import REPOSITORY, finished, overlay_for

pytestmark = pytest.mark.slow
SYSTEMS = sorted((REPOSITORY / "systems").glob("*.yaml"))


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda path: path.stem)
def test_a_system_runs_from_recordings_to_scores(system: Path, tmp_path):
    configuration = read_file(system)
    faces = configuration.get("modality") == "audio_visual"
    # The cut's own sizes come last, as a user's would; baselines are none of the system's.
    update_config(configuration, overlay_for(tmp_path, faces, baselines=False))
    results = finished(tmp_path, configuration)
    metrics = pd.read_parquet(results / "metrics.parquet")
    expected = {"iter_0", "iter_1", "iter_2"}
    expected |= {"large_margin"} if configuration.get("large_margin") else set()
    expected |= {"finetuned_random_100"} if configuration.get("finetune") else set()
    assert set(metrics["system"]) == expected
    assert metrics["eer"].between(0, 1).all()
    scores = pd.read_parquet(results / "iter_2" / "scores" / "cut.parquet")
    assert np.isfinite(scores[["cosine", "snorm"]]).all(axis=None) and scores["cosine"].std() > 0

    models = [load_model(results / f"iter_{index}" / "model.pt").encoder_settings for index in range(3)]
    last = configuration.get("encoder", {}).get("last_round", {})
    assert models[0] == models[1]
    assert {key: getattr(models[2], key) for key in last} == last
