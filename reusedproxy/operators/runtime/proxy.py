"""Defines what the runtime API asks of the service and of the running proxy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from attrs import Factory, define, frozen

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.clients.frontend import Frontend
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.model.values import Notice
from reusedproxy.config.tls.crt_list import CrtList
from reusedproxy.net.names.section import Names
from reusedproxy.net.poller import Poller
from reusedproxy.net.tls.in_memory import CertificateInMemory, CertificateName, FilesInMemory
from reusedproxy.operators.logs.orders import Orderer, OrderLog
from reusedproxy.operators.logs.targets import LogTargets
from reusedproxy.operators.runtime.messages import ERROR, NONE, Message
from reusedproxy.operators.view.proxy import Proxy
from reusedproxy.operators.view.proxy import Trusts as Files
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.maps import Map
from reusedproxy.rules.pattern_files import PatternFile
from reusedproxy.tables.table import Table

if TYPE_CHECKING:
    from reusedproxy.operators.stats.moment import Moments
    from reusedproxy.operators.view.rates import Rates

S = TypeVar("S", Frontend, Backend, Server)

#: What those who connect may do: each includes the ones before it.
USER, OPERATOR, ADMIN = range(3)
LEVELS = ("user", "operator", "admin")
PRODUCT = "reusedproxy"
NOBODY = Orderer("the runtime API", "nobody known")
#: A piece of an answer, known by being this object, that says: there is more when `Context.wake` has been called.
WAIT: Final = "\0 wait"
#: Likewise, for work that ends by itself: what the client says meanwhile is answered after it.
BUSY: Final = "\0 busy"
#: Likewise, for an order that others come before: it goes on in later turns, when these have ended.
QUEUED: Final = "\0 queued"
Told = Callable[[bool, Sequence[tuple[str, str]]], None]
#: Is told whether an order was done that took its time, and what is said of it, lines with their ends.
Done = Callable[[bool, str], None]
#: Is told what is wrong with files that were to be used: then nothing has changed; or else what there is to be noted.
PutDone = Callable[[Sequence[str], Sequence[str]], object]


class Trusts(Files, Protocol):
    """Shows the files of TLS as they were read last, and holds what takes their place in memory."""

    in_memory: FilesInMemory

    @property
    def certificates(self) -> Mapping[CertificateName, CertificateInMemory]:
        """Returns those that are shown, by their files, and those of their keys where these are said."""

    @property
    def lists(self) -> Mapping[str, CrtList]:
        """Returns the `crt-list` files and directories by their paths."""


class Running(Proxy, Protocol):
    """The running proxy, as the runtime API knows it."""

    @property
    def configuration(self) -> Configuration: ...

    @property
    def poller(self) -> Poller: ...

    @property
    def tables(self) -> Mapping[str, Table]: ...

    @property
    def maps(self) -> Mapping[str, Map]: ...

    @property
    def variables(self) -> dict[str, Sample]:
        """Returns the variables of the process, by their names."""

    @property
    def ordered_variables(self) -> set[str]:
        """Returns the names of those that operators have set."""

    @property
    def patterns(self) -> Mapping[str, PatternFile]: ...

    @property
    def trusts(self) -> Trusts: ...

    @property
    def names(self) -> Names: ...

    @property
    def notices(self) -> Sequence[Notice]:
        """Returns what was to be said of its files when it was made."""

    @property
    def logs(self) -> LogTargets: ...

    @property
    def rates(self) -> Rates | None: ...

    @property
    def order_log(self) -> OrderLog:
        """Returns what tells the log who has ordered what, which is the same through all reloads."""


@define
class Transaction:
    """Holds what was set of a file of TLS and is not committed; `content` is of the type of its kind
    (`runtime.transactions`). It ends with the `configuration` under which it began."""

    name: str
    configuration: Configuration
    content: Any


class Reloading(Protocol):
    """The reloads of a service."""

    def tell_no_more(self, told: Told) -> None:
        """Forgets somebody who waits to be told."""


class Service(Protocol):
    """The service that runs the proxy; a reload puts another one in its place."""

    state: str
    #: The ongoing transactions, one for each kind of file, for all sessions.
    transactions: dict[str, Transaction]

    @property
    def reloads(self) -> Reloading: ...

    @property
    def proxy(self) -> Running | None: ...

    @property
    def files_are_locked(self) -> bool:
        """Tells whether no file of TLS can be replaced now."""

    @property
    def why_not_handed_over(self) -> str:
        """Returns why no other process can be given the listening sockets now, "" if one can."""

    def put_files(self, files: FilesInMemory, name: str, order: str, done: PutDone) -> bool:
        """Has listeners and servers use these files, as an `order` about the file of this name asks for, and calls
        `done` at the end. Returns False where that cannot be now."""

    def add_server(self, backend: str, name: str, words: Sequence[str], done: Done) -> None:
        """Adds a server to a backend, and calls `done`, perhaps at once."""

    def delete_server(self, path: str, done: Done) -> None:
        """Takes a server ("backend/server") out of its backend, if nothing is there any more, and calls `done`."""

    def reload_for(self, told: Told) -> bool:
        """Reads the configuration again, and calls `told` with whether it was taken, and what was said of it. Returns
        False if there can be no reload."""


class Refusal(Exception):
    """Says why a command was not done, in HAProxy's words, and as it is written."""

    def __init__(self, text: str, end: str = "\n", severity: int = ERROR) -> None:
        """Takes the text, and what ends it: in HAProxy some texts have no line end of their own."""
        super().__init__(text)
        self.written = Message(text + end, severity)


@frozen
class SocketView:
    """Shows a socket of the runtime API: its address, and the level of those who connect."""

    address: str
    level: str


def end_sessions(proxy: Proxy, name: str) -> None:
    """Ends what the server with this name ("backend/server") carries, also where a reload has left it to a proxy
    before."""
    living = (*proxy.before, proxy)
    servers = [each for one in living for backend in one.backends for each in backend.servers if each.full_name == name]
    for frontend in [frontend for one in living for frontend in one.frontends]:
        for each in servers:
            frontend.end_sessions(each, "K")


@define
class Context:
    """Holds what commands work on: the service, and the session's own settings."""

    service: Service
    level: int
    timeout: float
    #: The connection goes on after the commands of a line; with a prompt, and with the process's age in that.
    interactive: bool = False
    prompts: bool = False
    timed: bool = False
    #: What `show info` says that this is.
    product: str = PRODUCT
    #: How severities of messages are shown (`messages`).
    severities: str = NONE
    #: Those of `experimental-mode` and `expert-mode` that are on.
    modes: frozenset[str] = frozenset()
    leaves: bool = False
    #: Its client may be given the process's sockets, and has ordered that.
    exposes: bool = False
    takes_over: bool = False
    #: Nothing has come behind the command.
    is_last: bool = True
    sockets: Sequence[SocketView] = ()
    statistics: Statistics = Factory(lambda: Statistics())
    #: Who gives the commands, for the log.
    orderer: Orderer = NOBODY
    #: The lines that came with the command (`<<`); None: there were none.
    payload: str | None = None
    #: What was ordered is under way: it is done whether or not its client takes the answer.
    changing: bool = False
    #: Has the session go on with an answer that waits (`WAIT`, `BUSY`).
    wake: Callable[[], None] = lambda: None

    @property
    def proxy(self) -> Running:
        proxy = self.service.proxy
        if proxy is None:
            raise Refusal("The proxy is not running.")
        return proxy

    @property
    def numbers(self) -> dict[str, int]:
        """Returns the numbers of all sections by their names (`id`)."""
        proxy = self.proxy
        numbers = {each.name: each.settings.id for each in proxy.frontends}
        return numbers | {each.name: each.settings.id for each in proxy.backends}

    def needs(self, level: int) -> None:
        """Raises Refusal unless the session has this level."""
        if self.level < level:
            raise Refusal("Permission denied")

    def frontend(self, name: str) -> Frontend:
        """Returns the frontend of this name, or of this number ("#2", `id`). Raises Refusal."""
        found = called(name, self.proxy.frontends)
        if found is None:
            raise Refusal("No such frontend.")
        return found

    def backend(self, name: str) -> Backend:
        """Returns the backend of this name, or of this number ("#2", `id`). Raises Refusal."""
        found = called(name, self.proxy.backends)
        if found is None:
            raise Refusal("No such backend.")
        return found

    def server(self, path: str) -> tuple[Backend, Server]:
        """Returns the server that is called `path`, "backend/server", each by its name or number, and its backend.
        Raises Refusal."""
        backend_name, slash, name = path.partition("/")
        if not slash:
            raise Refusal("Require 'backend/server'.")
        backend = self.backend(backend_name)
        found = called(name, backend.servers)
        if found is None:
            raise Refusal("No such server.")
        return backend, found


def called(name: str, those: Sequence[S]) -> S | None:
    """Returns the one of this name, or of this number ("#2"); None: there is none."""
    if not re.fullmatch("#[0-9]{1,9}", name):
        return next((each for each in those if each.name == name), None)
    number = int(name[1:])
    return next((each for at, each in enumerate(those, 1) if (each.settings.id or at) == number), None)


class Statistics:
    """Keeps the statistics of the running proxy for all sessions, as `stats.moment` does for all pages."""

    def __init__(self) -> None:
        self._proxy: Running | None = None
        self._moments: Moments | None = None

    def of(self, proxy: Running) -> Moments:
        from reusedproxy.operators.stats.moment import Moments
        from reusedproxy.operators.view.reading import Reader

        if self._moments is None or proxy is not self._proxy:
            self._proxy = proxy
            self._moments = Moments(Reader(proxy, proxy.rates))
        return self._moments

    def forget(self) -> None:
        """Makes the next ones anew, after what they show was changed."""
        self._proxy = self._moments = None
