"""Several threads, one order: results come as they would from a plain loop.

joblib's generators keep the order, too, but go on without the consumer: of 1,000 tasks all are done, and all results in memory, while
the first one is looked at.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

AHEAD_PER_THREAD = 4  # keeps threads busy without piling up results in memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """`function` of every item on `threads` threads, in the items' order, with few results waiting at any time.

    For work that releases Python's lock: decoding, filtering, reading. Stopping early drops what is still waiting.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(remaining, threads * AHEAD_PER_THREAD))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(remaining, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
