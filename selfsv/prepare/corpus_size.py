"""Whether a corpus is large enough for its settings, and what would do: known right after it is listed."""

from selfsv.settings.jobs import CorpusCheck
from selfsv.settings.train import LEAST_BATCH

FILES_PER_SHARD = 50_000  # with more than these the pack jobs are long, and few


def too_few(utterances: int, check: CorpusCheck, processes: int) -> list[str]:
    """List the settings that so many utterances cannot serve: each with its key, and with a value that works."""
    problems = [
        f"config key '{key}' is {clusters}: lower it to {utterances} at most; 1.25 to 4 for each speaker you expect do well"
        for key, clusters in check.clusters.items()
        if clusters > utterances
    ]
    if utterances < max(LEAST_BATCH, processes):
        need = (
            f"{processes} processes train together ('runtime.gpus' times 'runtime.nodes')"
            if processes > LEAST_BATCH
            else "a batch needs two"
        )
        problems.append(f"{need}: lower their number, or add recordings")
    return problems


def doubts(utterances: int, check: CorpusCheck) -> list[str]:
    """List the settings that work with so many utterances, but are hardly meant."""
    warnings = [
        f"config key '{key}' is {size}, but the training corpus has only {utterances} utterances: every epoch is a single update. "
        f"At most a fortieth, {max(LEAST_BATCH, utterances // 40)}, does well"
        for key, size in check.batch_sizes.items()
        if size > utterances
    ]
    if utterances > FILES_PER_SHARD * check.shards:
        wanted = -(-utterances // (FILES_PER_SHARD // 2))
        warnings.append(
            f"config key 'pack.shards' is {check.shards} for {utterances} files: packing has no more jobs than that. About {wanted} do well"
        )
    return warnings
