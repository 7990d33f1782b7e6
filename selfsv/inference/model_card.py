"""The page of an exported model: what it is, what it was made from, how good it is, what it is for and what it is not."""

import json
import re
from typing import Any

from selfsv.scoring.systems import title
from selfsv.settings.stage_one import recorded_title

TAGS = ("speaker-verification", "speaker-recognition", "audio", "self-supervised")
NORMS = {"cosine": "cosine", "snorm": "s-norm"}


def model_card(config: dict[str, Any], facts: dict[str, Any], graph: bool) -> str:
    """The card in Markdown, with the header that model hubs read.

    Args:
        config: what `config.json` holds.
        facts: `name`, `licence`, `encoder` (its architecture and size), and of the experiment, where known: `system`, `settings`,
            `corpora` (name to utterances and hours); with a graph for sherpa-onnx `agreement`, a sentence, and `threshold`.
        graph: whether there is a `model.onnx`.
    """
    parts = [_header(config, facts), f"# {escaped(facts['name'])}", _what(config, facts)]
    if facts.get("corpora"):
        parts += ["## Data", _data(facts["corpora"])]
    if facts.get("settings"):
        parts += ["## Recipe", _recipe(facts["settings"])]
    parts += ["## How good it is", _metrics(config["metrics"])]
    parts += ["## Use", USE.format(folder="path/to/this/folder"), GRAPH if graph else "", _sherpa(facts), LIMITS]
    parts += ["## Licence", f"The weights: {escaped(facts['licence'])}. The recordings they were trained on have licences of their own."]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """`text` as Markdown shows it: a corpus may be called anything."""
    return re.sub(r"([\\`*_{}\[\]<>()|&~])", r"\\\1", " ".join(text.split()))


def _header(config: dict[str, Any], facts: dict[str, Any]) -> str:
    architecture = config["encoder"].get("architecture", "ecapa_tdnn").replace("_", "-")
    # JSON strings are YAML strings: no name can end the header or add a key to it.
    lines = [f"license: {json.dumps(facts['licence'])}", "library_name: selfsv", "pipeline_tag: audio-classification", "tags:"]
    return "\n".join(["---", *lines, *(f"- {tag}" for tag in (*TAGS, architecture)), "---"])


def _what(config: dict[str, Any], facts: dict[str, Any]) -> str:
    stage = f" ({title(facts['system'], _stage_one(facts))})" if facts.get("system") else ""
    training = _training(config["provenance"], _stage_one(facts))
    return (
        f"A speaker-verification model{stage}, {facts['encoder']}: it turns speech at 16 kHz into an embedding of "
        f"{config['encoder']['embedding']} dimensions; recordings of one speaker are near to each other. {training}"
    )


def _stage_one(facts: dict[str, Any]) -> str:
    return recorded_title(facts.get("settings") or {}) or "stage I"


def _training(provenance: dict[str, Any], stage_one: str) -> str:
    method = f"{stage_one}, then rounds of clustering and training with a dynamic loss-gate and label correction"
    paper = "Han, Chen, Qian, [arXiv 2304.05754](https://arxiv.org/abs/2304.05754)"
    labels = provenance.get("labels")
    if provenance.get("stage") == "ivector":
        return "It was trained without speaker labels, by expectation maximisation (Dehak et al., doi 10.1109/TASL.2010.2064307)."
    if not labels:
        return f"It was trained without speaker labels: {method} ({paper})."
    told = f"on {labels['utterances']:,} utterances of {labels['speakers']:,} speakers **with labels**"
    if provenance.get("start") == "random":
        return f"It was trained {told}, from random weights."
    return f"It was trained without speaker labels first ({method}; {paper}), then tuned {told}."


def _data(corpora: dict[str, dict[str, float]]) -> str:
    rows = [f"| {escaped(name)} | {row['utterances']:,} | {row['hours']:,.1f} |" for name, row in corpora.items()]
    return "\n".join(["What training without labels used:", "", "| corpus | utterances | hours |", "|---|---|---|", *rows])


def _recipe(settings: dict[str, Any]) -> str:
    pretrain, train, ivector = settings["pretrain"], settings["train"], settings["ivector"]
    first = {recorded_title(settings) or "stage I": f"{pretrain['epochs']} epochs, batches of {pretrain['batch_size']}"}
    if pretrain["method"] == "ivector":
        first = {"i-vector": f"{ivector['components']} Gaussians, {ivector['embedding']} dimensions"}
    facts = {
        "modality": settings["modality"],
        "seed": settings["seed"],
        **first,
        "DLG-LC": f"{settings['rounds']} rounds of {train['epochs']} epochs, batches of {train['batch_size']}",
        "gate": train["gate"]["mode"],
        "pseudo speakers": settings["cluster"]["clusters"],
    }
    return "\n".join(f"- {key}: {value}" for key, value in facts.items())


def _metrics(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "Not measured in the experiment that it comes from."
    lines = [
        f"| {escaped(row['trials'])} | {NORMS.get(row['norm'], row['norm'])} | {_with_ends(row, 'eer', 100, 2)} | "
        f"{_with_ends(row, 'min_dcf', 1, 3)} | {row['targets']:,} | {row['nontargets']:,} |"
        for row in rows
    ]
    head = ["| trial list | scores | EER % | minDCF | same speaker | different speakers |", "|---|---|---|---|---|---|"]
    resampled = {row["resampled"] for row in rows if row.get("resampled")}
    note = ["", f"In brackets: 95 % intervals that resample {escaped(', '.join(sorted(resampled)))}."] if resampled else []
    return "\n".join([*head, *lines, *note])


def _with_ends(row: dict[str, Any], measure: str, factor: float, digits: int) -> str:
    value, low, high = (row.get(f"{measure}{end}") for end in ("", "_low", "_high"))
    ends = "" if low is None or high is None else f" [{factor * low:.{digits}f}, {factor * high:.{digits}f}]"
    return f"{factor * row[measure]:.{digits}f}{ends}" if value is not None else "not measured"


def _sherpa(facts: dict[str, Any]) -> str:
    if not facts.get("agreement"):
        return ""
    threshold = facts.get("threshold")
    known = f"At a cosine of {threshold:.4f} both answers are equally likely, by a calibration without labels. " if threshold else ""
    return f"{SHERPA}{known}The {facts['agreement']}."


SHERPA = """`sherpa.onnx` is a speaker-embedding model for [sherpa-onnx](https://github.com/k2-fsa/sherpa-onnx), from any of its languages.
Compare its embeddings by the plain cosine: the mean of the training corpus is subtracted already. It takes recordings whole, and its
memory grows with their length. """

USE = """```python
import selfsv

model = selfsv.load("{folder}")
score = model.compare(model.embed_file("first.wav"), model.embed_file("second.wav"))
```

Higher scores speak for one speaker. Where to draw the line depends on the recordings and on what a mistake costs: choose the
threshold on trials of your own (`selfsv score`, then `selfsv verify --trials`)."""

GRAPH = """Without PyTorch, with numpy and onnxruntime alone, on waveforms of 16 kHz:

```python
from selfsv.inference.onnx_model import OnnxModel  # pip install --no-deps selfsv

model = OnnxModel("model.onnx")
embedding = model.embed(recording)  # float32 [samples], full scale 1, to [dimensions]; compare them by model.compare and model.llr
```

Without this package:

```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
embeddings = session.run(None, {"waveform": waveforms})[0]  # float32 [batch, samples], full scale 1, to [batch, dimensions]
```

The graph takes waveforms of any length at once, and its memory grows with it. `selfsv` cuts a recording of more than two minutes into
as few pieces of equal length as possible, none longer than two minutes, and takes the mean of their embeddings. Do the same for long
recordings, or the embeddings differ from those of `selfsv`:

```python
import numpy

pieces = numpy.array_split(recording, max(1, -(-len(recording) // (120 * 16000))))  # float32 [samples]
embedding = numpy.mean([session.run(None, {"waveform": piece[None]})[0][0] for piece in pieces], axis=0)
```

The graph's metadata has what comparing needs, `mean` and `cohort` as base64 of float32, row by row. Subtract `mean` from the embeddings
before their cosine if `subtract_mean` is true."""

LIMITS = """## Intended use

Research on speaker verification; finding recordings of one speaker in a collection; a first filter before a person listens.

## Not intended

Deciding about people: granting or refusing access, identifying or tracking persons who have not agreed to it. No score is
evidence of identity: it says how alike two recordings sound to this model.

## Limits

- It knows the voices, languages, microphones and rooms of its training data; others are harder, and by how much is not known before
  it is measured. Nobody has balanced that data by sex, age, accent or language, so error rates differ between groups.
- Speech of one to two seconds, noise, far microphones and telephone codecs raise the error rate.
- It does not detect replayed, converted or synthetic voices.
- Pseudo labels stand in for speakers: one person in very different recordings may count as two, alike voices as one."""
