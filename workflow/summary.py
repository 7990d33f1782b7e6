"""The message at the end of a run."""

from collections.abc import Mapping
from pathlib import Path


def summary(results: Path, titles: Mapping[str, str], scored: bool) -> str:
    """The results to look at: the table of error rates or, where nothing was scored, the models; and the report.

    Args:
        results: the experiment's folder.
        titles: what the systems are called whose models are listed.
    """
    table, page = results / "logs" / "metrics.txt", results / "report.html"
    place = f"Report: {page.resolve()}" if page.exists() else f"Results so far: {results.resolve()}"
    if scored:
        return f"{table.read_text()}\n{place}" if table.exists() else place
    models = {name: results / system / "model.pt" for system, name in titles.items()}
    found = [f"  {name}: {path.resolve()}" for name, path in models.items() if path.exists()]
    return "\n".join(["The configuration names no trial lists, so nothing was scored. Models:", *found, place])
