"""Runs a proxy from its start to its stop: the states of the daemon's process, and what leads from one to the next.

What has a life of its own is elsewhere: reloads in `reloading`, how one process takes another's place in `replacing`,
what root does before it becomes the daemon's user in `starting`. At the start, every fault is raised as `Refused`, one
line each, before anything is served. Must never know the command line.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger, LogLevel

from reusedproxy.build.assembly import Assembly, AssemblyError, Proxy
from reusedproxy.build.in_place import in_place
from reusedproxy.config.language.printable import printable
from reusedproxy.config.language.report import Fault, in_all
from reusedproxy.config.model.proxies import Configuration, Global
from reusedproxy.config.model.proxies import Manhole as ManholeSettings
from reusedproxy.config.model.values import Notice, Place
from reusedproxy.daemon.forgotten import as_told, back_again, deleted, forgotten
from reusedproxy.daemon.limits import none_for_clients, shortages
from reusedproxy.daemon.load import Refused, load
from reusedproxy.daemon.own_settings import descriptors_in, empty_tables, nothing_to_serve
from reusedproxy.daemon.reloading.reload import Reloads, Told, fault_of
from reusedproxy.daemon.reloading.trial import Refusal
from reusedproxy.daemon.replacing.counts import count_on, counts_of
from reusedproxy.daemon.replacing.departure import KEPT_IDLE, Departure, clients_of
from reusedproxy.daemon.replacing.handover import key_of
from reusedproxy.daemon.replacing.since import obey
from reusedproxy.daemon.replacing.standing import stand, states_in_place
from reusedproxy.daemon.replacing.successor import Successor
from reusedproxy.daemon.replacing.takeover import HandoverError, Takeover, take_over
from reusedproxy.daemon.replacing.trial import ReplacementTrial
from reusedproxy.daemon.replacing.waiting import gone_from_paths, why_not_handed_over, why_not_reloaded
from reusedproxy.daemon.revocations.download import Downloads
from reusedproxy.daemon.revocations.fetcher import ListFetcher
from reusedproxy.daemon.server_changes import ServerChanges
from reusedproxy.daemon.signals import SignalHandlers
from reusedproxy.daemon.stalls import Stalls
from reusedproxy.daemon.starting.launch import done_by
from reusedproxy.daemon.starting.pid_file import PidFile
from reusedproxy.daemon.starting.privileges import Privileges
from reusedproxy.daemon.starting.warm_up import Moves, WarmUp
from reusedproxy.daemon.supervision.manager import Manager
from reusedproxy.daemon.supervision.reports import Supervision
from reusedproxy.daemon.wording import bound_to, listed
from reusedproxy.daemon.workload.source import WORD, WorkloadAPI
from reusedproxy.net import descriptors
from reusedproxy.net.listener import BLOCKED, CLOSED, Listener
from reusedproxy.net.poller import Poller
from reusedproxy.net.tls.in_memory import FilesInMemory
from reusedproxy.operators.logs.expiry import Ending, Expiry
from reusedproxy.operators.logs.own import Output
from reusedproxy.operators.runtime.proxy import ADMIN, Context, Done, PutDone, Transaction
from reusedproxy.operators.runtime.sockets import RuntimeAPI
from reusedproxy.sessions.termination import STOPPED

if TYPE_CHECKING:
    from reusedproxy.operators.shell.manhole import Manhole

#: Seconds that a stop waits for clients before it announces that, and between two looks whether the last has gone.
SAY_DRAIN = 1.0
LOOK = 0.05
#: Seconds for which a process that takes another's place waits for its floors, without `pool-warm-start`.
WARM = 10.0
#: Seconds until the process exits when its event loop is blocked and it was told to stop, without `hard-stop-after`.
STUCK = 30.0

_LEVELS = {
    "emerg": LogLevel.critical,
    "alert": LogLevel.error,
    "warning": LogLevel.warn,
    "notice": LogLevel.info,
}


class ProxyService(Service):
    """Runs one proxy through its life. `state` is "new", "assembled" (bound), "running", "leaving" (another process has
    taken its place), "draining" or "stopped"."""

    _log = Logger("reusedproxy")

    def __init__(self, reactor: Any, paths: list[str], options: Mapping[str, object] | None = None) -> None:
        """Takes the `paths` of configuration files and directories, read by `assemble` and again at each `reload`.

        `options` are twistd's; `uid` and `gid` among them name the account that the process becomes.
        """
        options = options or {}
        self.state = "new"
        self.transactions: dict[str, Transaction] = {}
        self.proxy: Proxy | None = None
        self.manhole: Manhole | None = None
        self.supervision = Supervision(Manager({}, reactor))
        self.pid_file: PidFile | None = None
        #: Where its own log goes, if that is known.
        self.own_output: Output | None = None
        self._paths = paths
        self._reactor = reactor
        self._poller = Poller(reactor)
        #: HAProxy's runtime API, at the `stats socket`s.
        self.runtime = RuntimeAPI(self, reactor, self._poller, self.announce, self._hand_over)
        self.signals = SignalHandlers(reactor, self)
        self._done = done_by(options)
        self._privileges = Privileges(paths, options)
        self._expiry = Expiry(reactor, self.announce)
        #: Fetches lists of revoked certificates (`crl-url`).
        self._lists = ListFetcher(reactor, SystemRandom(), self.announce, self._take_up_lists)
        #: Asks a SPIFFE agent for our certificate (`spiffe-workload-api`).
        self.workload = WorkloadAPI(reactor, self.announce, self._take_up_svid)
        self.reloads = Reloads(reactor, self._poller, paths, self, self._expiry)
        #: Adds and deletes servers while the proxy runs.
        self.server_changes = ServerChanges(reactor, self, self._expiry)
        self.stalls = Stalls(reactor, self, self._expiry.look)
        #: This process takes the place of another one (`--replace`), from which it has this until it serves.
        self.replaces = False
        #: Seconds in which it has to have the place, else it gives up (`--replace-timeout`); None: no bound.
        self.replace_timeout: float | None = None
        #: Has the process end with a status of its own when it has stopped.
        self.end_with: Callable[[int], object] = lambda status: None
        self._takeover: Takeover | None = None
        #: The same, when it serves: the other process may still tell what it counts.
        self._before: Takeover | None = None
        #: The process that takes the place of this one; and the end of this one then.
        self._successor = Successor(reactor, self._poller, self, options, self._leave, self.reloads.do_ordered)
        self._departure: Departure | None = None
        #: A signal has stopped the reactor, which will say so when its turn is over.
        self._stopping = False
        self._drained: Deferred[None] | None = None
        self._hard_stop: IDelayedCall | None = None
        self._say_drain: IDelayedCall | None = None

    @property
    def living(self) -> list[Proxy]:
        """Returns the proxy, and before it those that reloads have replaced and that still have clients."""
        return [*self.reloads.former.proxies, self.proxy] if self.proxy is not None else []

    @property
    def leaves_root(self) -> bool:
        """Tells whether the process is root's, and becomes another user's when everything is bound."""
        account = self._privileges.becoming
        return account is not None and account.uid != 0

    @property
    def reads_program(self) -> bool:
        """Tells whether a reload, done as the process's user, can load parts of the program (`daemon.parts`)."""
        return self._privileges.reads_program

    @property
    def given_descriptors(self) -> set[int]:
        """Returns the descriptors that the configuration names (`fd@3`), which a reload may need again."""
        assert self.proxy is not None
        return descriptors_in(self.proxy.configuration)

    @property
    def _listeners(self) -> list[Listener]:
        """Returns all that this process listens on."""
        listeners = [] if self.proxy is None else [listener for _, listener in self.proxy.open_listeners]
        listeners += self.runtime.listeners
        if self.manhole is not None and self.manhole.listener is not None:
            listeners.append(self.manhole.listener)
        return listeners

    @property
    def _hard_stop_after(self) -> float | None:
        return None if self.proxy is None else self.proxy.configuration.global_.hard_stop_after

    def announce(self, level: str, text: str, section: str = "") -> None:
        """Sends a message for the operator to the daemon's own log, and to the `log` lines of the `section` that it is
        about ("frontend www", "backend app"), or of the global one. Of `log stdout` and `log stderr`, one that goes
        where the own log does says it no second time.

        Names of files may be in it, and other text that somebody else has chosen.
        """
        text = printable(text)
        self._log.emit(_LEVELS[level], "{text}", text=text)
        if self.proxy is not None:
            own = self.own_output
            self.proxy.logs.event(level, text, section, *(() if own is None else (own.is_at,)))

    # From the files to a proxy that has everything bound.

    def assemble(self, *, bind: bool, ask: bool | None = None) -> Proxy:
        """Reads the configuration, builds everything, and with `bind` opens the listening sockets. Raises Refused.

        `ask` tells whether a SPIFFE agent is asked for our certificate (`spiffe-workload-api`); None: with `bind`.
        """
        ask = bind if ask is None else ask
        configuration = load(self._paths, self._done)
        faults, notices = self._privileges.decide(configuration.global_)
        if self.replaces and bind:
            self._take_over(configuration.global_)
        faults += self._assemble_manhole(configuration.global_.manhole, bind)
        sockets = self.runtime.prepare(configuration.global_, bind=bind, given=self._takeover)
        workload_api = configuration.global_.workload_api
        faults += self.workload.open(workload_api, self._privileges.becoming, ask=ask and not faults)
        try:
            self.proxy = proxy = self._build(configuration, bind, [*faults, *sockets.faults])
        except AssemblyError as error:
            sockets.give_up()
            self.workload.stop()
            if self.manhole is not None:
                self.manhole.stop()
            summary = configuration.summary + in_all(len(error.faults))
            raise Refused(error.faults, error.notices, summary=summary) from None
        self.runtime.adopt(sockets)
        if bind:
            self._demand_descriptors(proxy)
        proxy.notices += [*notices, *self._privileges.warnings(proxy)]
        if workload_api is not None and not ask:
            text = f"'{WORD}': the agent is not asked here, so what '@spiffe' stands for is not looked at"
            proxy.notices.append(Notice("notice", workload_api.place, text))
        if self._takeover is not None and self._takeover.tables is None:
            proxy.notices += empty_tables(configuration)
        self.reloads.started(configuration)
        self.state = "assembled"
        return proxy

    def _take_over(self, said: Global) -> None:
        """Gets the listening sockets of the process that runs. Raises Refused."""
        paths = [each.bind.address.path for each in said.stats_sockets if each.exposes]
        account = self._privileges.becoming
        try:
            self._takeover = take_over(paths, {os.geteuid(), *(() if account is None else (account.uid,))})
        except HandoverError as error:
            text = f"--replace: {error}; if no reusedproxy runs, start it without --replace"
            raise Refused([Fault(Place(self._paths[0], 1), text)], []) from None

    def _assemble_manhole(self, settings: ManholeSettings | None, bind: bool) -> list[Fault]:
        """Builds the manhole, if one is configured, and returns its faults."""
        if settings is None:
            return []
        try:
            from reusedproxy.operators.shell.keys import ManholeError
            from reusedproxy.operators.shell.manhole import Manhole
        except ImportError as error:
            text = (
                f"'manhole' needs Twisted's SSH, which cannot be loaded ({error}): pip install 'reusedproxy[manhole]'"
                " where reusedproxy is installed, or pip install '.[manhole]' in its checkout"
            )
            return [Fault(settings.place, text)]
        try:
            account = self._privileges.becoming
            if account is not None and account.impediment():
                account = None  # which is another fault
            self.manhole = Manhole(settings, self, self._reactor, self._poller, self.announce, account)
            if bind:
                self.manhole.bind(self._takeover)
        except ManholeError as error:
            return [Fault(settings.place, text) for text in error.texts]
        return []

    def _build(self, configuration: Configuration, bind: bool, faults: list[Fault]) -> Proxy:
        """Builds the proxy. Raises AssemblyError with these `faults` and all others."""
        faults += nothing_to_serve(configuration, self._paths[0])
        states = "" if self._takeover is None else self._takeover.states
        if self._takeover is not None and states:
            states += states_in_place(self._takeover.standing, configuration)
        assembly = Assembly(
            configuration,
            self._reactor,
            self._poller,
            SystemRandom(),
            self.announce,
            self.proxy,
            given=self._takeover,
            states=states,
            svid=self.workload.svid,
        )
        return assembly.build(bind=bind, faults=faults)

    def _demand_descriptors(self, proxy: Proxy) -> None:
        """Raises Refused if everything that is bound has left no descriptor for clients."""
        fault = none_for_clients()
        if fault:
            self.runtime.leave()
            self.workload.stop()
            for listener in proxy.bound:
                listener.close()
            raise Refused([Fault(Place(self._paths[0], 1), fault)], proxy.notices)

    # The start: servers are connected to first, then it listens.

    def privilegedStartService(self) -> None:
        """Writes the pid file. twistd calls this in the process that stays, before it becomes its user."""
        Service.privilegedStartService(self)
        if self.pid_file is not None:
            self.pid_file.write()

    def startService(self) -> None:
        Service.startService(self)
        proxy = self.proxy
        assert proxy is not None
        proxy.departed.gone = self.reloads.former.free
        self._privileges.drop()  # everything is bound, and no client has been accepted yet
        self.state = "running"
        descriptors.raise_limit()
        self._poller.start()
        self.workload.begin()
        self.supervision.begin()
        if self._takeover is not None:
            for text, section in stand(proxy, self._takeover.standing):
                self.announce("notice", text, section)
            needs = self._patience(proxy)
            self._takeover.prepare(
                self._poller, self._reactor, proxy.tables, self.announce, needs, self._given_up, self._obey
            )
            if self.replace_timeout is not None:
                self._reactor.callLater(self.replace_timeout, self._replace_too_late)
        self._begin(proxy)
        self._warm_up(proxy)
        self.stalls.start(proxy.standstills)
        if self._takeover is None:
            self._open_to_operators()
        self.signals.take_others()
        self.signals.take_stops()

    def _begin(self, proxy: Proxy, endings: list[Ending] | None = None) -> None:
        """Starts everything of a proxy but its listeners: checks, pools, and what watches files."""
        global_ = proxy.configuration.global_
        if proxy.places.allow(proxy.maxconn):
            self.announce("notice", f"The process keeps maxconn {proxy.places.maxconn}, as was ordered")
        proxy.places.limit_rates(global_.rates, proxy.deadlines)
        proxy.places.limit_tls(global_.maxsslconn)
        for text in shortages(proxy):
            self.announce("warning", text)
        for backend in proxy.backends:
            backend.start()
        if proxy.rates is not None:
            proxy.rates.start()
        if proxy.sweep is not None:
            proxy.sweep.start()
        if proxy.frequencies is not None:
            proxy.frequencies.start()
        proxy.budget.rate = global_.pool_connect_rate
        self._expiry.begin(proxy, endings)
        self.reloads.watch.begin(global_.ssl_watch, proxy.stamps, proxy.files.look)
        self.fetch_lists(proxy)

    def fetch_lists(self, proxy: Proxy) -> None:
        """Fetches the lists of revoked certificates that the proxy's servers name (`crl-url`), as long as it is this
        process that serves."""
        if self.state == "running":
            self._lists.begin(proxy, Downloads(self._reactor, self._poller, proxy.deadlines, self.reloads.resolver))

    def _warm_up(self, proxy: Proxy) -> None:
        """Goes on with `_listen`; with `pool-warm-start` when the floors stand. Where this process takes another one's
        place, servers are tried before that."""
        if self._takeover is None:
            self._await_floors(proxy)
            return
        ReplacementTrial(self._takeover.standing, proxy, self._reactor, partial(self._tried, proxy)).look()

    def _tried(self, proxy: Proxy, refusal: Refusal | None) -> None:
        """Goes on when servers take what they will be shown; leaves the place to the other process if one refuses."""
        if self.state != "running" or self._stopping:
            return
        if refusal is None or self._takeover is None or self._takeover.is_alone:
            self._await_floors(proxy)
            return
        self._takeover.give_up()
        self._given_up(str(fault_of(refusal, proxy)))

    def _await_floors(self, proxy: Proxy) -> None:
        patience = proxy.configuration.global_.pool_warm_start
        if self._takeover is None:
            if patience is None:
                self._listen(proxy)
                return
            self.supervision.starting(patience)  # else the service has long been started

        def is_wanted() -> bool:
            return self.state == "running" and proxy is self.proxy

        def over(level: str, text: str) -> None:
            self.announce(level, text)
            self._listen(proxy)

        WarmUp(proxy, self._reactor, lambda: self._patience(proxy), is_wanted, over).look()

    def _patience(self, proxy: Proxy) -> float:
        """Returns how many seconds floors are waited for. Without `pool-warm-start` that is for a process whose place
        this one takes, as long as it serves."""
        said = proxy.configuration.global_.pool_warm_start
        if said is not None:
            return said
        return WARM if self._takeover is not None and not self._takeover.is_alone else 0.0

    def _listen(self, proxy: Proxy) -> None:
        """Goes on with `_serve`; where this process takes another one's place when that one lets it."""
        takeover = self._takeover
        if takeover is None:
            self._serve(proxy)
            return

        def ready() -> None:
            takeover.when_ready(lambda: self._serve(proxy))

        moves = Moves(proxy, self._reactor, lambda: self._patience(proxy), ready)
        takeover.ask_orders(moves.look)

    def _serve(self, proxy: Proxy) -> None:
        if self.state != "running" or self._stopping:
            return
        if self._takeover is not None:
            # Who has ordered that has been answered, and the process before may serve there already.
            for backend in proxy.backends:
                if backend.addresses is not None:
                    backend.addresses.arrive_now()
        self._accept(proxy, "listens on")
        if self._takeover is not None:
            self._open_to_operators()
            self._takeover.serve(self._released)
        else:
            self._say_ready()

    def _accept(self, proxy: Proxy, verb: str) -> list[str]:
        """Has every listener accept. Returns what is said of those that cannot."""
        lost = []
        for frontend, listener in proxy.listeners:
            listen = partial(frontend.listen, listener, opens=not proxy.keeps_closed)
            if fault := self._fault_of(listen, listener, frontend.name):
                lost.append(fault)
            if listener.shut:
                continue
            # At a reload, a listener bound for this proxy is new.
            text = f"Proxy {frontend.name} {'listens on' if listener in proxy.bound else verb} {bound_to(listener)}"
            self.announce("notice", text, f"frontend {frontend.name}")

        return lost

    def _fault_of(self, listen: Callable[[], None], listener: Listener, frontend: str) -> str:
        """Has a listener of this frontend ("": of none) accept. Returns what is said if that cannot be, else "".

        Another program may have got the port that an operator has closed (`disable frontend`): all others have to
        serve.
        """
        try:
            listen()
        except OSError as error:
            again = f"'enable frontend {frontend}' or a reload tries it again" if frontend else "a restart opens it"
            text = f"Nobody listens on {bound_to(listener)}: {error.strerror or error}; {again}"
            self.announce("alert", text, f"frontend {frontend}" if frontend else "")
            return text
        return ""

    def _open_to_operators(self) -> None:
        if self.manhole is not None:
            self.manhole.start()
        self.runtime.start()

    def _released(self, counts: Mapping[str, object] | None) -> None:
        """Serves alone from now on; `counts` are those of the process whose place this one has taken, None if it has
        not said that it left."""
        assert self._takeover is not None and self.proxy is not None
        pid, self._before, self._takeover = self._takeover.pid, self._takeover, None
        if counts is not None:
            count_on(self.proxy, counts)
            self.announce("notice", f"has taken the place of process {pid}, which finishes what it has")
            back = back_again(counts.get("deleted"), self.proxy, counts.get("in_place"))
            for each in (*as_told(counts.get("forgotten")), *back):
                self.announce(*each)
        else:
            self.announce("warning", f"serves, but process {pid} has not said that it has stopped accepting")
        frontends = {listener: frontend.name for frontend, listener in self.proxy.open_listeners}
        for listener in self._listeners:
            self._fault_of(listener.own, listener, frontends.get(listener, ""))
        self.supervision.takes_over()
        self._say_ready()
        listeners = [*(listener for _, listener in self.proxy.open_listeners), *self.runtime.listeners]
        if gone := gone_from_paths(listeners):
            text = f"what process {pid} has given is not at its path any more: {listed(gone)}; a reload makes it again"
            self.announce("warning", text)
            self.reloads.ordered = True
        self._obey(None if counts is None else counts.get("ordered"))
        if counts is None:
            self.announce("notice", f"reads its configuration again: process {pid} may have been told to")
        if counts is None or counts.get("reload") is True:
            self.reloads.ordered = True
        self.reloads.do_ordered()

    def _obey(self, said: object) -> None:
        """Does what was ordered of the process whose place this one takes since this one has begun."""
        assert self.proxy is not None
        for each in obey(self.proxy, said):
            self.announce(*each)

    def _given_up(self, why: str) -> None:
        """Stops: the process whose place this one was to take goes on by itself."""
        if self._takeover is not None:
            self.announce("alert", f"process {self._takeover.pid} goes on, and this one ends: {why}")
        self.end_with(1)
        self._departed()

    def _replace_too_late(self) -> None:
        """Gives up if this process does not accept yet: after that, the other one has let go."""
        takeover = self._takeover
        if takeover is not None and not takeover.accepts and not takeover.is_alone and not self._stopping:
            takeover.give_up()
            self._given_up(f"it has not got ready in {self.replace_timeout:g} s (--replace-timeout)")

    def _say_ready(self) -> None:
        proxy = self.proxy
        assert proxy is not None
        listeners = sum(listener.state not in (BLOCKED, CLOSED) for _, listener in proxy.listeners)
        self.supervision.ready(f"serves (listeners: {listeners}, servers: {len(proxy.lines)})")

    # Reloads.

    def reload(self) -> None:
        """Reads the configuration again (SIGHUP). Faults are logged, and everything stays as it was.

        Pools and listeners whose description is unchanged go on as they are. Idle clients go on, too; others have to
        reconnect after their current response. Servers that are gone or changed lose their connections as these become
        free. New pools are tried and warmed first, see `ReloadTrial`. All work is done in short slices while clients
        are served; any number of requests to reload in the meantime cause one more reload.
        """
        if self.state == "leaving":
            text = f"reload: process {self._successor.pid} has taken the place of this one: tell that one"
            self.announce("warning", text)
        if self.state != "running":
            return
        if self.reloads.under_way or self._successor.is_coming or self._takeover is not None:
            why = "" if self.reloads.ordered else why_not_reloaded(self._successor, self._takeover)
            if why:
                self.announce("notice", f"reload: {why}")
            self.reloads.ordered = True
            return
        if self.manhole is not None:
            self.manhole.look_again()
        self.reloads.begin()

    def reload_for(self, told: Told) -> bool:
        """Reloads as `reload` does, and tells `told` what becomes of it. Returns False if there can be no reload."""
        self.reloads.tell(told)
        self.reload()
        if self.reloads.has_begun(told) or self.reloads.ordered:
            return True  # it may be over already
        self.reloads.tell_no_more(told)
        return False

    def renew(self, changed: list[str], word: str = "ssl-watch") -> bool:
        """Reads the TLS files again, of which these have `changed`; `word` has found that. The configuration is not
        read: an operator may be in the middle of editing it.

        Returns False where that cannot be now: the caller has to say it again.
        """
        if self.files_are_locked:
            return False
        self.reloads.renew(changed, word)
        return True

    @property
    def files_are_locked(self) -> bool:
        """Tells whether no file of TLS can be replaced now: a reload is under way, or the process is about to end."""
        return self.state != "running" or self.reloads.under_way or self._takeover is not None

    def put_files(self, files: FilesInMemory, name: str, order: str, done: PutDone) -> bool:
        """Does what `operators.runtime.proxy.Service` says: by the way of `renew`."""
        if self.files_are_locked:
            return False
        self.reloads.put(files, name, order, done)
        return True

    def add_server(self, backend: str, name: str, words: Sequence[str], done: Done) -> None:
        """Does what `operators.runtime.proxy.Service` says."""
        self.server_changes.add(backend, name, words, done)

    def delete_server(self, path: str, done: Done) -> None:
        """Does what `operators.runtime.proxy.Service` says."""
        self.server_changes.delete(path, done)

    def _take_up_lists(self, files: list[str]) -> bool:
        return self.renew(files, "crl-url")

    def _take_up_svid(self, names: list[str]) -> bool:
        return self.renew(names, WORD)

    def serve_with(self, proxy: Proxy, endings: list[Ending]) -> list[str]:
        """Starts a proxy that has taken the place of another one at a reload. Returns what is said of listeners that
        cannot accept."""
        self._follow_manhole(proxy.configuration.global_.manhole)
        self._begin(proxy, endings)
        return self._accept(proxy, "goes on at")

    def faults_of_keys(self, settings: ManholeSettings | None) -> list[Fault]:
        """Returns what keeps the manhole that runs from taking other authorized keys, which a reload names."""
        if self.manhole is None or settings is None:
            return []
        return [Fault(settings.place, text) for text in self.manhole.faults_of_keys(settings.authorized_keys)]

    def _follow_manhole(self, settings: ManholeSettings | None) -> None:
        """Lets nobody in, nor stay, who may not be in the manhole by a configuration that has been read again."""
        if self.manhole is None:
            return
        if settings is None:
            self.manhole.stop()
            self.manhole = None
            self.reloads.manhole_closed()
            self.announce("notice", "Manhole is closed: there is no line 'manhole' any more")
        else:
            self.manhole.take_keys(settings.authorized_keys)

    # Another process takes the place of this one (`replacing`).

    def replace(self) -> None:
        """Starts a new process with the command line of this one, which takes its place (SIGUSR2). Without a socket for
        that, reloads."""
        if self.state != "running" or self.proxy is None:
            return
        if any(each.exposes for each in self.proxy.configuration.global_.stats_sockets):
            self._successor.spawn()
        else:
            self.reload()

    @property
    def why_not_handed_over(self) -> str:
        """Returns why no other process can be given the listening sockets now, "" if one can."""
        return why_not_handed_over(self.state, self._successor, self._takeover, self.reloads.under_way)

    def _hand_over(self, channel: socket.socket) -> None:
        """Gives the listening sockets to the process at the other end, which is about to take this one's place."""
        proxy = self.proxy
        why_not = self.why_not_handed_over
        if why_not or proxy is None:  # one has come since it was asked
            with suppress(OSError):  # it has gone again
                channel.send(f"{why_not}\n".encode())
            channel.close()
            return
        from reusedproxy.operators.runtime.servers import show_servers_state  # loaded with the socket of this channel

        states = "".join(show_servers_state(Context(self, ADMIN, 0.0), ()))
        self._successor.hand_over(channel, proxy, self._listeners, states)

    def _leave(self, taken: set[str], pid: int) -> None:
        """Leaves the listening sockets to process `pid`, which accepts there, and finishes what it has."""
        proxy = self.proxy
        assert proxy is not None
        gone = [*forgotten(proxy, None, self.transactions.values())]
        self.state = "leaving"
        proxy.order_log.caveat = f"it is for the clients that are left here: process {pid} does not know of it"
        why = f"process {pid} has taken the place of this one: nothing was changed, and it has to be told that one"
        self.reloads.stop(why)  # one of `ssl-watch` may be under way
        self.server_changes.stop(why)
        self._expiry.stop()
        self._lists.stop()
        self.workload.stop()
        for listener in self._listeners:
            if key_of(listener.bind.address) in taken:
                listener.leave()
            else:
                listener.close()
        self.runtime.leave()
        if self.manhole is not None:
            self.manhole.stop()
        for each in self.living:
            for frontend in each.frontends:
                frontend.leave(KEPT_IDLE)
        clients = clients_of(self.living)
        self.announce("notice", f"process {pid} has taken the place of this one, whose clients left are: {clients}")
        for each_gone in gone:
            self.announce(*each_gone)
        self.supervision.hand_over(pid)
        told = {"forgotten": gone, "reload": self.reloads.ordered}
        servers = {"deleted": deleted(proxy), "in_place": in_place(proxy.lines, proxy.deleted)}
        self._successor.released({**counts_of(proxy), **told, **servers})
        if self.reloads.ordered:
            # It has read its files before that was ordered.
            self.announce("notice", f"reload: process {pid} is told to")
            self.reloads.leave_to_another(f"process {pid} has taken the place of this one, and is told to reload")
        self._departure = Departure(self._reactor, lambda: self.living, self._is_between, self._departed)
        self._departure.start(self._hard_stop_after)

    def _is_between(self) -> bool:
        """Tells whether clients of a process before this one are counted by the next only because this one tells."""
        return self._before is not None and self._before.has_shares

    def _departed(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    # What signals order (`signals.Ordered`).

    def told_to_stop(self) -> None:
        """Starts the watchdog's deadline for the stop. A signal's handler calls it, even if the event loop is
        blocked."""
        limit = self._hard_stop_after
        self.stalls.watchdog.ending(STUCK if limit is None else limit)

    def stop_by(self, number: signal.Signals) -> None:
        """Stops the reactor, and by that the service; at a further signal does not wait for clients any more."""
        if self.state in ("running", "leaving") and not self._stopping:
            self._stopping = True
            self.announce("notice", f"stopping: {number.name}")
            self._reactor.stop()
        elif self.state in ("running", "leaving"):  # the first one is not done yet
            self._reactor.callLater(0, self.stop_by, number)
        elif self.state == "draining" and number != signal.SIGUSR1:
            self._stop_now()

    # The stop.

    def stopService(self) -> Deferred[None]:
        """Stops accepting, lets running exchanges finish, and closes the pools. `hard-stop-after` bounds this;
        another signal ends it."""
        Service.stopService(self)
        if self._drained is None:
            self._drained = Deferred()
            self._drain()
        return self._drained

    def _drain(self) -> None:
        self.state = "draining"
        self.supervision.stopping(f"stopping, clients connected: {clients_of(self.living)}")
        self._take_nothing_on()
        if self.proxy is not None:
            self.proxy.order_log.tell_numbers()
        if self._departure is not None:
            self._departure.stop()
            if self._departure.is_late:
                self._stop_now()
                return
        limit = self._hard_stop_after
        if limit is not None:
            self._hard_stop = self._reactor.callLater(limit, self._stop_now)
        self._say_drain = self._reactor.callLater(SAY_DRAIN, self._tell_drain)
        self._wait_for_clients()

    def _take_nothing_on(self) -> None:
        """Ends everything by which clients, orders or another process's sockets come in."""
        assert self.proxy is not None
        why = "the process is stopping: nothing was changed"
        self.reloads.stop(why)
        self.reloads.leave_to_another(why)
        self.server_changes.stop(why)
        if self._successor.is_coming:
            for listener in self._listeners:
                listener.leave()  # that process goes on there: the files of unix sockets stay
        self._successor.drain()
        if self._takeover is not None:
            self._takeover.give_up()
        self._expiry.stop()
        self._lists.stop()
        self.workload.stop()
        self.runtime.leave()
        for each in self.living:
            for frontend in each.frontends:
                frontend.stop()
        for _, listener in self.proxy.listeners:
            listener.close()  # also one that waits for `pool-warm-start` and belongs to no frontend yet

    def _wait_for_clients(self) -> None:
        if self.state == "draining":
            if clients_of(self.living):
                self._reactor.callLater(LOOK, self._wait_for_clients)
            else:
                self._stop_now()

    def _tell_drain(self) -> None:
        """Announces that the stop waits for busy clients: a download, or a WebSocket that lasts for days."""
        limit = self._hard_stop_after
        bound = "without a bound (hard-stop-after is not set)" if limit is None else f"for {limit:g} s at most"
        clients = clients_of(self.living)
        self.announce("notice", f"stopping: waiting for busy clients ({clients}), {bound}; another signal ends them")

    def _stop_now(self) -> None:
        if self.state != "draining" or self.proxy is None or self._drained is None:
            return
        self.state = "stopped"
        for call in (self._hard_stop, self._say_drain):
            if call is not None and call.active():
                call.cancel()
        for proxy in self.living:
            _stop(proxy)
        if self.manhole is not None:
            self.manhole.stop()
        self.proxy.places.limit_rates((), self.proxy.deadlines)
        self.proxy.names.stop()
        self.proxy.departed.stop()
        self.runtime.stop()
        self._successor.stop()
        if self._before is not None:
            self._before.stop()
        self.reloads.former.stop()
        self.stalls.stop()
        self.supervision.stopped()
        self.proxy.deadlines.stop()
        self._poller.stop()
        self._drained.callback(None)


def _stop(proxy: Proxy) -> None:
    """Ends all clients of a proxy, and closes its pools."""
    for frontend in proxy.frontends:
        frontend.abort(STOPPED)
    for backend in proxy.backends:
        backend.stop("proxy stopped")
    if proxy.rates is not None:
        proxy.rates.stop()
    if proxy.sweep is not None:
        proxy.sweep.stop()
    if proxy.frequencies is not None:
        proxy.frequencies.stop()
    proxy.logs.close()
