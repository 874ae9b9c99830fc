"""Does one reload at a time, from the files to the proxy that takes the old one's place.

The configuration is read and built into a second proxy, which takes over what has not changed (`build.assembly`); what
is new is tried (`trial`); then it replaces the old one (`succession`), which is kept until its last client has gone
(`former`). All of it is done in short slices while clients are served. `ssl-watch` has the same done without reading
the configuration (`file_watch`). What is refused leaves everything as it was. Must never know who has ordered it.
"""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable, Iterable, Sequence
from random import SystemRandom
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.build.assembly import Assembly, AssemblyError, Proxy, queries
from reusedproxy.build.certificates import without_changed
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.model.proxies import Manhole as ManholeSettings
from reusedproxy.config.model.values import Notice
from reusedproxy.daemon.forgotten import Said, forgotten
from reusedproxy.daemon.load import Refused, loading
from reusedproxy.daemon.own_settings import nothing_to_serve, start_only
from reusedproxy.daemon.reloading.file_watch import FileWatch
from reusedproxy.daemon.reloading.former import FormerProxies
from reusedproxy.daemon.reloading.renewal import Renewal
from reusedproxy.daemon.reloading.succession import (
    clear,
    follow,
    give_up,
    hand_on_places,
    hand_over_queues,
    pools_of,
    take_place,
)
from reusedproxy.daemon.reloading.trial import Refusal, ReloadTrial
from reusedproxy.daemon.supervision.reports import Supervision
from reusedproxy.daemon.wording import bound_to, listed
from reusedproxy.daemon.workload.source import WorkloadAPI
from reusedproxy.net.addresses import Addresses
from reusedproxy.net.poller import Poller
from reusedproxy.net.resolver import Resolver
from reusedproxy.net.slices import Slices, Steps
from reusedproxy.net.tls.in_memory import FilesInMemory
from reusedproxy.operators.logs.expiry import Ending, Expiry
from reusedproxy.operators.runtime.proxy import PutDone, Transaction
from reusedproxy.operators.runtime.sockets import Prepared, RuntimeAPI

#: Is told whether the configuration was taken, and what was said of it: pairs of level and text.
Told = Callable[[bool, Sequence[tuple[str, str]]], None]


class Reloaded(Protocol):
    """The service whose proxy is replaced."""

    proxy: Proxy | None
    supervision: Supervision
    runtime: RuntimeAPI
    workload: WorkloadAPI
    transactions: dict[str, Transaction]

    def announce(self, level: str, text: str, section: str = "") -> None:
        """Sends a message for the operator to the logs."""

    def reload(self) -> None:
        """Begins a reload, if there can be one now."""

    def renew(self, changed: list[str], word: str = "ssl-watch") -> bool:
        """Begins a reload of the files of TLS, and returns True, if there can be one now."""

    def faults_of_keys(self, settings: ManholeSettings | None) -> list[Fault]:
        """Returns what keeps the manhole that runs from taking other authorized keys, which a reload names."""

    def serve_with(self, proxy: Proxy, endings: list[Ending]) -> list[str]:
        """Starts a proxy that has taken the place of another one. Returns what is said of listeners that cannot
        accept."""


class Reloads:
    """Does reloads for a service. `under_way`: there is one at present."""

    _log = Logger()

    def __init__(self, reactor: Any, poller: Poller, paths: list[str], service: Reloaded, expiry: Expiry) -> None:
        """Takes the paths of the configuration, and who watches the ends of certificates."""
        self.former = FormerProxies(reactor)
        self.watch = FileWatch(reactor, service.renew)
        self.renewal = Renewal(reactor, service.renew)
        self.resolver = Resolver(reactor)
        #: One more was ordered while there could be none. It is one, however often that was.
        self.ordered = False
        #: The process belongs to this daemon alone, so a reload may disable the garbage collector and freeze its
        #: objects.
        self.spares_collector = False
        self._reactor = reactor
        self._poller = poller
        self._paths = paths
        self._service = service
        self._expiry = expiry
        #: Settings that no reload can change, as they were at the start.
        self._started_with: dict[str, object] = {}
        #: The reload under way; the changed files because of which it has begun by itself, and the word that has found
        #: them; and whether it has replaced the proxy.
        self._work: Slices | None = None
        self._changed: list[str] = []
        self._word = ""
        #: Who waits for the end of the reload: is told what was wrong, or else what was noted.
        self._done: PutDone | None = None
        self._wrong: list[str] = []
        self._noted: list[str] = []
        #: What is said of servers that get no more requests by it, and of listeners that accept nobody.
        self._lost: list[str] = []
        self._has_replaced = False
        #: Who waits for the end of this reload, and of the next one; and what is said of this one.
        self._asking: list[Told] = []
        self._asking_next: list[Told] = []
        self._said: list[tuple[str, str]] = []
        self._taken = False
        #: What is to be done when no reload is under way.
        self._then: list[Callable[[], object]] = []

    @property
    def under_way(self) -> bool:
        return self._work is not None

    @property
    def _present(self) -> Proxy:
        proxy = self._service.proxy
        assert proxy is not None
        return proxy

    def started(self, configuration: Configuration) -> None:
        """Notes what the process was started with."""
        self._started_with = start_only(configuration.global_)

    def manhole_closed(self) -> None:
        """Notes that only a start opens the manhole again."""
        self._started_with["manhole"] = None

    def tell(self, told: Told) -> None:
        """Tells somebody, once, of the next reload of the configuration that begins."""
        self._asking_next.append(told)

    def has_begun(self, told: Told) -> bool:
        """Returns False while there has been no reload of which somebody is to be told."""
        return told not in self._asking_next

    def tell_no_more(self, told: Told) -> None:
        """Forgets somebody who may wait to be told."""
        for waiting in (self._asking, self._asking_next):
            if told in waiting:
                waiting.remove(told)

    def leave_to_another(self, why: str) -> None:
        """Tells whoever waits for a reload that is still to begin that there is none here any more."""
        waiting, self._asking_next = self._asking_next, []
        for told in waiting:
            told(False, [("warning", why)])

    def begin(self) -> None:
        """Reads the configuration again, and replaces the proxy."""
        self._changed = []
        self._asking, self._asking_next = [*self._asking, *self._asking_next], []
        self._said, self._taken = [], False
        self._service.supervision.reloading()
        self._start(self._reload())

    def renew(self, changed: list[str], word: str) -> None:
        """Replaces the proxy by one with the same configuration: these files of TLS have changed, which a `word` of the
        configuration has found."""
        self._changed, self._word = changed, word
        held = without_changed(self._present.trusts.in_memory, changed)
        self._start(self._turn_to(self._present.configuration, self._present.addresses, held))

    def put(self, files: FilesInMemory, name: str, order: str, done: PutDone) -> None:
        """Replaces the proxy by one that uses these files, as an `order` about the file of this name asks for. Calls
        `done` at the end."""
        self._changed, self._word, self._done = [name], order, done
        self._start(self._turn_to(self._present.configuration, self._present.addresses, files))

    def when_over(self, act: Callable[[], object]) -> None:
        """Calls this when the reload under way is over; another one may have begun by then."""
        self._then.append(act)

    def do_ordered(self) -> None:
        """Begins the reload that was ordered while there could be none, if any was."""
        if self.ordered and not self.under_way:
            self.ordered = False
            self._service.reload()

    def stop(self, why: str) -> None:
        """Breaks off the reload under way, and watches files no more. Whoever waits for its end is told `why`, unless
        the new proxy serves already."""
        if self._work is not None:
            self._work.stop()
            self._work = None
            gc.enable()
        self.watch.stop()
        self.renewal.stop()
        done, self._done = self._done, None
        asking, self._asking = self._asking, []
        if done is not None:
            done(() if self._has_replaced else [why], self._noted)
        for told in asking:
            told(self._has_replaced, self._said if self._has_replaced else [("warning", why)])

    def _start(self, steps: Steps[None]) -> None:
        self._has_replaced = False
        self._wrong, self._noted, self._lost = [], [], []
        if self.spares_collector:
            gc.disable()  # it would traverse the new, permanent objects again and again
        self._work = Slices(self._reactor, steps, self._over)
        self._work.start()

    def _over(self, failure: Failure | None) -> None:
        self._work = None
        if self.spares_collector:
            if self._has_replaced:
                gc.freeze()
            gc.enable()
        if failure is not None:
            if isinstance(failure.value, (Refused, AssemblyError)):
                self._refuse(failure.value.faults, failure.value.notices)
            else:
                self._log.failure("a reload ends by our own fault", failure)
                if self._has_replaced:
                    self._break_off(_words_of(failure.value))
                else:
                    self._refuse([_words_of(failure.value)])
        done, self._done = self._done, None
        if done is not None:
            done(self._wrong, self._noted)
        asking, self._asking = self._asking, []
        for told in asking:
            told(self._taken, self._said)
        self.do_ordered()
        then, self._then = self._then, []
        for act in then:
            act()

    # The steps of a reload.

    def _reload(self) -> Steps[None]:
        configuration = yield from loading(self._paths, again=True)
        addresses = Addresses(self._present.addresses)
        names = addresses.unknown(queries(configuration, self._present))
        if names:
            addresses.learn((yield self.resolver.resolve(names)))
        addresses.forget_others(queries(configuration, self._present))
        yield from self._turn_to(configuration, addresses)

    def _turn_to(
        self, configuration: Configuration, addresses: Addresses, in_memory: FilesInMemory | None = None
    ) -> Steps[None]:
        """Builds and tries a proxy for the configuration, and replaces the present one, in steps. No server moves to
        another address meanwhile. Raises AssemblyError."""
        old = self._present
        for backend in old.backends:
            backend.hold_addresses()
        try:
            yield from self._build(old, configuration, addresses, in_memory)
        finally:
            for backend in old.backends if self._service.proxy is old else ():
                backend.release_addresses()

    def _build(
        self, old: Proxy, configuration: Configuration, addresses: Addresses, in_memory: FilesInMemory | None
    ) -> Steps[None]:
        """Builds the new proxy, and goes on with it, in steps. Raises AssemblyError."""
        service = self._service
        assembly = Assembly(
            configuration,
            self._reactor,
            self._poller,
            SystemRandom(),
            service.announce,
            old,
            addresses,
            svid=service.workload.svid,
            in_memory=in_memory,
        )
        sockets = service.runtime.prepare(configuration.global_, bind=True)
        try:
            faults = [*nothing_to_serve(configuration, self._paths[0]), *sockets.faults]
            faults += service.faults_of_keys(configuration.global_.manhole)
            new = yield from assembly.building(bind=True, faults=faults, serving=True)
            self._announce_notices(new)
            yield from self._try(old, new, sockets)
        except BaseException:
            sockets.give_up()
            raise
        finally:
            if service.proxy is old:
                self.former.discard(assembly.proxy, old)

    def _announce_notices(self, new: Proxy) -> None:
        for word, value in start_only(new.configuration.global_).items():
            # A manhole that is not named any more is closed.
            if value != self._started_with[word] and not (word == "manhole" and value is None):
                text = f"reload: '{word}' has changed; this takes effect at the next start only"
                self._service.announce("warning", text)
                self._said.append(("warning", text))
        self._said += [(notice.level, f"config : [{notice.place}] : {notice.text}") for notice in new.notices]
        self._noted += [notice.text for notice in new.notices]
        for notice in new.notices:
            self._service.announce(notice.level, f"reload: {notice.place}: {notice.text}")

    def _try(self, old: Proxy, new: Proxy, sockets: Prepared) -> Steps[None]:
        """Tries `new`, and replaces `old` by it, or refuses the reload, in steps."""
        tried: Deferred[Refusal | None] = Deferred()
        trial = ReloadTrial(old, new, self._reactor, tried.callback)
        try:
            endings = yield from self._expiry.reading(new)
            trial.start()
            refusal = yield tried
        except BaseException:
            trial.close("reload broken off")
            raise
        if refusal is not None:
            trial.close("reload refused")
            sockets.give_up()
            self._refuse([fault_of(refusal, new)])
            return
        for found, what in (
            (trial.distrusted, "is not trusted any more, and gets no more requests"),
            (trial.failing, "takes no new connections, and its old ones are not used any more"),
            (trial.unwell, "does not pass its check on a new connection; its old ones are not used any more"),
        ):
            for name, reason in found.items():
                text = f"server {name} {what}: {reason}"
                self._note_lost(text)
                self._service.announce("alert", f"reload: {text}", f"backend {name.rpartition('/')[0]}")
        self._service.runtime.adopt(sockets)
        yield from self._replace(old, new, endings)

    def _replace(self, old: Proxy, new: Proxy, endings: list[Ending]) -> Steps[None]:
        """Replaces `old` by `new` in steps: `new` serves from the first step on, the others hand over the clients of
        `old` and release it."""
        service, replaced = self._service, self.former.proxies
        gone = [*forgotten(old, new, service.transactions.values())]
        service.proxy = new
        self._has_replaced = True
        self.renewal.was_taken()
        self.former.add(old, new)
        self._announce_closed(old, new)
        leaving = take_place(old, new, service.announce)
        followed = follow(replaced, new)
        hand_on_places(replaced)
        queues = hand_over_queues(replaced, new)
        for text in service.serve_with(new, endings):
            self._note_lost(text)
        kept = len(pools_of(new) & pools_of(old))
        yield
        try:
            for steps in queues:
                yield from steps
            yield from give_up(followed)
            yield from clear(old, new, leaving)
        finally:
            self.former.cleared()
        # Not before: until its step has come, a client is served by the old rules.
        self._announce_forgotten(gone)
        self._announce_reloaded(kept, len(new.lines))

    # What is said of it.

    def _note_lost(self, text: str) -> None:
        """Notes for whoever waits what is not served any more."""
        self._noted.append(text)
        self._said.append(("alert", text))
        self._lost.append(text)

    def _announce_closed(self, old: Proxy, new: Proxy) -> None:
        going = {listener for _, listener in new.listeners}
        for frontend, listener in old.open_listeners:
            if listener not in going:
                text = f"Proxy {frontend.name} listens no more on {bound_to(listener)}"
                self._service.announce("notice", text, f"frontend {frontend.name}")

    def _announce_forgotten(self, gone: Iterable[Said]) -> None:
        for level, text, section in gone:
            self._service.announce(level, text, section)
            self._said.append((level, text))

    def _announce_reloaded(self, kept: int, pools: int) -> None:
        what = f"files of TLS ({listed(self._changed)}) reloaded" if self._changed else "configuration reloaded"
        if self._done is not None:
            what = f"{self._word} {listed(self._changed)}"
        text = f"{what}: {kept} of {pools} pools kept as they are"
        self._service.announce("notice", text)
        if not self._changed:
            self._said.append(("notice", text))
            self._taken = True
            warnings = [
                said for level, said in self._said if level not in ("notice", "info") and said not in self._lost
            ]
            self._service.supervision.reloaded(text, self._lost, warnings)

    def _refuse(self, faults: Sequence[object], notices: Iterable[Notice] = ()) -> None:
        announce = self._service.announce
        self._wrong = [*map(str, faults)]
        if self._changed:
            # Nobody asked for this reload, so it gets one line; at SIGHUP somebody waits for all faults.
            then = ""
            if self._done is None:
                self.watch.refuse()
                pause = self.renewal.was_refused(self._changed, self._word)
                self._present.refused_files = [*self.renewal.refused]
                then = f", and are tried again in {pause:.0f} s"
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            announce("alert", f"{self._word}: {faults[0]}{more}; all files of TLS stay in use as they were{then}")
            return
        self._said += [(notice.level, f"config : [{notice.place}] : {notice.text}") for notice in notices]
        self._said += [("alert", f"config : {fault}") for fault in faults]
        for notice in notices:
            announce(notice.level, f"reload: {notice.place}: {notice.text}")
        for fault in faults:
            announce("alert", f"reload: {fault}")
        self._service.supervision.refused([*map(str, faults)])
        announce("alert", "reload refused: everything stays as it was")

    def _break_off(self, why: str) -> None:
        """Tells that the reload has ended in the middle, when the new configuration served already."""
        text = f"{why}: the new configuration serves, but not all of it may: reload again, or restart"
        self._wrong = [text]
        self._said.append(("alert", text))
        self._service.announce("alert", f"reload broken off: {text}")
        if not self._changed:
            self._service.supervision.refused([text])


def _words_of(error: BaseException | None) -> str:
    """Returns in an operator's words why a reload could not be done."""
    if isinstance(error, MemoryError):
        return "no memory is left"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return f"no file can be opened any more ({error.strerror}): raise the limit (ulimit -n, LimitNOFILE)"
    return "an error in reusedproxy, of which the log tells (please report it)"


def fault_of(refusal: Refusal, new: Proxy) -> Fault:
    """Returns the fault of the line of a server that refuses what has changed."""
    settings = new.lines[refusal.name].server.settings
    shown = (
        f" (it is shown the certificate in {settings.tls.crt})" if settings.tls is not None and settings.tls.crt else ""
    )
    return Fault(settings.place, f"server {refusal.name} does not accept what has changed{shown}: {refusal.reason}")
