"""Settings that must follow the size of a corpus, and the time that there is to train: the rules of docs/corpus-size.md as code.

N: utterances. S: speakers, or a guess. T: updates of the weights in stage I.
"""

from typing import NamedTuple

import numpy as np

from selfsv.prepare.choices import Choice

# The paper's training, which the rules approach as a corpus grows.
PAPER_EPOCHS, PAPER_ROUND_EPOCHS, PAPER_BATCH = 150, 100, 256
FULL_RATE_UPDATES, SHORT_UPDATES = 20_000, 500  # between these the learning rate goes from the paper's to five times as much
FEW_UPDATES = 5_000  # with fewer, some losses need help, and the gate begins late
MANY_UTTERANCES = 200_000  # from here on the paper's loss is kept as it is
FILES_PER_SHARD = 25_000
SHORTEST_CROP, LONGEST_CROP = 1.0, 3.0  # seconds
FEWEST_EPOCHS, FEWEST_ROUND_EPOCHS = 3, 6  # which the schedules need
STAGE_ONE, ROUND = 0.6, 0.15  # of the time that there is; the rest is for extraction, clusters and scores
ROUNDS = 2
FEWEST_ROUND_UPDATES = 2_000  # with fewer, even labels without any fault gave a worse encoder than stage I: docs/benchmarks/rounds.md
SMALL_FACES = {"width": 8, "blocks": [1, 1, 1, 1], "input_side": 48}  # the demo's: a ResNet of a quarter of the channels
FACES_COST = 2.4  # of a round's step with faces, to one without: measured on a GPU, with the paper's encoders
SMALL_HEAD = {"hidden": 512, "bottleneck": 128}  # the demo's


# Whatever the size: what the authors' later recipe changed (systems/strong.yaml) and a small corpus needs more than a large one.
ALWAYS = [
    Choice("encoder.embedding_batchnorm", True, "as in systems/strong.yaml"),
    Choice("pretrain.head.batchnorm", True, "as in systems/strong.yaml"),
    Choice("pretrain.dino.pairing", "all_but_same", "as in systems/strong.yaml"),
    Choice("pretrain.optimiser.final_learning_rate", 5.0e-5, "as in systems/strong.yaml"),
    Choice("cluster.subtract_mean", True, "as in systems/strong.yaml"),
    Choice("score.subtract_mean", True, "as in systems/strong.yaml"),
]

# Synthesising 120 minutes of each kind, and 2,000 rooms, takes minutes.
LONG_HOURS = 1.0
SMALL_BANKS = [
    Choice("noise.minutes_per_kind", 30.0, "a short training hears no more, and a larger bank takes minutes to make"),
    Choice("rirs.simulated_rooms", 500, "as above"),
]


def encoder_choices(channels: int) -> list[Choice]:
    """ECAPA-TDNN of this width, and with a narrow one a small projection head."""
    reason = "the paper's ECAPA-S" if channels == 512 else "a small ECAPA-TDNN, for few updates on a CPU"
    sizes = {"channels": channels, "mfa_channels": 3 * channels, "bottleneck": 128 if channels == 512 else channels // 2}
    head = SMALL_HEAD if channels < 512 else {}
    return [
        *(Choice(f"encoder.{name}", value, reason) for name, value in sizes.items()),
        *(Choice(f"pretrain.head.{name}", value, "a head in proportion to the encoder") for name, value in head.items()),
    ]


def video_choices(*, on_gpu: bool) -> list[Choice]:
    """For videos of talking faces: rounds on both, with a face encoder that the machine can train."""
    small = {} if on_gpu else SMALL_FACES
    return [
        Choice("modality", "audio_visual", "rounds train on voices and faces; stage I and tests are on voices alone"),
        *(
            Choice(f"faces.encoder.{name}", value, "a small ResNet on small images, for few updates on a CPU")
            for name, value in small.items()
        ),
    ]


def runtime_choices(cores: int, *, on_gpu: bool) -> list[Choice]:
    """For one machine with so many cores."""
    workers = min(6, max(0, cores - 2)) if on_gpu else 0
    reason = "processes that read crops; two cores are left" if on_gpu else "on a CPU the training itself reads its crops"
    return [Choice("runtime.threads", cores, "the machine's cores"), Choice("runtime.workers", workers, reason)]


class Speed(NamedTuple):
    """Utterances per second, measured."""

    pretrain: float
    train: float


def size_choices(utterances: int, seconds: np.ndarray) -> list[Choice]:
    """Settings that follow the number and the length of the recordings alone.

    Args:
        utterances: N.
        seconds: [M] lengths of a sample of them.
    """
    batch = batch_size(utterances)
    shards = max(1, -(-utterances // FILES_PER_SHARD))
    long = crop_seconds(seconds)
    if np.quantile(seconds, 0.1) < 2 * SHORTEST_CROP:
        why_long = "as short as they may be: two crops of such short recordings overlap, or are the same"
        temperature, why = 0.04, "the paper's: crops this short teach little, and with 0.07 the outputs became uniform"
    else:
        why_long = "half of a short recording (tenth percentile), so that two crops differ; at most 3"
        temperature, why = 0.07, "as in systems/strong.yaml"
    return [
        Choice("pack.shards", shards, f"pack jobs and audio files: one for each {FILES_PER_SHARD:,} recordings"),
        Choice("pretrain.batch_size", batch, "about N / 40, so that an epoch has some 40 updates; 256 at most"),
        Choice("pretrain.crops.long_seconds", long, why_long),
        Choice("pretrain.crops.short_seconds", round(min(2.0, long / 2), 1), "half of the long crops, 2 at most"),
        Choice("pretrain.dino.teacher_temperature", temperature, why),
        Choice("pretrain.head.prototypes", power_of_two(utterances, 65_536), "at most N"),
        Choice("train.batch_size", batch, "as in stage I"),
        Choice("train.crop_seconds", round(min(2.0, max(1.0, long)), 1), "2, or less for short recordings"),
    ]


def batch_size(utterances: int) -> int:
    """A power of two, about a fortieth of the corpus: between 16 and 256."""
    return max(16, power_of_two(utterances // 32, PAPER_BATCH))


def power_of_two(limit: int, most: int) -> int:
    """The greatest power of two that is at most `limit` and `most`; at least 2."""
    return 1 << max(1, int(np.log2(max(2, min(limit, most)))))


def crop_seconds(seconds: np.ndarray) -> float:
    """Of the long crops: half of a recording that nine tenths are longer than, between 1 and 3."""
    return float(np.clip(np.round(np.quantile(seconds, 0.1) / 2, 1), SHORTEST_CROP, LONGEST_CROP))


def speaker_choices(utterances: int, speakers: int) -> list[Choice]:
    """Numbers of clusters, from a guess at the number of speakers.

    Args:
        speakers: S.
    """
    clusters = min(max(2, round(1.5 * speakers)), max(2, utterances // 2))
    of_stage_one = min(max(2, 3 * speakers), max(2, utterances // 2))
    return [
        Choice("pretrain.cluster_aware.clusters", of_stage_one, "3 S; 2 to 4 do as well"),
        Choice("cluster.clusters", clusters, "1.5 S: rather too many than too few"),
        Choice("cluster.restarts", 5 if utterances < 20_000 else 1, "the best of several runs, where they cost nothing"),
        Choice("score.cohort_top", min(300, max(1, clusters // 2)), "half of the clusters, 300 at most"),
    ]


class Epochs(NamedTuple):
    """What there is time for."""

    rounds: int
    stage_one: int
    of_a_round: int

    def hours(self, utterances: int, speed: Speed) -> float:
        """That all takes, extraction, clusters and scores among it."""
        seconds = utterances * (self.stage_one / speed.pretrain + self.rounds * self.of_a_round / speed.train)
        return seconds / 3600 / (STAGE_ONE + ROUNDS * ROUND)


def epochs_of(utterances: int, hours: float, speed: Speed) -> Epochs:
    """Epochs of stage I and of rounds; no rounds, and more of stage I, where these would have too few updates.

    Args:
        hours: for everything.
        speed: of the machine, with this encoder.
    """
    of_a_round = affordable(hours * ROUND, speed.train, utterances, FEWEST_ROUND_EPOCHS, PAPER_ROUND_EPOCHS)
    rounds = ROUNDS if of_a_round * steps_of(utterances) >= FEWEST_ROUND_UPDATES else 0
    share = STAGE_ONE if rounds else STAGE_ONE + ROUNDS * ROUND
    return Epochs(rounds, affordable(hours * share, speed.pretrain, utterances, FEWEST_EPOCHS, PAPER_EPOCHS), of_a_round)


def steps_of(utterances: int) -> int:
    """Updates of an epoch."""
    return max(1, utterances // batch_size(utterances))


def time_remarks(utterances: int, hours: float, speed: Speed) -> list[str]:
    """What there is to say where the time is too short for this corpus on this machine, a sentence each.

    Args:
        hours: for everything.
        speed: of the machine.
    """
    epochs, steps = epochs_of(utterances, hours, speed), steps_of(utterances)
    notes = []
    if (longer := epochs.hours(utterances, speed)) > 1.1 * hours:
        notes.append(f"the fewest epochs that make sense take about {longer:.2g} hours here, not {hours:g}")
    if not epochs.rounds:
        notes.append("there is no time for rounds of DLG-LC: all of it goes to stage I, and `rounds` is 0")
    if epochs.stage_one * steps < SHORT_UPDATES:
        share = STAGE_ONE if epochs.rounds else STAGE_ONE + ROUNDS * ROUND
        enough = -(-SHORT_UPDATES // steps) * utterances / speed.pretrain / 3600 / share
        notes.append(
            f"stage I has {epochs.stage_one * steps:,} updates of its weights. With fewer than {SHORT_UPDATES} it learns little: "
            f"--hours {enough:.2g} has as many, and thousands are better"
        )
    return notes


def time_choices(utterances: int, hours: float, speed: Speed) -> list[Choice]:
    """Settings that follow the number of updates that there is time for.

    Args:
        hours: for everything.
        speed: of the machine, with this encoder.
    """
    epochs, steps = epochs_of(utterances, hours, speed), steps_of(utterances)
    why = f"a round would have fewer than {FEWEST_ROUND_UPDATES:,} updates, and worse embeddings than stage I"
    if epochs.rounds:
        why = "of DLG-LC; with few speakers compare them with iter_0, which may be better"
    return [
        Choice("rounds", epochs.rounds, why),
        *stage_one(utterances, epochs.stage_one, epochs.stage_one * steps),
        *round_of(epochs.of_a_round, epochs.of_a_round * steps),
        *(SMALL_BANKS if hours < LONG_HOURS else []),
    ]


def affordable(hours: float, rate: float, utterances: int, least: int, most: int) -> int:
    """Epochs that fit into `hours` at `rate` utterances per second, within bounds."""
    return int(np.clip(hours * 3600 * rate / utterances, least, most))


def stage_one(utterances: int, epochs: int, updates: int) -> list[Choice]:
    """Of stage I, for so many epochs with T = `updates`."""
    few, many = updates < FEW_UPDATES, utterances >= MANY_UTTERANCES
    return [
        Choice("pretrain.epochs", epochs, f"what there is time for, {PAPER_EPOCHS} at most: T = {updates:,} updates"),
        Choice("pretrain.average_last", max(1, min(10, epochs // 4)), "a quarter of the epochs, 10 at most"),
        Choice(
            "pretrain.dino.ema_start",
            round(min(0.996, max(0.0, 1 - 10 / updates)), 4),
            "1 - 10 / T, 0.996 at most: a memory of a tenth of it",
        ),
        Choice("pretrain.dino.teacher_temperature_epochs", round(epochs / 5), "a fifth of the epochs"),
        Choice("pretrain.dino.cosine_weight", 1.0 if many else 0.0, "it takes hundreds of thousands of utterances to do good"),
        Choice("pretrain.dino.redundancy_weight", 0.04 if few else 0.0, f"it helps where T is below {FEW_UPDATES:,}"),
        Choice("pretrain.optimiser.learning_rate", learning_rate(updates), f"0.2 from T = {FULL_RATE_UPDATES:,} on, more below"),
        Choice("pretrain.optimiser.warmup_epochs", max(1, round(0.13 * epochs)), "the paper's share of the epochs"),
        Choice("pretrain.cluster_aware.start_epoch", max(1, round(0.6 * epochs)), "the paper's share of the epochs"),
        Choice("pretrain.cluster_aware.every_epochs", max(1, round(epochs / 30)), "the paper's share of the epochs"),
    ]


def learning_rate(updates: int) -> float:
    """Of stage I, per 256 utterances: the paper's 0.2, and up to 1.0 where few updates must do the work of many."""
    logarithms = np.log([SHORT_UPDATES, FULL_RATE_UPDATES])
    return round(float(np.exp(np.interp(np.log(max(updates, 1)), logarithms, np.log([1.0, 0.2])))), 2)


def round_of(epochs: int, updates: int) -> list[Choice]:
    """Of a round of so many epochs and `updates`."""
    few = updates < FEW_UPDATES
    still_learning = [Choice("train.optimiser.final_learning_rate", 0.01, "so that the last of few updates still teach something")]
    margin_start, margin_full = max(1, round(0.1 * epochs)), max(2, round(0.3 * epochs))
    gate_start = max(margin_full + 1, round(epochs * (2 / 3 if few else 0.15)))
    return [
        Choice("train.epochs", epochs, f"what there is time for, {PAPER_ROUND_EPOCHS} at most: {updates:,} updates"),
        Choice("train.aam.margin_start_epoch", margin_start, "a tenth of the epochs"),
        Choice("train.aam.margin_full_epoch", margin_full, "three tenths of the epochs"),
        Choice("train.gate.gate_start_epoch", gate_start, "after the network has learned its labels" + (": two thirds" if few else "")),
        Choice("train.optimiser.learning_rate", 0.2 if few else 0.1, "the paper's 0.1, or more for few updates"),
        *(still_learning if few else []),
    ]
