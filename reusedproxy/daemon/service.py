"""Starts, reloads, drains and stops a proxy.

Does what signals order, reads the configuration with `load` and builds the proxy with `build.assembly`. Every fault is
raised as `Refused`, one line each, before anything is served. Must never know the command line.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from random import SystemRandom
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from reusedproxy.build.assembly import Assembly, AssemblyError, Proxy, queries
from reusedproxy.config.language.printable import printable
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.proxies import Configuration, Global
from reusedproxy.config.model.proxies import Manhole as ManholeSettings
from reusedproxy.config.model.values import Notice, Place
from reusedproxy.daemon.account import (
    Account,
    UnknownAccount,
    account_of,
    change_notices,
    judged,
    python_notice,
    reload_notice,
)
from reusedproxy.daemon.counts import count_on, counts_of
from reusedproxy.daemon.file_watch import FileWatch
from reusedproxy.daemon.handover import Handover, key_of
from reusedproxy.daemon.launch import done_by
from reusedproxy.daemon.limits import none_for_clients, shortages
from reusedproxy.daemon.load import Refused, files_in, load, loading
from reusedproxy.daemon.pid_file import PidFile
from reusedproxy.daemon.reload import Refusal, ReloadTrial
from reusedproxy.daemon.signals import SignalHandlers
from reusedproxy.daemon.spawned import Spawned
from reusedproxy.daemon.standing import stand, standing, states_as_said
from reusedproxy.daemon.succession import (
    Replaced,
    clear,
    follow,
    give_up,
    hand_on_places,
    hand_over_queues,
    pools_of,
    take_place,
)
from reusedproxy.daemon.supervision import Manager, Supervision
from reusedproxy.daemon.takeover import HandoverError, Takeover, take_over
from reusedproxy.net import descriptors
from reusedproxy.net.addresses import Addresses
from reusedproxy.net.binding import inherited
from reusedproxy.net.listener import Listener
from reusedproxy.net.named_sockets import Unnamed
from reusedproxy.net.poller import Poller
from reusedproxy.net.resolver import Resolver
from reusedproxy.net.slices import Slices, Steps
from reusedproxy.net.standstill import Standstill
from reusedproxy.net.watchdog import Watchdog
from reusedproxy.operators.logs.expiry import Ending, Expiry
from reusedproxy.operators.runtime.proxy import ADMIN, Context
from reusedproxy.operators.runtime.servers import show_servers_state
from reusedproxy.operators.runtime.sockets import Prepared, RuntimeAPI
from reusedproxy.sessions.termination import STOPPED

if TYPE_CHECKING:
    from reusedproxy.operators.shell.manhole import Manhole

#: Verb of the message about a listener when the daemon starts.
FIRST = "listens on"
#: Seconds that a stop waits for clients before it announces that.
SAY_DRAIN = 1.0
#: Seconds for which a process that takes another's place waits for its floors, without `pool-warm-start`; and for which
#: idle clients of the other one may still send a request, before they are closed.
WARM = 10.0
KEPT_IDLE = 10.0
#: Seconds between two looks whether the last client has gone.
LOOK = 0.05
#: Seconds until the process exits when its event loop is blocked and it was told to stop, without `hard-stop-after`.
STUCK = 30.0
#: Number of names in a list of changed files or servers.
NAMED = 3

_NOWHERE = Place("", 0)

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
        self.state = "new"
        self.proxy: Proxy | None = None
        self.manhole: Manhole | None = None
        #: HAProxy's runtime API, at the `stats socket`s.
        self.supervision = Supervision(Manager({}, reactor))
        self.pid_file: PidFile | None = None
        #: This process takes the place of another one (`--replace`), from which it has this.
        self.replaces = False
        self._takeover: Takeover | None = None
        #: The same, when it serves: the other process may still tell what it counts.
        self._before: Takeover | None = None
        #: Gives the sockets of this process to another one; and who has been started for that.
        self._handover: Handover | None = None
        self._spawned: Spawned | None = None
        self._paths = paths
        self._options = options or {}
        #: Settings that no reload can change, as they were at the start.
        self._started_with: dict[str, object] = {}
        #: The process belongs to this daemon alone, so a reload may disable the garbage collector and freeze its
        #: objects.
        self.spares_collector = False
        #: The current reload has replaced the proxy.
        self._taken_up = False
        #: The account that the process becomes by the configuration when it starts.
        self._account: Account | None = None
        self._reactor = reactor
        self._poller = Poller(reactor)
        self.runtime = RuntimeAPI(self, reactor, self._poller, self.announce, self._hand_over)
        self._replaced = Replaced(reactor)
        self._standstill = Standstill(reactor, self._stood_still)
        self.signals = SignalHandlers(reactor, self)
        self.watchdog = Watchdog(reactor, self._stands, self._goes_on, self._die)
        self._expiry = Expiry(reactor, self.announce)
        self._watch = FileWatch(reactor, self.renew)
        #: The changed files during a reload that `ssl-watch` has begun.
        self._renewed: list[str] = []
        #: The current reload.
        self._reloading: Slices | None = None
        self._reload_again = False
        self._resolver = Resolver(reactor)
        #: A signal has stopped the reactor, which will say so when its turn is over.
        self._stopping = False
        self._drained: Deferred[None] | None = None
        self._hard_stop: IDelayedCall | None = None
        self._say_drain: IDelayedCall | None = None

    def announce(self, level: str, text: str, section: str = "") -> None:
        """Sends a message for the operator to the daemon's own log, and to the `log` lines of the `section` that it is
        about ("frontend www", "backend app"), or of the global one.

        Names of files may be in it, and other text that somebody else has chosen.
        """
        text = printable(text)
        self._log.emit(_LEVELS[level], "{text}", text=text)
        if self.proxy is not None:
            self.proxy.logs.event(level, text, section)

    def assemble(self, *, bind: bool) -> Proxy:
        """Reads the configuration, builds everything, and with `bind` opens the listening sockets. Raises Refused."""
        configuration = load(self._paths, done_by(self._options))
        faults, notices = self._decide_account(configuration.global_)
        if self.replaces and bind:
            self._take_over(configuration.global_)
        faults += self._assemble_manhole(configuration.global_.manhole, bind)
        sockets = self.runtime.prepare(configuration.global_, bind=bind, given=self._takeover)
        try:
            self.proxy = self._build(configuration, bind, [*faults, *sockets.faults])
        except AssemblyError as error:
            sockets.give_up()
            if self.manhole is not None:
                self.manhole.stop()
            raise Refused(error.faults, error.notices) from None
        self.runtime.adopt(sockets)
        if bind and (fault := none_for_clients()):
            self.runtime.leave()
            for listener in self.proxy.bound:
                listener.close()
            raise Refused([Fault(Place(self._paths[0], 1), fault)], self.proxy.notices)
        self.proxy.notices += [*notices, *self._unreadable(self.proxy)]
        if self._takeover is not None and self._takeover.tables is None:
            self.proxy.notices += _emptied(configuration)
        self._started_with = _fixed(configuration.global_)
        self.state = "assembled"
        return self.proxy

    def _decide_account(self, said: Global) -> tuple[list[Fault], list[Notice]]:
        """Returns faults and notices about `user`, `group` and `chroot`."""
        root = os.geteuid() == 0
        faults, notices = judged(said, root, self._options)
        try:
            self._account = account_of(said, self._options) if root and self.state == "new" else None
        except UnknownAccount as error:
            faults.append(Fault(error.place, str(error)))
        becoming = self._becoming
        if becoming is not None and self.state == "new" and (text := becoming.impediment()):
            line = None if self._options.get("uid") is not None else said.user or said.group
            faults.append(Fault(Place(self._paths[0], 1) if line is None else line.place, text))
        return faults, notices

    @property
    def _becoming(self) -> Account | None:
        """Returns the account that root becomes, by twistd's options or the configuration."""
        uid, gid = self._options.get("uid"), self._options.get("gid")
        if os.geteuid() == 0 and isinstance(uid, int):
            return Account.of(uid, gid if isinstance(gid, int) else None)
        return self._account

    @property
    def given_descriptors(self) -> set[int]:
        """Returns the descriptors that the configuration names (`fd@3`), which a reload may need again."""
        assert self.proxy is not None
        configuration = self.proxy.configuration
        said = configuration.global_
        addresses = [bind.address for each in configuration.frontends.values() for bind in each.binds]
        addresses += [each.bind.address for each in said.stats_sockets]
        addresses += [] if said.manhole is None else [said.manhole.address]
        found = set()
        for address in addresses:
            with suppress(Unnamed):  # it came from the process before
                found |= {inherited(address)} if address.kind == "fd" else set()
        return found

    def _unreadable(self, proxy: Proxy) -> Iterable[Notice]:
        """Returns notices about files that root can read now, and a reload will not be able to; and about those of the
        configuration that the daemon's user can change."""
        account, global_ = self._becoming, proxy.configuration.global_
        if account is None or account.uid == 0:
            return
        paths = [*self._paths, *(name for path in self._paths for name in files_in(path))]
        place = global_.user.place if global_.user else Place(self._paths[0], 1)
        yield from change_notices(account, paths, place)
        paths += [*(stamp[0] for stamp in proxy.stamps), *proxy.answers]
        if global_.manhole is not None:
            paths.append(global_.manhole.authorized_keys)
        yield from python_notice(account, place)
        yield from reload_notice(account, paths, place)

    def _build(self, configuration: Configuration, bind: bool, faults: list[Fault]) -> Proxy:
        """Builds the proxy. Raises AssemblyError with these `faults` and all others."""
        faults += self._nothing_to_serve(configuration)
        assembly = Assembly(
            configuration,
            self._reactor,
            self._poller,
            SystemRandom(),
            self.announce,
            self.proxy,
            given=self._takeover,
            states="" if self._takeover is None else self._takeover.states,
        )
        return assembly.build(bind=bind, faults=faults)

    def _nothing_to_serve(self, configuration: Configuration) -> Iterable[Fault]:
        global_ = configuration.global_
        # As in HAProxy, the sockets for operators count as listeners.
        reached = global_.manhole is not None or global_.stats_sockets
        if not reached and not any(each.binds and not each.disabled for each in configuration.frontends.values()):
            # A reload must not close a running daemon's listeners because an editor has just emptied the file.
            text = "nothing to serve: there is no 'bind' in any 'frontend' or 'listen'"
            yield Fault(Place(self._paths[0], 1), text)

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
            account = self._becoming
            if account is not None and account.impediment():
                account = None  # which is another fault
            self.manhole = Manhole(settings, self, self._reactor, self._poller, self.announce, account)
            if bind:
                self.manhole.bind(self._takeover)
        except ManholeError as error:
            return [Fault(settings.place, text) for text in error.texts]
        return []

    def privilegedStartService(self) -> None:
        """Writes the pid file. twistd calls this in the process that stays, before it becomes its user."""
        Service.privilegedStartService(self)
        if self.pid_file is not None:
            self.pid_file.write()

    def startService(self) -> None:
        Service.startService(self)
        proxy = self.proxy
        assert proxy is not None
        if self._account is not None:
            # Everything is bound, and no client has been accepted yet.
            self._account.become()
        self.state = "running"
        descriptors.raise_limit()
        self._poller.start()
        self.supervision.begin()
        if self._takeover is not None:
            for text, section in stand(proxy, self._takeover.standing):
                self.announce("notice", text, section)
            self._takeover.prepare(self._poller, self._reactor, proxy.tables, self.announce)
        self._begin(proxy, FIRST)
        self._standstill.start()
        self.watchdog.seen = proxy.standstills
        self.watchdog.start()
        if self._takeover is None:
            self._open_to_operators()
        self.signals.take_others()
        self.signals.take_stops()

    @property
    def _listeners(self) -> list[Listener]:
        """Returns all that this process listens on."""
        listeners = [] if self.proxy is None else [listener for _, listener in self.proxy.listeners]
        listeners += self.runtime.listeners
        if self.manhole is not None and self.manhole.listener is not None:
            listeners.append(self.manhole.listener)
        return listeners

    def _open_to_operators(self) -> None:
        if self.manhole is not None:
            self.manhole.start()
        self.runtime.start()

    # Another process takes the place of this one, or the other way round (`handover`).

    def _take_over(self, said: Global) -> None:
        """Gets the listening sockets of the process that runs. Raises Refused."""
        paths = [each.bind.address.path for each in said.stats_sockets if each.exposes]
        account = self._becoming
        try:
            self._takeover = take_over(paths, {os.geteuid(), *(() if account is None else (account.uid,))})
        except HandoverError as error:
            text = f"--replace: {error}; if no reusedproxy runs, start it without --replace"
            raise Refused([Fault(Place(self._paths[0], 1), text)], []) from None

    def _released(self, counts: object) -> None:
        """Serves alone from now on; `counts` are those of the other process, None if it has not said that it left."""
        assert self._takeover is not None and self.proxy is not None
        pid, self._before, self._takeover = self._takeover.pid, self._takeover, None
        if counts is not None:
            count_on(self.proxy, counts)
            self.announce("notice", f"has taken the place of process {pid}, which finishes what it has")
        else:
            self.announce("warning", f"serves, but process {pid} has not said that it has stopped accepting")
        for listener in self._listeners:
            listener.own()
        self.supervision.takes_over()
        self._say_ready()
        self._reload_if_told()

    def _hand_over(self, channel: socket.socket) -> None:
        """Gives the listening sockets to the process at the other end, which is about to take this one's place."""
        proxy = self.proxy
        # A reload that is under way may bind others.
        busy = self._is_being_replaced or self._takeover is not None or self._reloading is not None
        if self.state != "running" or busy or proxy is None:
            channel.close()
            return
        listeners = self._listeners
        states = states_as_said("".join(show_servers_state(Context(self, ADMIN, 0.0), ())), proxy)
        self._handover = Handover(
            channel, self._poller, self._reactor, listeners, self._leave, self._not_replaced, proxy.tables
        )
        text = f"process {self._handover.pid} is about to take the place of this one, and gets {len(listeners)} sockets"
        self.announce("notice", text)
        self._handover.give(states, standing(proxy))

    def _not_replaced(self, why: str) -> None:
        assert self._handover is not None
        self.announce(
            "alert", f"process {self._handover.pid} does not take the place of this one: {why}; this one goes on"
        )
        self._reload_if_told()

    def _reload_if_told(self) -> None:
        """Does the reload that was ordered while there could be none."""
        if self._reload_again and self._reloading is None:
            self._reload_again = False
            self.reload()

    @property
    def _is_being_replaced(self) -> bool:
        """Tells whether another process has been given the sockets, and does not serve yet."""
        return self._handover is not None and self._handover.state in ("waiting", "holding")

    def replace(self) -> None:
        """Starts a new process with the command line of this one, which takes its place (SIGUSR2). Without a socket for
        that, reloads."""
        if self.state != "running" or self.proxy is None:
            return
        if not any(each.exposes for each in self.proxy.configuration.global_.stats_sockets):
            self.reload()
            return
        if os.getpid() == 1:
            self.announce(
                "alert", "not replaced: this is process 1, with which all others end: start another container"
            )
        elif self._options.get("nodaemon") is False:
            text = "not replaced: this daemon is in the background: start another one as this one was, with --replace"
            self.announce("alert", text)
        elif self._spawned is None:
            try:
                self._spawned = Spawned(self._poller, self._spawned_ended)
            except OSError as error:
                self.announce("alert", f"not replaced: no process can be started: {error.strerror}")

    def _spawned_ended(self) -> None:
        self._spawned = None
        if self.state == "running":
            self.announce("alert", "not replaced: the new process has ended before it served; this one goes on")

    def _leave(self, taken: set[str], pid: int) -> None:
        """Leaves the listening sockets to process `pid`, which accepts there, and finishes what it has."""
        proxy = self.proxy
        assert proxy is not None and self._handover is not None
        self.state = "leaving"
        if self._reloading is not None:  # one of `ssl-watch`
            self._reloading.stop()
            self._reloading = None
            gc.enable()
        self._watch.stop()
        self._expiry.stop()
        for listener in self._listeners:
            if key_of(listener.bind.address) in taken:
                listener.leave()
            else:
                listener.close()
        self.runtime.leave()
        if self.manhole is not None:
            self.manhole.stop()
        for each in self._living:
            for frontend in each.frontends:
                frontend.leave()
        self.announce("notice", f"process {pid} has taken the place of this one, which has clients: {self._clients()}")
        self.supervision.hand_over(pid)
        self._handover.released(counts_of(proxy))
        if self._reload_again:
            with suppress(OSError):  # it has ended again, which is told by others
                os.kill(pid, signal.SIGHUP)  # it has read its files before that was ordered
        limit = proxy.configuration.global_.hard_stop_after
        if limit is not None:
            self._hard_stop = self._reactor.callLater(limit, self._leave_now)
        self._reactor.callLater(KEPT_IDLE, self._let_idle_go)
        self._wait_to_leave()

    def _wait_to_leave(self) -> None:
        if self.state != "leaving":
            return
        if self._clients():
            self._reactor.callLater(LOOK, self._wait_to_leave)
        else:
            self._leave_now()

    def _leave_now(self) -> None:
        if self.state == "leaving" and not self._stopping:
            self._stopping = True
            self._reactor.stop()

    def _let_idle_go(self) -> None:
        """Closes idle clients, and connections to servers that nobody will use."""
        if self.state != "leaving":
            return
        for each in self._living:
            for frontend in each.frontends:
                frontend.finish_idle()
        self._reloading = Slices(self._reactor, self._release_pools(), self._pools_released)
        self._reloading.start()

    def _release_pools(self) -> Steps[None]:
        for pool in {pool: None for each in self._living for pool in pools_of(each)}:
            yield from pool.draining("another process goes on")

    def _pools_released(self, failure: Failure | None) -> None:
        self._reloading = None
        if failure is not None:
            self._log.failure("connections of a process that leaves could not be closed", failure)

    # What signals order (`signals.Ordered`).

    def told_to_stop(self) -> None:
        """Starts the watchdog's deadline for the stop. A signal's handler calls it, even if the event loop is
        blocked."""
        proxy = self.proxy
        limit = proxy.configuration.global_.hard_stop_after if proxy is not None else None
        self.watchdog.ending(STUCK if limit is None else limit)

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

    def _stands(self, text: str) -> None:
        """Logs a blocked event loop. It is called by a signal handler, so it writes only to the log that never blocks:
        any other may be the cause."""
        self._log.warn("{text}", text=text)

    def _goes_on(self, stack: str, seconds: float) -> None:
        where = f"; it stood in {stack}" if stack else ""
        self.announce("warning", f"the event loop goes on {seconds:.1f} s late{where}")

    def _die(self, text: str) -> NoReturn:
        self._log.critical("{text}", text=text)
        os._exit(1)

    def _stood_still(self, seconds: float, why: str) -> None:
        """Replaces all idle connections after a standstill of the process.

        Servers may have closed some of them meanwhile, and may be unable to tell it any more.
        """
        self.announce("warning", f"{why} for {seconds:.0f} s: all idle connections to servers are replaced")
        for proxy in self._living:
            for pool in proxy.pools:
                pool.upkeep.renew()
        self._expiry.look()

    def _begin(self, proxy: Proxy, verb: str, endings: list[Ending] | None = None) -> None:
        if proxy.places.allow(proxy.maxconn):
            self.announce("notice", f"The process keeps maxconn {proxy.places.maxconn}, as was ordered")
        proxy.places.limit_rates(proxy.configuration.global_.rates, proxy.deadlines)
        for text in shortages(proxy):
            self.announce("warning", text)
        for backend in proxy.backends:
            backend.start()
        if proxy.rates is not None:
            proxy.rates.start()
        if proxy.sweep is not None:
            proxy.sweep.start()
        proxy.budget.rate = proxy.configuration.global_.pool_connect_rate
        self._expiry.begin(proxy, endings)
        self._watch.begin(proxy.configuration.global_.ssl_watch, proxy.stamps, proxy.files.look)
        patience = proxy.configuration.global_.pool_warm_start
        if patience is None and self._takeover is not None:
            patience = WARM
        if patience is None or verb != FIRST:
            self._listen(proxy, verb)
        else:
            if self._takeover is None:  # else the service has long been started
                self.supervision.starting(patience)
            self._warm_up(proxy, self._reactor.seconds(), patience)

    def _listen(self, proxy: Proxy, verb: str) -> None:
        if verb == FIRST and self._takeover is not None:
            self._takeover.when_ready(lambda: self._listen_now(proxy, verb))
        else:
            self._listen_now(proxy, verb)

    def _listen_now(self, proxy: Proxy, verb: str) -> None:
        if self.state != "running":
            return  # it was stopped meanwhile
        for frontend, listener in proxy.listeners:
            frontend.listen(listener)
            # At a reload, a listener bound for this proxy is new.
            text = f"Proxy {frontend.name} {FIRST if listener in proxy.bound else verb} {_bound_to(listener)}"
            self.announce("notice", text, f"frontend {frontend.name}")
        if verb == FIRST and self._takeover is not None:
            self._open_to_operators()
            self._takeover.serve(self._released)
        elif verb == FIRST:
            self._say_ready()

    def _say_ready(self) -> None:
        proxy = self.proxy
        assert proxy is not None
        self.supervision.ready(f"serves (listeners: {len(proxy.listeners)}, servers: {len(proxy.lines)})")

    def _warm_up(self, proxy: Proxy, began: float, patience: float) -> None:
        """Delays listening for `pool-warm-start`: clients wait in the kernel's queue until every floor
        stands, or the time is over."""
        if self.state != "running" or proxy is not self.proxy:
            return
        took = self._reactor.seconds() - began
        short = [pool for pool in proxy.pools if pool.state == "running" and len(pool.idle) < pool.floor]
        settled = all(group.settled for backend in proxy.backends for group in backend.groups)
        if (short or not settled) and took < patience:
            self._reactor.callLater(0.05, self._warm_up, proxy, began, patience)
            return
        if short:
            names = ", ".join(f"{pool.name} ({len(pool.idle)} of {pool.floor})" for pool in short)
            self.announce("warning", f"pool-warm-start: {patience:g} s are over, and some floors do not stand: {names}")
        else:
            unused = [pool.name for pool in proxy.pools if pool.state != "running" and pool.floor]
            but = f", but for servers that are not in use: {_listed(unused)}" if unused else ""
            self.announce("notice", f"pool-warm-start: all floors stand after {took:.2f} s{but}")
        self._listen(proxy, FIRST)

    def reload(self) -> None:
        """Reads the configuration again (SIGHUP). Faults are logged, and everything stays as it was.

        Pools and listeners whose description is unchanged go on as they are. Idle clients go on, too; others have to
        reconnect after their current response. Servers that are gone or changed lose their connections as these become
        free. New pools are tried and warmed first, see `ReloadTrial`. All work is done in short slices while clients
        are served; any number of requests to reload in the meantime cause one more reload.
        """
        if self.state == "leaving" and self._handover is not None:
            text = f"reload: process {self._handover.pid} has taken the place of this one: tell that one"
            self.announce("warning", text)
        if self.state != "running":
            return
        if self._reloading is not None or self._is_being_replaced or self._takeover is not None:
            self._reload_again = True
            return
        self._renewed = []
        self.supervision.reloading()
        if self.manhole is not None:
            self.manhole.look_again()
        self._run(self._reload())

    def renew(self, changed: list[str]) -> None:
        """Reads the TLS files again (`ssl-watch`), of which these have `changed`. The configuration is not read: an
        operator may be in the middle of editing it."""
        if (
            self.state == "running" and self.proxy is not None and self._reloading is None and self._takeover is None
        ):  # else the next look reports it again
            self._renewed = changed
            self._run(self._turn_to(self.proxy.configuration, self.proxy.addresses))

    def _run(self, steps: Steps[None]) -> None:
        self._taken_up = False
        if self.spares_collector:
            gc.disable()  # it would traverse the new, permanent objects again and again
        self._reloading = Slices(self._reactor, steps, self._reload_over)
        self._reloading.start()

    def _reload_over(self, failure: Failure | None) -> None:
        self._reloading = None
        if self.spares_collector:
            if self._taken_up:
                gc.freeze()
            gc.enable()
        if failure is not None:
            if isinstance(failure.value, (Refused, AssemblyError)):
                self._refuse(failure.value.faults, failure.value.notices)
            else:
                self._log.failure("a reload ends by our own fault", failure)
                self._refuse(["an error in reusedproxy, of which the log tells (please report it)"])
        again, self._reload_again = self._reload_again, False
        if again:
            self.reload()

    def _reload(self) -> Steps[None]:
        configuration = yield from loading(self._paths, again=True)
        assert self.proxy is not None
        addresses = Addresses(self.proxy.addresses)
        names = addresses.unknown(queries(configuration, self.proxy))
        if names:
            addresses.learn((yield self._resolver.resolve(names)))
        addresses.forget_others(queries(configuration, self.proxy))
        yield from self._turn_to(configuration, addresses)

    def _turn_to(self, configuration: Configuration, addresses: Addresses) -> Steps[None]:
        """Builds and tries a proxy for the configuration, and replaces the current one, in
        steps. Raises AssemblyError."""
        old = self.proxy
        assert old is not None
        for backend in old.backends:
            backend.hold_addresses()
        try:
            yield from self._take_up(old, configuration, addresses)
        finally:
            for backend in old.backends if self.proxy is old else ():
                backend.release_addresses()

    def _take_up(self, old: Proxy, configuration: Configuration, addresses: Addresses) -> Steps[None]:
        """Does the work of `_turn_to`; no server moves to another address meanwhile."""
        assembly = Assembly(configuration, self._reactor, self._poller, SystemRandom(), self.announce, old, addresses)
        sockets = self.runtime.prepare(configuration.global_, bind=True)
        try:
            faults = [*self._nothing_to_serve(configuration), *sockets.faults]
            new = yield from assembly.building(bind=True, faults=faults)
            yield from self._try(old, new, configuration, sockets)
        except BaseException:
            sockets.give_up()
            raise

    def _try(self, old: Proxy, new: Proxy, configuration: Configuration, sockets: Prepared) -> Steps[None]:
        """Tries `new`, and replaces `old` by it, or refuses the reload, in steps."""
        was, now = _fixed(old.configuration.global_), _fixed(configuration.global_)
        for word, value in now.items():
            if value not in (was[word], self._started_with[word]):
                self.announce("warning", f"reload: '{word}' has changed; this takes effect at the next start only")
        for notice in new.notices:
            self.announce(notice.level, f"reload: {notice.place}: {notice.text}")
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
            settings = new.lines[refusal.name].server.settings
            crt = f" (crt {settings.tls.crt})" if settings.tls is not None and settings.tls.crt else ""
            text = f"server {refusal.name} does not accept what has changed{crt}: {refusal.reason}"
            self._refuse([Fault(settings.place, text)])
            return
        for name, reason in trial.distrusted.items():
            self.announce(
                "alert",
                f"reload: server {name} is not trusted any more, and gets no more requests: {reason}",
                f"backend {name.rpartition('/')[0]}",
            )
        self.runtime.adopt(sockets)
        yield from self._replace(old, new, endings)

    def _refuse(self, faults: Sequence[object], notices: Iterable[Notice] = ()) -> None:
        if self._renewed:
            # Nobody asked for this reload, so it gets one line; at SIGHUP somebody waits for all faults.
            self._watch.refuse()
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            self.announce("alert", f"ssl-watch: {faults[0]}{more}; all files of TLS stay in use as they were")
            return
        for notice in notices:
            self.announce(notice.level, f"reload: {notice.place}: {notice.text}")
        for fault in faults:
            self.announce("alert", f"reload: {fault}")
        self.supervision.refused([*map(str, faults)])
        self.announce("alert", "reload refused: everything stays as it was")

    def _replace(self, old: Proxy, new: Proxy, endings: list[Ending]) -> Steps[None]:
        """Replaces `old` by `new` in steps: `new` serves from the first step on, the others hand over the clients of
        `old` and release it."""
        self.proxy = new
        self._taken_up = True
        self._replaced.add(old, new)
        going = {listener for _, listener in new.listeners}
        for frontend, listener in old.listeners:
            if listener not in going:
                text = f"Proxy {frontend.name} listens no more on {_bound_to(listener)}"
                self.announce("notice", text, f"frontend {frontend.name}")
        leaving = take_place(old, new, self.announce)
        followed = follow(self._replaced.proxies, new)
        hand_on_places(self._replaced.proxies)
        queues = hand_over_queues(self._replaced.proxies, new)
        self._begin(new, "goes on at", endings)
        kept = len(pools_of(new) & pools_of(old))
        yield
        try:
            for steps in queues:
                yield from steps
            yield from give_up(followed)
            yield from clear(old, new, leaving)
        finally:
            self._replaced.cleared()
        # Not before: until its step has come, a client is served by the old rules.
        what = f"files of TLS ({_listed(self._renewed)})" if self._renewed else "configuration"
        text = f"{what} reloaded: {kept} of {len(new.lines)} pools kept as they are"
        self.announce("notice", text)
        if not self._renewed:
            self.supervision.reloaded(text)

    @property
    def _living(self) -> list[Proxy]:
        """Returns this proxy and those before it that still have clients."""
        return [*self._replaced.proxies, self.proxy] if self.proxy is not None else []

    def stopService(self) -> Deferred[None]:
        """Stops accepting, lets running exchanges finish, and closes the pools. `hard-stop-after` bounds this;
        another signal ends it."""
        Service.stopService(self)
        if self._drained is None:
            self._drained = Deferred()
            self._drain()
        return self._drained

    def _drain(self) -> None:
        proxy = self.proxy
        assert proxy is not None
        self.state = "draining"
        self.supervision.stopping(f"stopping, clients connected: {self._clients()}")
        if self._reloading is not None:
            self._reloading.stop()
            self._reloading = None
            gc.enable()
        if self._handover is not None:
            self._handover.drain()
        if self._takeover is not None:
            self._takeover.give_up()
        self._watch.stop()
        self._expiry.stop()
        self.runtime.leave()
        for each in self._living:
            for frontend in each.frontends:
                frontend.stop()
        for _, listener in proxy.listeners:
            listener.close()  # also one that waits for `pool-warm-start` and belongs to no frontend yet
        limit = proxy.configuration.global_.hard_stop_after
        if self._hard_stop is not None:
            if not self._hard_stop.active():
                self._stop_now()  # its time is over already
                return
            self._hard_stop.cancel()
        if limit is not None:
            self._hard_stop = self._reactor.callLater(limit, self._stop_now)
        self._say_drain = self._reactor.callLater(SAY_DRAIN, self._tell_drain)
        self._wait_for_clients()

    def _wait_for_clients(self) -> None:
        if self.state == "draining":
            if self._clients():
                self._reactor.callLater(0.05, self._wait_for_clients)
            else:
                self._stop_now()

    def _clients(self) -> int:
        return sum(len(frontend.connections) for proxy in self._living for frontend in proxy.frontends)

    def _tell_drain(self) -> None:
        """Announces that the stop waits for busy clients: a download, or a WebSocket that lasts for days."""
        assert self.proxy is not None
        limit = self.proxy.configuration.global_.hard_stop_after
        bound = "without a bound (hard-stop-after is not set)" if limit is None else f"for {limit:g} s at most"
        self.announce(
            "notice", f"stopping: waiting for busy clients ({self._clients()}), {bound}; another signal ends them"
        )

    def _stop_now(self) -> None:
        if self.state != "draining" or self.proxy is None or self._drained is None:
            return
        self.state = "stopped"
        for call in (self._hard_stop, self._say_drain):
            if call is not None and call.active():
                call.cancel()
        for proxy in self._living:
            for frontend in proxy.frontends:
                frontend.abort(STOPPED)
            for backend in proxy.backends:
                backend.stop("proxy stopped")
            if proxy.rates is not None:
                proxy.rates.stop()
            if proxy.sweep is not None:
                proxy.sweep.stop()
            proxy.logs.close()
        if self.manhole is not None:
            self.manhole.stop()
        self.proxy.places.limit_rates((), self.proxy.deadlines)
        self.proxy.names.stop()
        self.proxy.departed.stop()
        self.runtime.stop()
        for one in (self._handover, self._before):
            if one is not None:
                one.stop()
        self._replaced.stop()
        self._standstill.stop()
        self.watchdog.stop()
        self.supervision.stopped()
        self.proxy.deadlines.stop()
        self._poller.stop()
        self._drained.callback(None)


def _fixed(said: Global) -> dict[str, object]:
    """Returns the settings that take effect at the start only, by keyword."""
    people = {"user": said.user, "group": said.group, "chroot": said.chroot}
    words: dict[str, object] = {word: each and (each.word, each.value) for word, each in people.items()}
    return {**words, "manhole": said.manhole and evolve(said.manhole, place=_NOWHERE)}


def _emptied(configuration: Configuration) -> list[Notice]:
    """Returns what is to be said where a new process takes the place of one that has tables."""
    text = "the table begins empty: it does not know what that of the process before does, nor whom that keeps out"
    return [Notice("warning", table.place, f"'{table.name}': {text}") for table in configuration.tables.values()]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _bound_to(listener: Any) -> str:
    address = listener.bind.address
    if address.kind == "tcp" and address.port == 0:
        return f"{address.host or '*'}:{listener.port}"
    return str(address)
