"""Settings of the data stages: corpora, trial lists and augmentation sources."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from selfsv.settings.section import Fraction, NonNegative, Positive, Section

Speed = Annotated[float, Field(ge=0.8, le=1.25)]  # beyond, a voice no longer sounds like one
LEAST_RATIO = 2.5  # of the longest and the shortest piece: any recording that is too long for one can be cut, wherever it is quiet
Extension = Annotated[str, Field(pattern=r"^\.?[A-Za-z0-9]+$")]


class CutSettings(Section):
    """How long recordings are cut into utterances, at silences. A recording must have one talker: two are not told apart."""

    longest_seconds: float = Field(10.0, gt=0, description="of an utterance; a recording that is not longer stays whole, seconds [ours]")
    shortest_seconds: float = Field(3.0, ge=1, description="of an utterance, seconds [ours]")
    silence_db: float = Field(30.0, ge=10, le=80, description="this far below a recording's loud frames is silence, dB [ours]")
    detector: Literal["energy", "silero"] = Field(
        "energy",
        description="what tells speech from silence: energy, or silero, a network that leaves out music and noise, too; it needs "
        "`pip install 'selfsv[vad]'` [Silero VAD; ours]",
    )

    @model_validator(mode="after")
    def _every_length_can_be_cut(self) -> "CutSettings":
        if self.longest_seconds < LEAST_RATIO * self.shortest_seconds:
            least = LEAST_RATIO * self.shortest_seconds
            raise ValueError(
                f"`longest_seconds` is below {LEAST_RATIO:g} times `shortest_seconds`: there are lengths that no cuts "
                f"can make of it. Raise it to {least:g} at least"
            )
        return self


class Corpus(Section):
    """Where the audio of one corpus is, and how its folders are read."""

    layout: Literal["voxceleb", "folder", "listing"] = Field(
        description="voxceleb: {path}/{speaker}/{session}/{file}; folder: any tree of audio files; "
        "listing: a CSV or Parquet file with a column `path` and, where wanted, `utterance`, `session`, `speaker`, `channel`, `video`"
    )
    path: str | list[str] = Field(description="the folder, several folders, or the listing file")
    video: str | list[str] | None = Field(
        None,
        description="audio-visual only: the folder(s) of the utterances' videos, named like the audio; "
        "empty: the files of `path` are videos, or the listing has a column `video`",
    )
    channel: NonNegative = Field(
        0, description="channel to read of each recording, 1 the left one; 0: the mean of all; a listing's column `channel` goes first"
    )
    extension: Extension | list[Extension] | None = Field(
        None, description="the one ending to read (or several), e.g. wav, where folders hold recordings twice; empty: all that can be read"
    )

    speakers_table: str | None = Field(
        None,
        description="of a corpus with trials: a CSV file about its speakers (e.g. VoxCeleb1's vox1_meta.csv); its first column has their "
        "names, the others (gender, nationality, …) become conditions of the error rates; training never sees it; empty: none",
    )

    speeds: tuple[Speed, ...] = Field(
        (),
        description="a training corpus gets a copy of each utterance at one of these speeds, in turn, as further voices, e.g. 0.9 and 1.1; "
        "lower `epochs` accordingly [paper: none; for few talkers]",
    )

    cut: CutSettings | None = Field(
        None,
        description="cuts long recordings of one talker each into utterances at silences, e.g. {longest_seconds: 10, "
        "shortest_seconds: 3}; empty: files stay whole [paper: none]",
    )

    @model_validator(mode="after")
    def _listings_name_their_files(self) -> "Corpus":
        if self.extension and self.layout == "listing":
            raise ValueError("`extension` is for folders: a listing names the files to read")
        return self


class TrialList(Section):
    """A trial list in VoxCeleb's format: lines of `1 enrol test` (1 = same speaker)."""

    corpus: str = Field(description="the corpus that the list's utterances belong to")
    path: str = Field(description="the list's file")
    tuned_on: bool = Field(
        False, description="whether settings were tried out on this list: the report then says so beside its error rates"
    )


class DecodingSettings(Section):
    """Which recordings are rejected once they are decoded."""

    min_seconds: float = Field(1.0, gt=0, description="shorter utterances are rejected, seconds [ours]")
    min_peak: Fraction = Field(0.001, description="utterances that never exceed this fraction of full scale are rejected as silent [ours]")


class PackSettings(DecodingSettings):
    """Decoding to 16 kHz mono int16, one file per shard."""

    shards: Positive = Field(
        64, description="pack jobs and audio files per corpus; 4 for corpora of an overlay that does not name this key [ours]"
    )


class RejectionSettings(Section):
    """How much of a corpus may be unusable."""

    max_rejected: Fraction = Field(0.01, description="fraction of a corpus's files that may be rejected before the run stops [ours]")


class NoiseSettings(Section):
    """The bank of additive noise (paper V-C)."""

    path: str | None = Field(
        None, description="a MUSAN tree (noise/, music/, speech/); empty: synthesised [paper V-C: MUSAN; synthesis ours]"
    )
    minutes_per_kind: float = Field(120.0, gt=0, description="minutes kept of each kind: the bank lives on the training device [ours]")
    babble_talkers: tuple[Positive, Positive] = Field(
        (3, 8), description="speech files summed into one babble track, least and most [Kaldi's VoxCeleb recipe]"
    )


class RirSettings(Section):
    """The bank of room impulse responses (paper V-C)."""

    path: str | None = Field(
        None, description="a RIRS_NOISES tree; empty: rooms simulated with pyroomacoustics [paper V-C; simulation ours]"
    )
    max_responses: Positive = Field(
        40000,
        description="at most this many responses of a tree are kept, drawn at random: the bank lives on the training device [paper V-C: 40,000]",
    )
    seconds: float = Field(1.0, gt=0, description="responses are cut to this length from their direct path on, seconds [ours]")
    simulated_rooms: Positive = Field(2000, description="responses to simulate where there is no tree [ours]")
