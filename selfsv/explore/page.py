"""The page: one HTML file that holds its data, its sounds and its script, and loads nothing."""

import base64
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from selfsv.errors import InputError
from selfsv.explore import changes, sounds
from selfsv.explore.iteration import Iteration
from selfsv.explore.projection import Method, Projection, project
from selfsv.scoring.systems import title
from selfsv.settings.stage_one import stage_one_title

FOLDER = Path(__file__).parent
TEMPLATE, SCRIPT = "explore.html.j2", "explore.js"
LISTED = 500  # rows of each list that the page holds
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Options:
    """Limits of the page."""

    per_cluster: int = 5  # utterances of each cluster to play
    per_list: int = 50  # utterances of each list to play
    megabytes: float = 20.0  # of the page
    points: int = 20_000  # of the map
    method: Method | None = None  # of the map
    codec: sounds.Codec = "opus"


@dataclass(frozen=True)
class Page:
    """The page, and how much of the iteration it holds."""

    html: str
    utterances: int
    points: int
    clusters: int
    map: Method
    playable: int
    left_out: int  # utterances whose sound was to be embedded, but for the bound on the page's size

    def summary(self) -> dict[str, Any]:
        """All but the page itself, for programs."""
        return {name: value for name, value in vars(self).items() if name != "html"}


def render(iteration: Iteration, options: Options) -> Page:
    """The page of an iteration.

    Raises:
        InputError: it is larger than `options.megabytes` without any sound.
    """
    lists = {"changed": changes.changed(iteration), "distrusted": changes.distrusted(iteration)}
    listed = [row for table in lists.values() if table is not None for row in table["row"][:LISTED]]
    wanted = sounds.chosen(iteration, lists.values(), options.per_cluster, options.per_list)
    drawn = drawn_rows(len(iteration), [*listed, *wanted], options.points, iteration.settings.seed)
    projection = project(iteration.unit[drawn], options.method, iteration.settings.seed)
    data = page_data(iteration, drawn, projection, lists)

    on_the_map = set(drawn.tolist())
    wanted = [row for row in wanted if row in on_the_map]
    silent = html(iteration, options, projection, data, sounds.Sounds({}, len(wanted)))
    budget = int(options.megabytes * MEGABYTE) - len(silent.encode())
    if budget < 0:
        needed = math.ceil(len(silent.encode()) / MEGABYTE)
        raise InputError(f"the page takes {needed} MB without any sound: raise --megabytes, or lower --points")
    embedded = sounds.embedded(iteration, wanted, budget, options.codec)
    made = html(iteration, options, projection, data, embedded)
    counts = (len(iteration), len(drawn), len(data["clusters"]), projection.method, len(embedded.uris), embedded.left_out)
    return Page(made, *counts)


def drawn_rows(count: int, first: Iterable[int], limit: int, seed: int) -> np.ndarray:
    """[≤ limit] rows of `count` to draw, in order: those in `first` as far as there is room, then others at random."""
    if count <= limit:
        return np.arange(count)
    rows = np.array(list(dict.fromkeys(first))[:limit], np.int64)
    others = np.setdiff1d(np.arange(count), rows)
    filling = np.random.default_rng(seed).choice(others, limit - len(rows), replace=False)
    return np.sort(np.concatenate([rows, filling]))


def page_data(iteration: Iteration, drawn: np.ndarray, projection: Projection, lists: dict[str, pd.DataFrame | None]) -> dict[str, Any]:
    """The data for the page's script; a point's number is its place among `drawn`."""
    codes, names = pd.factorize(iteration.sessions[drawn], sort=True)
    points = {int(row): point for point, row in enumerate(drawn)}
    return {
        "names": iteration.utterances[drawn].tolist(),
        "x": rounded(projection.points[:, 0]),
        "y": rounded(projection.points[:, 1]),
        "labels": iteration.labels[drawn].tolist(),
        "similarity": rounded(iteration.similarity[drawn]),
        "session": codes.tolist(),
        "sessions": names.tolist(),
        "clusters": [[row.label, row.size_, number(row.tightness), row.sessions] for row in cluster_rows(iteration)],
        "changed": list_data(lists["changed"], points, "came_from"),
        "distrusted": list_data(lists["distrusted"], points, "loss", "decision"),
    }


def cluster_rows(iteration: Iteration) -> Iterable[Any]:
    """The rows of `changes.clusters`; `size` is a method of a tuple's."""
    return changes.clusters(iteration).rename(columns={"size": "size_"}).itertuples()


def list_data(table: pd.DataFrame | None, points: dict[int, int], *columns: str) -> dict[str, Any] | None:
    """The first rows of a list as point and `columns`, of those that are on the map, and how many the list has."""
    if table is None:
        return None
    shown = table.head(LISTED)
    shown = shown[shown["row"].isin(list(points))]
    values = ([number(value) for value in shown[column].tolist()] for column in columns)
    return {"rows": [list(row) for row in zip((points[row] for row in shown["row"]), *values, strict=True)], "total": len(table)}


def rounded(values: np.ndarray) -> list[float | None]:
    """[N] with four digits after the point, which a screen cannot show better."""
    return [number(value) for value in values.astype(float).tolist()]


def number(value: Any) -> Any:
    """`value` as JSON can hold it: no NaN, and few digits."""
    if not isinstance(value, float):
        return value
    return round(value, 4) if math.isfinite(value) else None


def html(iteration: Iteration, options: Options, projection: Projection, data: dict[str, Any], embedded: sounds.Sounds) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["count"] = lambda value: f"{int(value):,}"
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    script = (FOLDER / SCRIPT).read_text(encoding="utf-8")
    point_of = {name: point for point, name in enumerate(data["names"])}
    uris = {point_of[iteration.utterances[row]]: uri for row, uri in embedded.uris.items()}
    stage_one = stage_one_title(iteration.settings)
    heard = np.unique(iteration.labels[np.array(list(embedded.uris), np.int64)])
    return environment.get_template(TEMPLATE).render(
        settings=iteration.settings,
        number=iteration.number,
        title=title(f"iter_{iteration.number}", stage_one),
        title_before=title(f"iter_{iteration.number - 1}", stage_one) if iteration.number else "",
        utterances=len(iteration),
        method=projection.method,
        threshold=iteration.threshold,
        options=options,
        longest=sounds.LONGEST,
        listed=LISTED,
        data=data,
        sounds=uris,
        left_out=embedded.left_out,
        silent_clusters=len(data["clusters"]) - len(heard),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
