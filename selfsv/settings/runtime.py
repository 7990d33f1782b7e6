"""Settings of how a run is carried out. Changing them reruns nothing; on the CPU, one process's result stays the same bit for bit."""

from typing import Annotated, Literal

from pydantic import Field

from selfsv.settings.section import NonNegative, Positive, Section


class RuntimeSettings(Section):
    """How a run is carried out: changing these keys reruns nothing (all ours)."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto (a GPU where there is one), cpu, cuda")
    gpus: NonNegative = Field(1, description="per training job and node: one process each, whose parts of a batch add up to batch_size")
    nodes: Positive = Field(1, description="per training job; more than one needs a cluster (--profile slurm)")
    threads: Positive = Field(
        8, description="CPU cores per GPU of a training, and per extraction or clustering job, on each node; never more than --cores"
    )
    workers: NonNegative = Field(
        6,
        description="processes per GPU of a training that copy crops from the memory map; 0: the training process itself. Each keeps two batches "
        "in shared memory, 230 MB by these defaults: containers need --shm-size or --ipc=host",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the encoder: auto (bfloat16 on a GPU that has it, else float32), float32, bfloat16"
    )
    compile: Literal["auto"] | bool = Field(
        "auto",
        description="on a GPU kernels of our own and CUDA graphs, on a CPU torch.compile of the encoder; auto (on a GPU, if it can be), true, false",
    )
    checkpoint_minutes: float = Field(10.0, gt=0, description="between saves of the training state, minutes")
    stall_minutes: float = Field(
        30.0,
        gt=0,
        description="that processes of a training wait for one that does not answer, before the job fails; it can be tried again",
    )
    snapshot_epochs: Positive | None = Field(
        None, description="epochs after which a training also writes its encoder, {system}/snapshots/epoch-{n}.pt, to look at; empty: never"
    )
    shared_start: str | None = Field(
        None,
        description="a folder of states of stage I before its first clustering, for all experiments that differ in their clusters alone: one "
        "trains that far, the others go on from there; empty: each has its own",
    )
    tracker: Literal["none", "mlflow"] = Field(
        "none",
        description="where a training's history goes beside its files: none, or mlflow, the server that MLFLOW_TRACKING_URI names, as "
        "experiment and run",
    )
    leave_minutes: float = Field(
        2.0,
        ge=0,
        description="before the time limit of its SLURM job, at which a training saves its state and puts the job back in the queue; no retry is "
        "spent on that",
    )
    container: Annotated[str, Field(pattern=r"^[\w./:@+~=-]+$")] | None = Field(
        None, description="with `--sdm apptainer`: the image that jobs run in, e.g. selfsv.sif (docs/containers.md); empty: no image"
    )
    scratch: Annotated[str, Field(pattern=r"^[/$]")] | None = Field(
        None,
        description="folder on each node's own disk, e.g. /scratch or $SLURM_TMPDIR: trainings copy the packed audio there, once per node, and "
        "read the copy; empty: they read it where it is",
    )
