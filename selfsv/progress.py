"""Progress of a long loop: a bar on a terminal, now and then a plain line in a log file."""

import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from selfsv.stage import LogFile

LINE_SECONDS = 10.0
LOG = logging.getLogger("selfsv")
# What selfsv.engine.history writes of a training: within an epoch, and after one.
LEFT = re.compile(r"([\d:.]+)(?: s)? of all epochs$|epoch (\d+) of (\d+): (?:.*, ([\d:.]+)(?: s)? left)?", re.MULTILINE)

Item = TypeVar("Item")


def progress(iterable: Iterable[Item], total: int | None, description: str, unit: str) -> Iterator[Item]:
    """The items of `iterable`, showing on standard error how many have passed, how fast, and the time left.

    Args:
        total: number of items, or None where it is not known.
        description: what is being done, e.g. "packing train".
        unit: what an item is, e.g. "utterance".
    """
    if wants_bar():
        return iter(tqdm(iterable, total=total, desc=description, unit=f" {unit}", dynamic_ncols=True, smoothing=0.1))
    return _lines(iterable, total, description, unit)


def wants_bar() -> bool:
    """Whether standard error is the terminal of somebody who watches this script alone: with a log file it is one job of several."""
    return sys.stderr.isatty() and not any(isinstance(handler, LogFile) for handler in logging.getLogger().handlers)


def _lines(iterable: Iterable[Item], total: int | None, description: str, unit: str) -> Iterator[Item]:
    started = last = time.monotonic()
    count = 0
    for count, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LINE_SECONDS:
            last = now
            LOG.info(_line(count, total, now - started, description, unit))
    LOG.info("%s: done, %s in %s", description, _counted(count, unit), duration(time.monotonic() - started))


def _line(count: int, total: int | None, seconds: float, description: str, unit: str) -> str:
    rate, units = count / seconds, _plural(unit)
    if not total:
        return f"{description}: {_counted(count, unit)}, {rate:.1f} {units}/s"
    left = duration(max(total - count, 0) / rate)
    return f"{description}: {count}/{total} {units} ({count / total:.0%}), {rate:.1f} {units}/s, {left} left"


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit if count == 1 else _plural(unit)}"


def _plural(unit: str) -> str:
    return f"{unit}es" if unit.endswith(("ch", "sh", "s", "x")) else f"{unit}s"


def duration(seconds: float) -> str:
    """`seconds` as a person reads it: `12.3 s`, `4:05` (minutes) or `1:04:05` (hours)."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def time_left(log: str) -> float | None:
    """Seconds that a training still takes by the last line of its log that says so; None where none does."""
    found = list(LEFT.finditer(log))
    if not found:
        return None
    within, epoch, epochs, after = found[-1].groups()
    if within or after:
        return sum(float(part) * 60**power for power, part in enumerate(reversed((within or after).split(":"))))
    return 0.0 if epoch == epochs else None
