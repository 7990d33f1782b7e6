"""Count how easy the code is to read: python benchmarks/house.py [ROOT]. Prints a table; ROOT is a checkout, by default this one.

Function lengths (with docstrings), short files, lines of rules, passages that stand twice; and what one batch passes on its way from
packed audio to the update, by tracing a step of each training: files of the library, and its classes.
"""

import argparse
import ast
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

WINDOW = 6  # lines that must agree to count as a passage that stands twice
FOLDERS = ("selfsv", "pipeline", "workflow")

# Runs in the checkout that is counted: the small made-up corpus of the speed measurements, one batch, every call below selfsv/.
TRACED = """
import sys
from argparse import Namespace
from pathlib import Path
from benchmarks import speed_trainings as speed

arguments = {**speed.SMALL, "device": "cpu", "threads": 1, "precision": None, "compile": None, "dilations": [2, 3, 4], "seconds": 4.0}
bench = speed.opened(Namespace(into=Path(sys.argv[1]), small=True, **arguments))
for name in ("pretraining", "gated", "audio_visual"):
    method, files, classes = getattr(speed, name)(bench), set(), set()

    def look(frame, event, _):
        path = frame.f_code.co_filename
        if event == "call" and "/selfsv/" in path:
            files.add(path.rpartition("/selfsv/")[2])
            owner = frame.f_code.co_qualname.split(".")
            if len(owner) > 1 and owner[0][:1].isupper():
                classes.add(owner[0])

    sys.setprofile(look)
    dataset = method.begin_epoch(0)
    method.step(dataset[next(speed.planned(bench, 0))], 0.0)
    sys.setprofile(None)
    print(name, len(files), len(classes), ",".join(sorted(files)), ",".join(sorted(classes)), sep="\\t")
"""


def main() -> None:
    """Count, and print."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("root", type=Path, nargs="?", default=Path(__file__).resolve().parents[1])
    made.add_argument("--batch", action="store_true", help="also trace a batch, which takes a minute")
    args = made.parse_args()
    print("| count | value |\n|---|---|")
    for name, value in {**static(args.root), **(traced(args.root) if args.batch else {})}.items():
        print(f"| {name} | {value} |")


def static(root: Path) -> dict[str, object]:
    """Count what needs no run."""
    sources = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py")) if path.name != "__init__.py"]
    functions = [length for path in sources for length in function_lengths(path)]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources}
    rules = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (root / "workflow" / "rules").glob("*.smk"))
    short = [path for path, count in lines.items() if count < 40 and path.is_relative_to(root / "selfsv")]
    loop = root / "selfsv" / "engine" / "loop.py"
    return {
        "files of code": len(sources),
        "lines of code": sum(lines.values()),
        "functions": len(functions),
        "their median length": median(functions),
        "functions over 40 lines": sum(length > 40 for length in functions),
        "files of selfsv under 40 lines": len(short),
        "lines of workflow/rules": rules,
        "lines of engine/loop.py": lines.get(loop, 0),
        "longest script of pipeline/": max(count for path, count in lines.items() if path.parent.name == "pipeline"),
        f"passages of {WINDOW} lines that stand twice": len(list(repeated(sources))),
    }


def function_lengths(path: Path) -> Iterator[int]:
    """Lines of each function and method."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            yield node.end_lineno - node.lineno + 1


def repeated(sources: list[Path]) -> Iterator[tuple[str, ...]]:
    """Passages of code that stand in more than one place; blank lines, comments and imports do not count."""
    places: dict[tuple[str, ...], set[tuple[Path, int]]] = defaultdict(set)
    for path in sources:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        kept = [line for line in lines if line and not re.match(r"#|from |import |\)|\"\"\"", line)]
        for start in range(len(kept) - WINDOW + 1):
            places[tuple(kept[start : start + WINDOW])].add((path, start))
    taken: set[tuple[Path, int]] = set()
    for passage, found in places.items():
        if len(found) > 1 and not any((path, start - 1) in taken for path, start in found):
            yield passage
        if len(found) > 1:
            taken |= found


def traced(root: Path) -> dict[str, object]:
    """Files and classes that a batch passes, by training."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", TRACED, folder]
        lines = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.splitlines()
    counts: dict[str, object] = {}
    for line in lines:
        name, files, classes, *which = line.split("\t")
        counts[f"files that a batch of `{name}` passes"] = f"{files}: {which[0].replace(',', ', ')}"
        counts[f"own classes on its way, `{name}`"] = f"{classes}: {which[1].replace(',', ', ')}"
    return counts


if __name__ == "__main__":
    main()
