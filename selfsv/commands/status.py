"""Exit statuses, for scripts."""

DONE = 0  # verify: the same speaker; identify: everybody known
NO = 1  # verify: different speakers; identify: somebody unknown
ERROR = 2  # one message on standard error
SOME = 3  # done, but some recordings could not be used
