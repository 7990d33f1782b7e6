"""Models on a hub: uploaded with a card whose `model-index` holds the error rates, and fetched by their name, `organisation/model`.

Any server that speaks the Hugging Face Hub's protocol will do; the environment variable HF_ENDPOINT names it.
"""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from selfsv.errors import InputError
from selfsv.inference import exported

NAME = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
NEEDED = [exported.CONFIG, exported.WEIGHTS]
TASK = "speaker-verification"
MEASURES = {"eer": ("equal-error-rate", "EER", 100), "min_dcf": ("min-dcf", "minDCF", 1)}


def is_name(path: Path) -> bool:
    """Whether `path` can only be a model of a hub: `organisation/model`, with or without `@revision`, and no such folder here."""
    return NAME.fullmatch(str(path)) is not None and not path.parent.exists() and not path.exists()


def fetched(name: str) -> Path:
    """The folder of a model of the hub, downloaded if it is not in the cache yet.

    Raises:
        InputError: the package huggingface_hub is missing, or the hub has no such model, or cannot be reached.
    """
    hub = _package(f"{name} does not exist here")
    match = NAME.fullmatch(name)
    assert match is not None
    try:
        folder = Path(hub.snapshot_download(match["repo"], revision=match["revision"], allow_patterns=[*NEEDED, exported.CARD]))
    except _failures() as error:
        raise InputError(f"{name} is neither here nor can it be had from {hub.constants.ENDPOINT}: {_first_line(error)}") from None
    if missing := [file for file in NEEDED if not (folder / file).is_file()]:
        raise InputError(f"{name} on {hub.constants.ENDPOINT} is no model of this project: it has no {missing[0]}")
    exported.read_config(folder / exported.CONFIG)
    return folder


def push(folder: Path, name: str, *, private: bool = False) -> str:
    """Upload an exported folder; files of an earlier upload that it does not have stay.

    Args:
        name: `organisation/model`.
        private: whether a repository that is made now is private.

    Returns:
        Where the model is.

    Raises:
        InputError: the package huggingface_hub is missing, the name is none, or the hub refuses.
    """
    if NAME.fullmatch(name) is None or "@" in name:
        raise InputError(f"'{name}' is no name of a model on a hub: use organisation/model")
    hub = _package("a model is uploaded with it")
    config = exported.config_of(folder)
    with tempfile.TemporaryDirectory(prefix="selfsv-") as temporary:
        copy = Path(temporary) / "model"
        shutil.copytree(folder, copy)
        if (copy / exported.CARD).is_file():
            indexed(copy / exported.CARD, name.partition("/")[2], config["metrics"])
        try:
            repository = hub.create_repo(name, private=private, exist_ok=True)
            hub.upload_folder(repo_id=name, folder_path=copy, commit_message="Upload by selfsv")
        except _failures() as error:
            raise InputError(f"{name} cannot be uploaded to {hub.constants.ENDPOINT}: {_first_line(error)}") from None
    return str(repository)


def indexed(card: Path, name: str, metrics: list[dict[str, Any]]) -> None:
    """Add a `model-index` with these error rates to the header of a card: EER in percent and minDCF, with their 95 % intervals."""
    from huggingface_hub import ModelCard

    page = ModelCard.load(card)
    results = [result for row in metrics for result in _results(row)]
    if results:
        page.data.model_name, page.data.eval_results = name, results
        page.save(card)


def _results(row: dict[str, Any]) -> list[Any]:
    from huggingface_hub import EvalResult

    found = []
    for column, (kind, title, factor) in MEASURES.items():
        if row.get(column) is None:
            continue
        low, high = (row.get(f"{column}{end}") for end in ("_low", "_high"))
        details = {"norm": row["norm"], "targets": row["targets"], "nontargets": row["nontargets"]}
        if low is not None and high is not None:
            details |= {"interval_95": [factor * low, factor * high], "resampled": row["resampled"], "units": row["units"]}
        if column == "min_dcf":
            details["p_target"] = row.get("p_target")
        found.append(
            EvalResult(
                task_type=TASK,
                task_name="Speaker Verification",
                dataset_type=re.sub(r"[^a-z0-9]+", "-", row["trials"].lower()).strip("-") or "trials",
                dataset_name=row["trials"],
                metric_type=kind,
                metric_name=f"{title}, {row['norm']}" + (", %" if factor == 100 else ""),
                metric_value=factor * row[column],
                metric_args=details,
            )
        )
    return found


def _package(why: str) -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise InputError(f"{why}, and for models on a hub the package huggingface_hub is missing: pip install 'selfsv[hub]'") from None
    return huggingface_hub


def _failures() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises for a hub that refuses, has no such model, or is not there."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    return HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
