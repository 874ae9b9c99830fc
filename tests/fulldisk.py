"""A disk without room, for tests of what is written to files: the limit on their size ends writes as it does."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def room_in_files(size: int) -> Iterator[None]:
    """Has no file of this process grow beyond so many bytes: of what is written a part is taken, then nothing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
