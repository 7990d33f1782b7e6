"""Two experiments on the same voices, side by side: rounds on voices alone, and rounds on voices and faces.

python demo/compare.py results/demo results/demo-av
"""

import sys
from pathlib import Path

import pandas as pd

Cells = tuple[str, str]  # audio only, audio-visual


def main() -> None:
    """Print a table in Markdown. Fractions are those of the last epoch, error rates in %."""
    folders = [Path(name) for name in sys.argv[1:]]
    if len(folders) != 2 or not all((folder / "metrics.parquet").exists() for folder in folders):
        sys.exit(f"{__doc__}\nBoth folders must hold a finished experiment.")
    print("| | audio only | audio-visual |\n|---|---|---|")
    rounds = pd.read_parquet(folders[1] / "metrics.parquet")["iteration"].dropna().astype(int)
    for index in range(rounds.max() + 1):
        for name, cells in rows_of_round(folders, index):
            print(f"| {name} | {' | '.join(cells)} |")


def rows_of_round(folders: list[Path], index: int) -> list[tuple[str, Cells]]:
    """The rows about one round, or about stage I at index 0."""
    title = f"round {index}" if index else "stage I"
    audio, both = (folder / f"iter_{index}" for folder in folders)
    rows = [(f"{title}: EER, cosine / s-norm", (error_rates(folders[0], index), error_rates(folders[1], index)))]
    labels = [pd.read_parquet(folder / "cluster_quality.parquet")["nmi"].iloc[0] for folder in (audio, both)]
    if not index:
        return [*rows, (f"{title}: NMI of labels from voices", (f"{labels[0]:.3f}", f"{labels[1]:.3f}"))]
    nmi = pd.read_parquet(both / "modality_quality.parquet").set_index("modality")["nmi"]
    rows.append((f"{title}: NMI of labels from voices", (f"{labels[0]:.3f}", f"{nmi['audio']:.3f}")))
    rows.append((f"{title}: NMI of labels from faces", ("", f"{nmi['face']:.3f}")))
    rows.append((f"{title}: NMI of labels from both", ("", f"{nmi['joint']:.3f}")))
    rows.append((f"{title}: labels reliable", (share(audio, "reliable"), share(both, "reliable"))))
    rows.append((f"{title}: labels corrected", (share(audio, "corrected"), share(both, "corrected"))))
    return rows


def error_rates(folder: Path, index: int) -> str:
    """EER with cosine and with s-norm."""
    metrics = pd.read_parquet(folder / "metrics.parquet")
    eer = metrics[metrics["iteration"] == index].set_index("norm")["eer"]
    return f"{100 * eer['cosine']:.2f} / {100 * eer['snorm']:.2f}"


def share(folder: Path, decision: str) -> str:
    """What part of the voices' labels met with a decision."""
    gate = pd.read_parquet(folder / "gate.parquet")
    return f"{100 * gate.loc[gate['modality'] == 'audio', decision].iloc[-1]:.1f} %"


if __name__ == "__main__":
    main()
