"""What is left to the garbage collector. A reload makes permanent whatever is alive at its end (`gc.freeze`), so that a
reference cycle which outlives its use then is never freed.

    with garbage() as left:
        ...
    self.assertEqual(left, {})               # nothing of ours is in a cycle that nobody refers to any more
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, GeneratorType, MethodType


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """Counts, at the end, the objects of this program that were made meanwhile, are not used any more and were not
    freed at once, by their kinds."""
    left = Counter[str]()
    gc.collect()
    gc.freeze()  # what was there before is no concern of the test, and need not be traversed
    gc.disable()
    try:
        yield left
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left.update(filter(None, map(_name_of_ours, gc.garbage)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()


def _name_of_ours(each: object) -> str | None:
    """The name of an object of this program; None: it is somebody else's."""
    if isinstance(each, GeneratorType):
        return each.__qualname__ if "/reusedproxy/" in each.gi_code.co_filename else None
    named = each if isinstance(each, FunctionType | MethodType | type) else type(each)
    module = named.__module__ or ""
    return f"{module}.{named.__qualname__}" if module.startswith("reusedproxy.") else None
