"""Adds servers to the running proxy and takes servers out, one at a time, as operators order it at a `stats socket`.

A reload builds a proxy from what is there when it begins, so nothing changes while one is under way: orders wait for
its end. Must never know who orders, nor what a server is made of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import Any, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.build.added_servers import AddedServer, DeletedServer, NotBuilt
from reusedproxy.build.assembly import Proxy
from reusedproxy.config.language.report import Wrong
from reusedproxy.daemon.limits import floors_too_high
from reusedproxy.daemon.reloading.reload import Reloads
from reusedproxy.net.slices import Slices, Steps
from reusedproxy.operators.logs.expiry import Expiry
from reusedproxy.operators.runtime.proxy import Done
from reusedproxy.operators.view.files import has_files_of_its_own


class NotDone(Exception):
    """Says why an order is not done."""


class Changed(Protocol):
    """The service whose proxy has its servers changed."""

    state: str
    proxy: Proxy | None
    reloads: Reloads

    def announce(self, level: str, text: str, section: str = "") -> None:
        """Sends a message for the operator to the logs."""

    def fetch_lists(self, proxy: Proxy) -> None:
        """Fetches the lists of revoked certificates that servers name now (`crl-url`)."""


class ServerChanges:
    """Does what is ordered for a service, in the order in which it comes."""

    _log = Logger()

    def __init__(self, reactor: Any, service: Changed, expiry: Expiry) -> None:
        self._reactor = reactor
        self._service = service
        self._expiry = expiry
        self._waiting: deque[tuple[Callable[[], Steps[str]], Done]] = deque()
        #: The order that is under way, and who is told of its end.
        self._work: Slices | None = None
        self._doing: list[Done] = []
        #: It is told when the reload under way is over.
        self._held = False

    def add(self, section: str, name: str, words: Sequence[str], done: Done) -> None:
        """Adds a server of this name to the backend `section`; `words` are its address and what else a `server` line
        may say. Calls `done` with whether it was done, and what is said of it."""
        self._order(lambda: self._adding(section, name, words), done)

    def delete(self, path: str, done: Done) -> None:
        """Takes the server `path` ("backend/server") out. Calls `done` with whether it was done, and what is said of
        it."""
        self._order(lambda: self._deleting(path), done)

    def stop(self, why: str) -> None:
        """Breaks off what is under way, and does nothing of what waits: whoever has ordered it is told `why`."""
        undone = [*self._doing, *(done for _, done in self._waiting)]
        self._waiting.clear()
        self._doing = []
        if self._work is not None:
            self._work.stop()
            self._work = None
        for done in undone:
            done(False, f"{why}\n")

    def _order(self, steps: Callable[[], Steps[str]], done: Done) -> None:
        self._waiting.append((steps, done))
        self._next()

    def _next(self) -> None:
        """Begins with the next order, if it may be done now."""
        if self._work is not None or self._held or not self._waiting:
            return
        if self._service.reloads.under_way:
            self._held = True
            self._service.reloads.when_over(self._go_on)
            return
        steps, done = self._waiting.popleft()
        said: list[str] = []

        def over(failure: Failure | None) -> None:
            self._work, self._doing = None, []
            self._tell(done, said, failure)
            self._next()

        self._doing = [done]
        self._work = work = Slices(self._reactor, _collecting(steps(), said), over)
        work.start()

    def _go_on(self) -> None:
        self._held = False
        self._next()

    def _tell(self, done: Done, said: Sequence[str], failure: Failure | None) -> None:
        if failure is None:
            done(True, said[0])
        elif isinstance(failure.value, (Wrong, NotBuilt)):
            done(False, "".join(f"{text}\n" for text in failure.value.texts))
        elif isinstance(failure.value, NotDone):
            done(False, str(failure.value))
        else:
            self._log.failure("a server could not be changed by our own fault", failure)
            done(False, "Internal error: the daemon's log tells more.\n")

    # The orders.

    def _adding(self, section: str, name: str, words: Sequence[str]) -> Steps[str]:
        proxy, backend = self._found(section)
        reader = proxy.configuration.added_servers
        if reader is None:
            raise NotDone("No 'stats socket' of level admin was there when the configuration was read.")
        settings, notices = reader.read(proxy.configuration, section, name, words)
        added = AddedServer(proxy, backend, settings, self._reactor, SystemRandom(), self._service.announce)
        try:
            yield from added.building(self._service.reloads.resolver)
            self._still(proxy)
        except BaseException:
            added.give_up()
            raise
        server = added.join()
        self._service.announce(
            "notice",
            f"Server {server.full_name} at {server.target} is added, and in maintenance until 'enable server'",
            f"backend {section}",
        )
        texts = [*(each.text for each in (*notices, *added.notices)), *floors_too_high(proxy)]
        yield from self._follow(proxy, server)
        return "".join(f"{text}\n" for text in (*texts, "New server registered."))

    def _deleting(self, path: str) -> Steps[str]:
        section, _, name = path.partition("/")
        from reusedproxy.operators.runtime.added import removable  # loaded with the socket of this order

        proxy, backend = self._found(section)
        server = backend.named.get(name)
        if server is None:
            raise NotDone("No such server.")
        deleted = DeletedServer(proxy, backend, server)
        yield from deleted.looking()
        self._still(proxy)
        why_not, _ = removable(proxy, backend, server)
        if why_not:
            raise NotDone(why_not)
        self._service.reloads.former.delete(deleted.leave())
        self._service.announce("notice", f"Server {path} is deleted", f"backend {section}")
        yield from self._follow(proxy, server)
        return "Server deleted."

    def _found(self, section: str) -> tuple[Proxy, Backend]:
        """Returns the running proxy, and its backend of this name, which a reload may have taken out. Raises
        NotDone."""
        proxy = self._service.proxy
        if proxy is None or self._service.state != "running":
            raise NotDone("The proxy is not running.")
        found = next((each for each in proxy.backends if each.name == section), None)
        if found is None:
            raise NotDone("No such backend.")
        return proxy, found

    def _still(self, proxy: Proxy) -> None:
        """Raises NotDone if a reload has begun since: what it builds would know nothing of the change."""
        if self._service.proxy is not proxy or self._service.reloads.under_way or self._service.state != "running":
            raise NotDone("A reload has begun meanwhile: give the order again.")

    def _follow(self, proxy: Proxy, server: Server) -> Steps[None]:
        """Has those follow the change of this server who watch the files that servers name."""
        if server.settings.tls is None and server.settings.check_tls is None:
            return
        self._service.reloads.watch.follow(proxy.stamps, proxy.files.look)
        self._service.fetch_lists(proxy)
        if not has_files_of_its_own(proxy, server):
            return
        endings = yield from self._expiry.reading(proxy)
        if self._service.proxy is proxy and self._service.state == "running":
            self._expiry.begin(proxy, endings)


def _collecting(steps: Steps[str], said: list[str]) -> Steps[None]:
    """Has what these steps return be in `said`."""
    said.append((yield from steps))
