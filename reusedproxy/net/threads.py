"""Does work in a thread while the event loop goes on.

That helps only where the work waits, or computes in a library that lets the interpreter go on meanwhile, as OpenSSL
does: while Python itself computes, each system call of the loop waits for the interpreter lock (`slices`). Must never
know what the work is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic, sleep
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


#: Seconds for which a thread that computes in Python lets go of the interpreter: one that waits for it needs as long to
#: wake up, and would find it taken again.
_GIVEN = 1e-4

#: What is to be done, and when (in the time of `monotonic`).
Task = tuple[float, Callable[[], object]]


class Worker:
    """Does one thing after the other in one thread, which is started with the first and stays: each thread gets memory
    of its own from glibc (an arena), where what it has freed stays for it alone."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: Thread | None = None
        self._todo: SimpleQueue[Task] = SimpleQueue()

    def do(self, reactor: Any, work: Callable[[], T]) -> Deferred[T]:
        """Returns the result of `work`, or its exception. Where the Deferred is cancelled the work is done all the
        same, and nobody hears of its end."""
        done: Deferred[T] = Deferred()

        def told(result: T | Failure) -> None:
            if isinstance(result, Failure):
                done.errback(result)
            else:
                done.callback(result)

        def run() -> None:
            result: T | Failure
            try:
                result = work()
            except Exception:
                result = Failure()
            reactor.callFromThread(told, result)

        self.leave(run)
        return done

    def wait_for(self, work: Callable[[], T]) -> T:
        """Returns the result of `work`, or raises its exception, where no client waits yet."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        self.leave(run)
        return done.result()

    def leave(self, work: Callable[[], object], after: float = 0.0) -> None:
        """Has `work` done, `after` so many seconds at the earliest. It must not fail, and nobody hears of its end."""
        self._todo.put((monotonic() + after, work))
        if self._thread is None or not self._thread.is_alive():  # none lives on in a process that was forked off
            # A daemon: the process must not wait at its exit for what nobody needs any more.
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        later: deque[Task] = deque()  # what was left with the same delay comes in the order of its time
        while True:
            try:
                task = self._todo.get(timeout=max(0.0, later[0][0] - monotonic()) if later else None)
            except Empty:
                later.popleft()[1]()
                continue
            if task[0] > monotonic():
                later.append(task)
            else:
                task[1]()


def in_turns(pieces: Iterable[T]) -> Iterator[T]:
    """Returns pieces of work that a thread does in Python, each in a tenth of a millisecond or so; before the next one,
    the event loop gets its turn."""
    for number, piece in enumerate(pieces):
        if number:
            sleep(_GIVEN)
        yield piece
