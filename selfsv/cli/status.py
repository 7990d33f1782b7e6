"""Exit statuses, for scripts. Python's own for an uncaught exception is 1, which means "no" here: no exception may get that far."""

DONE = 0  # verify: the same speaker; identify with a threshold: everybody known
NO = 1  # verify: different speakers; identify: somebody unknown
ERROR = 2  # one message on standard error
SOME = 3  # done, but some recordings could not be used
UNDECIDED = 4  # verify: no threshold, so there is a score only
INTERRUPTED = 128 + 2  # by Ctrl-C, as a shell reports it
BROKEN_PIPE = 128 + 13  # whoever read the output has had enough; likewise
