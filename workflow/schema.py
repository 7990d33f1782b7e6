"""Writes workflow/schemas/config.schema.json, with which editors check and complete a config: python -m workflow.schema"""

import json
from pathlib import Path

from selfsv.artifacts import write_text
from selfsv.settings.experiment import Experiment

SCHEMA = Path(__file__).parent / "schemas" / "config.schema.json"


def text() -> str:
    """The schema of the whole configuration."""
    return json.dumps(Experiment.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    write_text(SCHEMA, text())
