"""The page that `selfsv plan` prints."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from selfsv.engine.footprint import Footprint, Machines
from selfsv.engine.sent import Links
from selfsv.report.plan_checks import GB, CorpusSize
from selfsv.report.plan_disk import Disk
from selfsv.report.plan_hours import Hours, Rates


class Plan(NamedTuple):
    """Everything that was found out."""

    experiment: str
    machines: Machines
    corpus: CorpusSize | None
    footprints: Sequence[Footprint]
    extraction: int  # bytes of a GPU
    links: Links
    disk: Disk
    rates: Rates
    hours: Sequence[Hours]
    problems: Sequence[str]
    notes: Sequence[str]


def page(plan: Plan) -> str:
    """For people."""
    machines = plan.machines
    head = f"{plan.experiment}: {machines.nodes} node{'s' * (machines.nodes > 1)} of {machines.gpus} GPU{'s' * (machines.gpus > 1)}"
    parts = [f"{head}, {_size(plan.corpus)}", "", *_memory(plan), "", *_sending(plan), "", *_disk(plan)]
    parts += ["", *_hours(plan)] if plan.hours else []
    for title, sentences in (("Notes", plan.notes), ("It does not fit", plan.problems)):
        parts += ["", title, *(f"- {sentence}" for sentence in sentences)] if sentences else []
    return "\n".join(parts if plan.problems else [*parts, "", "It fits."])


def as_json(plan: Plan) -> dict[str, Any]:
    """For programs; bytes, seconds and hours."""
    machines = plan.machines
    return {
        "experiment": plan.experiment,
        "gpus": machines.gpus,
        "nodes": machines.nodes,
        "corpus": plan.corpus._asdict() if plan.corpus else None,
        "trainings": [
            {
                **{name: getattr(one, name) for name in ("training", "title", "times", "encoder", "batch_size", "part", "epochs", "state")},
                "memory": one.memory,
                "memory_of": one.parts,
                "sent_bytes": one.sent.bytes,
                "sent_gradients": one.sent.gradients if machines.processes > 1 else 0,
                "messages": len(one.sent.between_devices),
                "messages_between_hosts": one.sent.between_hosts,
                "sending_seconds": one.sent.seconds(machines.gpus, machines.nodes, plan.links),
            }
            for one in plan.footprints
        ],
        "extraction_memory": plan.extraction,
        "assumed": plan.links._asdict(),
        "disk": plan.disk._asdict(),
        "rates": plan.rates._asdict(),
        "hours": [one._asdict() for one in plan.hours],
        "problems": list(plan.problems),
        "notes": list(plan.notes),
    }


def _size(corpus: CorpusSize | None) -> str:
    if corpus is None:
        return "a corpus of unknown size (--utterances, --hours)"
    hours = "" if corpus.hours is None else f", {corpus.hours:,.0f} hours"
    return f"{corpus.utterances:,} utterances{hours}"


def _memory(plan: Plan) -> list[str]:
    head = [
        "GB of a GPU, at most",
        "weights",
        "teacher",
        "protot./class.",
        "optimiser",
        "gradients",
        "noise, rooms",
        "activations",
        "together",
    ]
    rows = [
        [f"{one.title}, {one.part} of {one.batch_size}", *(f"{value / GB:.2f}" for value in one.parts.values()), f"{one.memory / GB:.1f}"]
        for one in plan.footprints
    ]
    extraction = ["extraction", *[""] * (len(head) - 2), f"{plan.extraction / GB:.1f}"]
    kernels = "our own kernels where the encoder has some" if plan.machines.kernels else "torch's layers"
    return [
        *_table([head, *rows, extraction]),
        f"Followed through the trainings' own code, {kernels}; CUDA itself comes on top.",
        "The third column has prototypes, or the classifier; the sixth the banks on the GPU, and labels.",
    ]


def _sending(plan: Plan) -> list[str]:
    machines = plan.machines
    if machines.processes == 1:
        return ["One process: nothing is sent."]
    head = ["sent per step", "MB", "of it gradients", "messages", "between CPUs", "ms"]
    rows = [
        [
            one.title,
            f"{one.sent.bytes / 1e6:.1f}",
            f"{one.sent.gradients / 1e6:.1f}",
            str(len(one.sent.between_devices)),
            str(one.sent.between_hosts),
            f"{1e3 * one.sent.seconds(machines.gpus, machines.nodes, plan.links):.1f}",
        ]
        for one in plan.footprints
    ]
    links = plan.links
    rate = links.gigabytes_per_second if machines.nodes == 1 else links.gigabytes_per_second_between_nodes
    return [*_table([head, *rows]), f"Assumed, not measured: {rate:g} GB/s one way, {links.latency_microseconds:g} us per message."]


def _disk(plan: Plan) -> list[str]:
    disk = plan.disk
    audio = "unknown (--hours)" if disk.audio is None else f"{disk.audio / GB:,.1f}"
    rows = [
        ["disk, GB", ""],
        ["packed audio, which nodes best hold in their page cache", audio],
        ["embeddings of the training corpus, all iterations", f"{disk.embeddings / GB:,.1f}" if plan.corpus else "unknown (--utterances)"],
        ["states of the trainings", f"{disk.states / GB:,.1f}"],
        ["/dev/shm of a node, data workers", f"{disk.shared_memory / GB:,.2f}"],
    ]
    return _table(rows)


def _hours(plan: Plan) -> list[str]:
    rows = [["hours", "least", "most"]]
    rows += [[one.title + ("" if one.measured else " (encoder not measured)"), f"{one.least:.1f}", f"{one.most:.1f}"] for one in plan.hours]
    rows.append(["together", *(f"{sum(getattr(one, name) for one in plan.hours):.1f}" for name in ("least", "most"))])
    rates = plan.rates
    alone = "Several processes start kernels one by one, which takes the CPU longer than a small part takes a GPU: raise the batch size."
    return [
        *_table(rows),
        f"Rates of {rates.card}, {rates.encoder}, batches of {rates.batch_size}; several GPUs and other encoders have not been measured.",
        f"Least: a step takes time by its utterances. Most: a step never takes less than one of {rates.batch_size}.",
        "Not in it: packing, clustering, the gate's fits, scoring.",
        *([alone] if plan.machines.processes > 1 and rates.host_seconds else []),
    ]


def _table(rows: list[list[str]]) -> list[str]:
    """Columns side by side, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
