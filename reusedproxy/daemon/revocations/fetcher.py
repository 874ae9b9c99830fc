"""Fetches the lists of revoked certificates again and again, each `crl-file` at its own times, and has what is new
taken up as a file that has changed on disk.

A list that a trusted CA has not signed, that is out of time or older than the one at hand changes nothing: the file
stays as it is, and so does what is trusted. When the time of the list in it is over, OpenSSL refuses every certificate
of that CA, as with any `crl-file`. Must never know how a certificate is verified.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from functools import partial
from random import Random
from typing import Any, BinaryIO, Protocol

from attrs import evolve
from cryptography.x509 import Certificate
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from reusedproxy.build.revocations import Source
from reusedproxy.config.model.tls import ListURL
from reusedproxy.daemon.revocations.download import Downloads, Fetched, NotFetched
from reusedproxy.daemon.revocations.keeping import keeping
from reusedproxy.daemon.revocations.taking import Fetch, Outcome, due, outcome_of
from reusedproxy.measures.list_fetches import CHANGED, FAILED, UNCHANGED, ListFetches
from reusedproxy.net.files import open_bounded
from reusedproxy.net.slices import in_slices
from reusedproxy.net.tls.crl_files import LARGEST_REVOCATIONS
from reusedproxy.net.tls.files import certificates_in
from reusedproxy.net.tls.revocations import List, ListRefused
from reusedproxy.net.tls.revoked import SMALL, RevokedLists
from reusedproxy.net.tls.trusts import Trusts

#: Seconds until the next try after a first failure, and at most; each failure doubles them.
AFTER_FAILURE = 60.0
MOST_AFTER_FAILURE = 3600.0
#: Seconds after which it is asked again whether files can be taken up, while a reload is under way.
BUSY = 1.0
#: The share of an interval by which it may be shorter, so that many machines do not all ask at the same moment.
SPREAD = 0.1


class Fetching(Protocol):
    """A proxy whose lists are fetched."""

    list_sources: dict[str, Source]
    list_fetches: dict[str, ListFetches]
    trusts: Trusts


#: `announce(level, text)` takes messages for the operator. `take_up(files)` has files of TLS read again, and tells
#: whether that was begun.
Announce = Callable[[str, str], None]
TakeUp = Callable[[list[str]], bool]


class ListFetcher:
    """Fetches from `begin` to `stop`."""

    def __init__(self, clock: Any, random: Random, announce: Announce, take_up: TakeUp) -> None:
        self._clock = clock
        self._random = random
        self._announce = announce
        self._take_up = take_up
        self._tasks: dict[str, _Task] = {}
        self._changed: dict[str, None] = {}
        self._telling: IDelayedCall | None = None

    def begin(self, proxy: Fetching, downloads: Downloads) -> None:
        """Fetches for `proxy` from now on. What has not changed at a reload goes on as it was."""
        tasks = {}
        for file, source in proxy.list_sources.items():
            task = self._tasks.pop(file, None)
            if task is None or task.source != source:
                if task is not None:
                    task.stop()
                task = _Task(source, self._clock, self._random, self._announce, self._wrote)
            tasks[file] = task
            task.begin(downloads, proxy.list_fetches, proxy.trusts)
        for gone in self._tasks.values():
            gone.stop()
        self._tasks = tasks

    def stop(self) -> None:
        """Ends all fetches; leaves no timer."""
        for task in self._tasks.values():
            task.stop()
        self._tasks = {}
        if self._telling is not None and self._telling.active():
            self._telling.cancel()

    def _wrote(self, file: str) -> None:
        self._changed[file] = None
        self._tell()

    def _tell(self) -> None:
        if self._telling is not None and self._telling.active():
            self._telling.cancel()
        if self._take_up([*self._changed]):
            self._changed.clear()
        else:
            self._telling = self._clock.callLater(BUSY, self._tell)


class _Task:
    """Fetches the lists of one file. Either a fetch is under way, or the next one is planned, until it is stopped."""

    _log = Logger()

    def __init__(
        self, source: Source, clock: Any, random: Random, announce: Announce, wrote: Callable[[str], None]
    ) -> None:
        self.source = source
        self._clock = clock
        self._random = random
        self._announce = announce
        self._wrote = wrote
        self._failures = 0
        #: What was written has not been told yet.
        self._has_written = False
        self._before: dict[ListURL, Fetched] = {}
        #: Digests of what was fetched last, and of the file when the lists at hand were in it.
        self._bodies: dict[ListURL, bytes] = {}
        self._kept = b""
        self._lists: dict[ListURL, List] = {}
        #: What was written to the file last, as OpenSSL has read it, for the reload that takes it up.
        self._read: RevokedLists | None = None
        self._next: IDelayedCall | None = None
        self._running: Deferred[None] | None = None

    def begin(self, downloads: Downloads, fetches: Mapping[str, ListFetches], trusts: Trusts) -> None:
        """Fetches at once, if it has not been begun before; goes on with other CAs, if it has."""
        self._downloads = downloads
        self._fetches = fetches
        self._trusts = trusts
        self._authorities = _authorities(trusts, self.source.ca_files)
        if self._running is None and self._next is None:
            self._run()

    def stop(self) -> None:
        running, self._running = self._running, None
        if self._next is not None and self._next.active():
            self._next.cancel()
        if running is not None:
            running.cancel()

    def _run(self) -> None:
        self._running = running = Deferred.fromCoroutine(self._fetch_all())
        running.addErrback(self._broken)
        if running.called:
            self._running = None

    def _broken(self, failure: Any) -> None:
        self._running = None
        if not failure.check(CancelledError):
            self._log.failure("the fetch of a list ends by our own fault", failure)
            self._plan(MOST_AFTER_FAILURE)

    async def _fetch_all(self) -> None:
        """Fetches from all URLs, writes what is new, and plans the next time."""
        self._read = None
        troubles = [trouble for url in self.source.urls if (trouble := await self._fetch(url))]
        self._running = None
        if self._has_written:
            self._has_written = False
            self._wrote(self.source.file)
        if not troubles:
            self._failures = 0
            self._plan(self._interval())
            return
        self._failures += 1
        self._plan(min(AFTER_FAILURE * 2 ** (self._failures - 1), MOST_AFTER_FAILURE, self.source.revocations.refresh))

    async def _fetch(self, url: ListURL) -> str:
        """Fetches from one URL. Returns why that has failed, "" if it has not."""
        counted = self._fetches[url.text]
        try:
            fetched = await self._downloads.get(url, self._before.get(url, Fetched()))
            changed = await self._take(url, fetched)
        except (NotFetched, ListRefused, OSError) as error:
            return self._failed(url, counted, self._why(error))
        found = self._lists[url]
        counted.counts[CHANGED if changed else UNCHANGED] += 1
        counted.last = time.time()
        counted.until = None if found.bare.next_update_utc is None else found.bare.next_update_utc.timestamp()
        if counted.trouble or changed:
            text = f"crl-url {url.text}: the list is fetched, {found.revoked} revoked; the next one is due {due(found)}"
            self._announce("notice", text)
        counted.trouble = ""
        return ""

    async def _take(self, url: ListURL, fetched: Fetched) -> bool:
        """Writes a list that counts to the file, unless it is there already, and tells whether it was not. Raises
        ListRefused and OSError."""
        file = _opened(self.source.file)
        before = None if file is None else os.fstat(file.fileno())
        fetch = Fetch(fetched.body, file, self._bodies.get(url, b""), self._lists.get(url), self._kept)
        outcome = await self._outcome(fetch, len(fetched.body or b"") + (0 if before is None else before.st_size))
        if outcome.content is not None:
            await in_slices(self._clock, keeping(self.source.file, outcome.content, before))
            self._has_written = True
        if outcome.lists is not None:
            self._read = outcome.lists
            self._trusts.crl_files.know(outcome.lists)
        self._kept, self._bodies[url] = outcome.file, outcome.body
        self._before[url], self._lists[url] = evolve(fetched, body=None), outcome.found
        return outcome.content is not None

    async def _outcome(self, fetch: Fetch, size: int) -> Outcome:
        """Returns what becomes of a fetch; with more than a little in list and file, by a thread. Raises ListRefused
        and OSError."""
        worker = self._trusts.crl_files.worker
        decide = partial(outcome_of, fetch, self._authorities, datetime.now(timezone.utc), worker)
        return decide() if size <= SMALL else await worker.do(self._clock, decide)

    def _failed(self, url: ListURL, counted: ListFetches, why: str) -> str:
        counted.counts[FAILED] += 1
        if not counted.trouble:
            text = f"crl-url {url.text}: {why}; {self._what_holds(url)}"
            self._announce("warning", text)
        counted.trouble = why
        return why

    def _why(self, error: Exception) -> str:
        if isinstance(error, OSError):
            return f"the list cannot be kept in {self.source.file}: {error.strerror or error}"
        return f"{'no list was fetched' if isinstance(error, NotFetched) else 'the list is not taken'}: {error}"

    def _what_holds(self, url: ListURL) -> str:
        held = self._lists.get(url)
        if held is not None:
            return f"the list at hand holds until {due(held)}"
        return f"what is in {self.source.file} stays in use"

    def _interval(self) -> float:
        """Returns the seconds until the next fetch: `crl-refresh`, or half of what is left of the shortest time of a
        list, but a minute at least."""
        now = time.time()
        ends = [
            each.bare.next_update_utc.timestamp()
            for each in self._lists.values()
            if each.bare.next_update_utc is not None
        ]
        halves = [max(AFTER_FAILURE, (end - now) / 2) for end in ends]
        return min(self.source.revocations.refresh, *halves)

    def _plan(self, seconds: float) -> None:
        self._next = self._clock.callLater(seconds * (1 - SPREAD * self._random.random()), self._again)

    def _again(self) -> None:
        self._next = None
        self._run()


def _opened(path: str) -> BinaryIO | None:
    """Opens the file of a `crl-file`; None: there is none yet. Raises OSError."""
    try:
        return open_bounded(path, LARGEST_REVOCATIONS)
    except FileNotFoundError:
        return None


def _authorities(trusts: Trusts, ca_files: Iterable[str]) -> list[Certificate]:
    """Returns the CAs of these files, as they were read last."""
    # Where cryptography is stricter than OpenSSL, a list of a CA is refused, and says whose it is.
    read = (content for path in ca_files for content in trusts.authorities.get(path, ()))
    return [each for content in read for each in certificates_in(content)]
