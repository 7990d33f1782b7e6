"""The message at the end of a run."""

from collections.abc import Iterable
from pathlib import Path

from selfsv.scoring.systems import title


def summary(results: Path, systems: Iterable[str], scored: bool) -> str:
    """The results to look at: the table of error rates or, where nothing was scored, the models; and the report.

    Args:
        results: the experiment's folder.
        systems: those whose models are named.
    """
    table, page = results / "logs" / "metrics.txt", results / "report.html"
    place = f"Report: {page.resolve()}" if page.exists() else f"Results so far: {results.resolve()}"
    if scored:
        return f"{table.read_text()}\n{place}" if table.exists() else place
    models = {title(system): results / system / "model.pt" for system in systems}
    found = [f"  {name}: {path.resolve()}" for name, path in models.items() if path.exists()]
    return "\n".join(["The configuration names no trial lists, so nothing was scored. Models:", *found, place])
