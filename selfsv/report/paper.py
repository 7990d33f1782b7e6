"""What the paper reports (arXiv 2304.05754), shown beside a run's own figures for context."""

import re
from typing import NamedTuple


class Published(NamedTuple):
    """Error rates per round on one VoxCeleb1 list, round 0 being CA-DINO."""

    name: str
    eer_percent: tuple[float, ...]
    min_dcf: tuple[float, ...]


class PaperTable(NamedTuple):
    """A table on CA-DINO with DLG-LC, by the letter of the list. Its tests are on voices alone, scored by cosine."""

    source: str
    lists: dict[str, Published]


# By the modality that the rounds train on.
TABLES = {
    "audio": PaperTable(
        "Table VIII",
        {
            "o": Published("Vox-O", (3.585, 2.021, 1.596, 1.585, 1.606), (0.3529, 0.2171, 0.1665, 0.1671, 0.1636)),
            "e": Published("Vox-E", (3.852, 2.331, 2.004, 1.879, 1.906), (0.4182, 0.2419, 0.2089, 0.1963, 0.2028)),
            "h": Published("Vox-H", (6.918, 4.012, 3.484, 3.293, 3.274), (0.5743, 0.3484, 0.3083, 0.2941, 0.2955)),
        },
    ),
    "audio_visual": PaperTable(
        "Table IX, voices and faces",
        {
            "o": Published("Vox-O", (3.585, 1.537, 1.292, 1.356), (0.3529, 0.1326, 0.1565, 0.1553)),
            "e": Published("Vox-E", (3.852, 1.789, 1.571, 1.602), (0.4182, 0.1910, 0.1688, 0.1711)),
            "h": Published("Vox-H", (6.918, 3.235, 2.799, 2.839), (0.5743, 0.3007, 0.2676, 0.2712)),
        },
    ),
}


class FewLabels(NamedTuple):
    """EER (%) on Vox-O of encoders tuned on parts of the labels of VoxCeleb1."""

    source: str
    percent: tuple[int, ...]  # 0: not tuned
    eer_percent: dict[str, tuple[float, ...]]  # by the encoder to start from


FEW_LABELS = FewLabels(
    "Table VI, Vox-O",
    (0, 10, 20, 50, 100),
    {
        "random weights": (32.78, 6.893, 5.276, 3.691, 2.755),
        "SimCLR": (8.547, 4.388, 3.797, 3.266, 2.936),
        "CA-DINO": (3.585, 2.393, 2.356, 2.016, 1.835),
    },
)
LIST_NAME = re.compile(r"vox(?:celeb)?1?[-_.]?([oeh])(?![a-z])", re.IGNORECASE)


def counterparts(trials: str, modality: str = "audio") -> list[Published]:
    """The paper's lists to set beside the list called `trials`: the one that its name means, or else all three."""
    match = LIST_NAME.search(trials)
    lists = TABLES[modality].lists
    return [lists[match[1].lower()]] if match else list(lists.values())
