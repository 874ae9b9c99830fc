"""Defines the sections of a configuration that has been read: frozen values and nothing else.

Every value is final: times are float seconds (None: no limit), sizes are bytes, defaults are filled in, inherited
settings (`defaults`, `default-server`) are merged. Must never open a file, resolve a name or know of the network:
`config.sections` makes these values, and `build.assembly` turns them into running objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Protocol

from attrs import evolve, field, frozen

from reusedproxy.config.model.balance import Balance, HashType, UseServer
from reusedproxy.config.model.checks import Agent, CheckPlan, HTTPCheck, Observe
from reusedproxy.config.model.compression import Compression
from reusedproxy.config.model.errors import ErrorPage
from reusedproxy.config.model.forwarded import Forwarded
from reusedproxy.config.model.hedging import Hedge
from reusedproxy.config.model.identities import IdentityRule
from reusedproxy.config.model.logs import NO_CAPTURES, NO_LOG, Captures, LogSettings, LogTarget
from reusedproxy.config.model.names import AT_THE_START, Resolution, Resolvers
from reusedproxy.config.model.persistence import Cookie
from reusedproxy.config.model.rules import NO_RULES, Condition, Format, Rule, Rules, UseBackend
from reusedproxy.config.model.sockets import ANYWHERE, AS_THE_SYSTEM, KeepAlive, OwnEnd
from reusedproxy.config.model.tables import StickTable
from reusedproxy.config.model.tls import BindTLS, Revocations, ServerTLS, StoredCertificate
from reusedproxy.config.model.users import User, UserList
from reusedproxy.config.model.values import Expression, ListenAddress, Notice, Place

#: Seconds of `pool-warm-up` where it is not said.
WARM_UP = 10.0

_ROUND_ROBIN, _MAP_BASED = Balance(), HashType()


@frozen
class SocketOptions:
    """Holds what a `bind` line says of its TCP socket: `interface` ("" is any), `mss` (0 is the kernel's), the seconds
    for which sent bytes may be unacknowledged (`tcp-ut`; 0 is the kernel's), the algorithm of congestion control (`cc`;
    "" is the kernel's), `tfo`, `transparent` and `v6only`."""

    interface: str = ""
    mss: int = 0
    user_timeout: float = 0.0
    congestion: str = ""
    fast_open: bool = False
    transparent: bool = False
    v6_only: bool = False


@frozen
class Bind:
    """Holds one `bind` line for one address. With `maxconn` 0 only the frontend's limit applies. `mode` is a unix
    socket's permissions (octal). `id` is its number in its section; 0: none was said."""

    place: Place
    address: ListenAddress
    name: str = ""
    maxconn: int = 0
    backlog: int = 0
    mode: int | None = None
    user: str | None = None
    group: str | None = None
    tls: BindTLS | None = None
    accept_proxy: bool = False
    options: SocketOptions = SocketOptions()
    id: int = 0


@frozen
class Timeouts:
    """Holds HAProxy's `timeout` words in seconds, with its fallbacks (manual, section 4.2) already
    applied; None waits for ever."""

    connect: float | None = None
    client: float | None = None
    server: float | None = None
    http_request: float | None = None
    http_keep_alive: float | None = None
    queue: float | None = None
    check: float | None = None
    tunnel: float | None = None
    client_fin: float | None = None
    server_fin: float | None = None
    client_hs: float | None = None
    tarpit: float | None = None

    def changed(self, own: Mapping[str, float]) -> Timeouts:
        """Returns these with others in their place, by HAProxy's words."""
        return evolve(self, **{which.replace("-", "_"): seconds for which, seconds in own.items()})


#: The words of `retry-on` with which HAProxy considers the first request on an idle connection as safe as later ones
#: (`http-reuse`; src/backend.c, since 2.7).
SAFE_TO_REUSE = frozenset(("conn-failure", "empty-response", "response-timeout"))


@frozen
class ForwardFor:
    """Holds `option forwardfor [except <net>] [header <name>] [if-none]`."""

    header: str = "X-Forwarded-For"
    except_network: str | None = None
    if_none: bool = False


@frozen
class StatsPage:
    """Holds the `stats` lines of one section. `refresh` is in whole seconds; None: the page does not reload itself.

    `rules` decide who may see it: those of `stats http-request`, or the one that `stats auth` stands for. `admin` are
    the conditions of `stats admin`, one of which must be true for whoever may change something; `scope` the names of
    the sections that are shown, () for all. `node` and `description` are shown at the top: "" stands for what is said
    in `global`, None shows none. `legends`: addresses, cookies and algorithms are shown, too.
    """

    uri: str = "/haproxy?stats"
    refresh: float | None = None
    show_version: bool = False
    users: tuple[User, ...] = ()
    realm: str = ""
    rules: tuple[Rule, ...] = ()
    admin: tuple[Condition, ...] = ()
    scope: tuple[str, ...] = ()
    node: str | None = None
    description: str | None = None
    legends: bool = False


@frozen
class Spread:
    """Says how connections to several nodes behind one address are told apart: by the field `header` (in lower case) of
    answers, or, with "", by the serial number of the certificate."""

    header: str = ""


@frozen
class PoolLimits:
    """Holds the limits of one server's pool: the `pool-*` words and `max-reuse`. Times are in seconds,
    None is no limit.

    `min_conn`: the floor; with `adapts` (`pool-min-conn auto`) the least that it falls to, and `most_floor` the most
    that it rises to; None: see `floor_max`. `max_conn`: idle connections; None: any number, 0: none is kept.
    `max_reuse`: re-uses of a connection; None: any number, 0: one request each. `purge_delay` 0 keeps no idle
    connection above the floor. `connect_rate`: floor dials per second; None: the default. `idle_ping`: seconds of
    idleness after which a connection is pinged; None: never. `most`: connections at once, of every kind
    (`strict-maxconn`: the server's `maxconn`); None: any number. `keep_checks`: HTTP checks leave their connections to
    an empty pool (`check-reuse-pool`; with a floor they always do). `overdue_after`: a connection that is checked out
    and not used for so long is closed; no word sets it. `spread`: how connections are told apart that are to be spread
    over the nodes behind the server's address; None: they are not.
    """

    min_conn: int = 0
    max_conn: int | None = None
    low_conn: int = 0
    purge_delay: float = 5.0
    max_reuse: int | None = None
    idle_timeout: float | None = None
    max_age: float | None = None
    connect_rate: float | None = None
    idle_ping: float | None = None
    keep_checks: bool = False
    most: int | None = None
    overdue_after: float = 60.0
    adapts: bool = False
    most_floor: int | None = None
    spread: Spread | None = None

    @property
    def floor_max(self) -> int | None:
        """Returns what bounds a floor that follows demand: its MAX, `pool-max-conn` and `strict-maxconn`; None: nothing
        does."""
        return min((each for each in (self.most_floor, self.max_conn, self.most) if each is not None), default=None)

    @property
    def most_idle(self) -> float:
        """Returns the largest number of idle connections: HAProxy's `pool-max-conn`, but at least the floor.

        With a `pool-purge-delay` of 0 it is the floor.
        """
        if self.purge_delay == 0:
            return self.min_conn
        return inf if self.max_conn is None else max(self.max_conn, self.min_conn)


@frozen
class RecordBound:
    """Holds the bound of a pool's record (`pool-record`): `bytes` of memory, and the age of its events in seconds
    (None: as old as they come)."""

    bytes: int
    seconds: float | None = None


@frozen
class Check:
    """Holds `check` on a server line. Times are in seconds; `fastinter` and `downinter` None: as `inter`. `port`
    None: that written with `addr`, `addr_port`; without that the server's.

    `sni` None: as the server's, if that is constant. `ssl`: checks use TLS even if the server does not.
    """

    inter: float = 2.0
    fastinter: float | None = None
    downinter: float | None = None
    rise: int = 2
    fall: int = 3
    port: int | None = None
    addr: str | None = None
    addr_port: int | None = None
    sni: str | None = None
    ssl: bool = False
    send_proxy: str = ""

    @property
    def own_port(self) -> int | None:
        """The port of checks that the line says; None: the server's. As in HAProxy, `port` counts before that of
        `addr`, in whatever order they are written."""
        return self.port if self.port is not None else self.addr_port


@frozen
class Server:
    """Holds one `server` line with `default-server` merged in.

    `port` None: none was written. `maxconn` 0: no limit. With `minconn` between 0 and `maxconn`, the limit grows from
    `minconn` to `maxconn` with the backend's load. `maxqueue`: requests that may wait for this server alone; 0: any
    number. kind "tcp": `host` is a literal address, that to which the client has connected if it is "0.0.0.0" or "::",
    or a name to resolve at start; kind "unix": `host` is a path. `sni`
    is set only where it depends on the request (a constant one is in `tls`); `known_name` is then the name that checks
    and the floor use. `send_proxy` is "v1" or "v2" where the PROXY protocol is used, and the checks' `send_proxy`
    likewise. `check_tls` is set where checks use TLS even if the server does not (`check-ssl`);
    `step_tls` are the TLS settings for steps of checks that ask for TLS. `track` names the server
    (backend/server) whose state it has. `ends_when_down`: its requests end when it goes DOWN (`on-marked-down`);
    `ends_backups_when_up`: those of backup servers when it is UP again. `id` is its number,
    from 1 on; `hash_key` says from what its nodes are computed (`hash-type consistent`). `slowstart`: seconds until it
    has its full share when it comes back. `warm_up`: seconds that its floor has to fill when it has come up, before its
    full weight counts in any case; 0: that counts at once. `standby`: the floor while it stands by for others; None:
    `pool.min_conn`, as ever. `resolution` says how a name gets its addresses; the names of SRV records
    begin with an underscore, and need no `port`. `cookie` is its value of the backend's persistence cookie; None: none
    was written. `non_stick`: `stick` rules store nobody at it. `revocations` says where the lists of the `crl_file` of
    its TLS are fetched; None: nowhere. `template` is the prefix of the
    `server-template` that it is of, "" for none.
    """

    name: str
    place: Place
    host: str
    port: int | None = None
    kind: str = "tcp"
    #: It is added to the port to which the client has connected; None: the server has a port of its own.
    mapped: int | None = None
    weight: int = 1
    backup: bool = False
    disabled: bool = False
    minconn: int = 0
    maxconn: int = 0
    maxqueue: int = 0
    check: Check | None = None
    tls: ServerTLS | None = None
    pool: PoolLimits = PoolLimits()
    sni: Expression | None = None
    #: What else of its TLS depends on the request, and which identities are known beforehand; None: nothing, and none.
    identities: IdentityRule | None = None
    pool_conn_name: Expression | None = None
    known_name: str | None = None
    check_tls: ServerTLS | None = None
    step_tls: ServerTLS | None = None
    observe: Observe | None = None
    agent: Agent | None = None
    track: str = ""
    init_state: str = "up"
    ends_when_down: bool = False
    ends_backups_when_up: bool = False
    send_proxy: str = ""
    #: What the PROXY header of version 2 says besides (`proxy-v2-options`).
    proxy_options: frozenset[str] = frozenset()
    #: What is added to it: types and values of TLVs.
    extensions: tuple[tuple[int, Format], ...] = ()
    id: int = 0
    guid: str = ""
    hash_key: str = "id"
    slowstart: float = 0.0
    warm_up: float = WARM_UP
    standby: int | None = None
    resolution: Resolution = AT_THE_START
    cookie: str | None = None
    non_stick: bool = False
    revocations: Revocations | None = None

    #: What happens to its pool is recorded, within this bound (`pool-record`); None: it is not.
    record: RecordBound | None = None
    #: The networks in which its address must be when it is dialled, and "public" for all public ones; (): any.
    reach: tuple[str, ...] = ()
    #: Seconds for which bytes sent to it may be unacknowledged (`tcp-ut`); 0: as many as the system allows.
    user_timeout: float = 0.0
    #: From where its connections come (`source`); None: as its section says.
    source: OwnEnd | None = None
    #: Its algorithm of congestion control (`cc`); "": the system's.
    congestion: str = ""
    #: No file names it: it was added while the daemon ran (`add server`).
    added: bool = False
    template: str = ""

    def called(self, backend: str) -> str:
        """Returns what faults call it: those of a template's servers are the template's."""
        return f"server-template {backend}/{self.template}" if self.template else f"server {backend}/{self.name}"


#: The option by which PROXY headers say the ID of a request (`proxy-v2-options`).
UNIQUE_ID = "unique-id"
#: The options that end each connection to a server with its first answer, by what `connection_mode` they set.
ENDING_OPTIONS = {"server-close": "option http-server-close", "close": "option httpclose"}


@frozen
class Frontend:
    """Holds a `frontend`, or the front half of a `listen`.

    `connection_mode`: "keep-alive" (default), "server-close" or "close" (option httpclose). `log_format`: "httplog",
    "tcplog" and its like, "custom", or "default" for the short line that HAProxy writes without an option.
    `inspect_delay`: seconds that rules may wait for what a client sends first. `logs` receive its access log,
    `event_logs` the events of the frontend itself. `unique_id` is `unique-id-format`, whose text is added to requests
    as `unique_id_header`, unless that is "". `session_rate`: clients that it accepts in a second; 0: any number.
    `errors` are pages in place of the proxy's own. `uses_proxy_header`: clients that ask for more than a path log in to
    it as to their proxy (`option http-use-proxy-header`).
    """

    name: str
    place: Place
    mode: str = "tcp"
    binds: tuple[Bind, ...] = ()
    default_backend: str | None = None
    use_backends: tuple[UseBackend, ...] = ()
    maxconn: int = 0
    session_rate: int = 0
    timeouts: Timeouts = Timeouts()
    connection_mode: str = "keep-alive"
    forwardfor: ForwardFor | None = None
    logs: tuple[LogTarget, ...] = ()
    event_logs: tuple[LogTarget, ...] = ()
    log_format: str = "default"
    log: LogSettings = NO_LOG
    captures: Captures = NO_CAPTURES
    unique_id: Format | None = None
    unique_id_header: str = ""
    dontlognull: bool = False
    #: Who has sent nothing gets no answer and no line in the log (`option http-ignore-probes`).
    ignores_probes: bool = False
    #: Each listener has counters of its own.
    socket_stats: bool = False
    #: What statistics say of the section.
    description: str = ""
    #: Its number, which no other section has; 0: it has none (`id`).
    id: int = 0
    clitcpka: bool = False
    #: How it then probes silent clients.
    keep_alive: KeepAlive = AS_THE_SYSTEM
    disabled: bool = False
    stats: StatsPage | None = None
    monitor_uri: str = ""
    inspect_delay: float | None = None
    rules: Rules = NO_RULES
    #: Its rules wait for the body of each request (`option http-buffer-request`).
    buffers_request: bool = False
    #: None: answers go on as servers send them.
    compression: Compression | None = None
    #: What becomes of request headers whose names are not of letters, digits and hyphens: HAProxy's word.
    restricts_names: str = "preserve"
    #: Tells servers to which address the client has connected; None: they are not told.
    originalto: ForwardFor | None = None
    errors: tuple[ErrorPage, ...] = ()
    uses_proxy_header: bool = False
    #: Names of headers are spelled for clients as the section `global` says.
    spells_for_clients: bool = False


@frozen
class Backend:
    """Holds a `backend`, or the back half of a `listen`.

    `http_reuse`: never, safe, aggressive or always; None when the word is unset (a safe default applies). `retry_on`
    are the words of that line ("503" for a status) with "all-retryable-errors" written out. `redispatch` n: every n-th
    retry goes to another server; -n: only the n-th retry from the last; 0: never. `fullconn`: requests at which servers
    with a `minconn` reach their `maxconn`; 0: a tenth of its frontends' `maxconn`. `http_check` is a check of one
    request, `check_plan` any other; without both a check is a connection (and a TLS handshake) only.
    `upgrade_with_body`: its servers read the body of a request that offers
    another protocol. `abortonclose`: a client that closes its sending side has given up its request; None: only one
    that no server has been sent yet; False: none. `prefer_last`: a client's next request goes to the server of the one
    before, where a connection is ready; `max_keep_alive_queue`: if that server is full, where fewer than so many others
    wait there (-1: any number). `prefer_warm`: among equal servers one with a connection that is ready comes first.
    `inspect_delay` and `response_delay`: seconds that rules may wait for what a client, or a server, sends first.
    `event_logs` receive the events of its servers, with `log_tag` unless that is "". `cookie` None: there is no
    persistence cookie. `persist`: a cookie's server gets its requests though it is out of service. `errors` are pages
    in place of the proxy's own and of the frontend's. `of_listen`: it is a half of a section.
    """

    name: str
    place: Place
    mode: str = "tcp"
    of_listen: bool = False
    balance: Balance = _ROUND_ROBIN
    hash_type: HashType = _MAP_BASED
    servers: tuple[Server, ...] = ()
    timeouts: Timeouts = Timeouts()
    connection_mode: str = "keep-alive"
    forwardfor: ForwardFor | None = None
    http_reuse: str | None = None
    retries: int = 3
    retry_on: frozenset[str] = frozenset(("conn-failure",))
    #: None: no request is sent a second time before the first has failed.
    hedge: Hedge | None = None
    redispatch: int = 0
    allbackups: bool = False
    prefer_last: bool = False
    max_keep_alive_queue: int = -1
    prefer_warm: bool = True
    #: Each request goes to the server whose address it names, and to no other.
    egress: bool = False
    use_servers: tuple[UseServer, ...] = ()
    abortonclose: bool | None = None
    upgrade_with_body: bool = False
    #: Servers are not told that their connection ends (`option http-pretend-keepalive`).
    pretends_keepalive: bool = False
    #: Names of headers are spelled for servers as the section `global` says.
    spells_for_servers: bool = False
    #: The header that tells a server its name (`http-send-name-header`); "": none does.
    name_header: str = ""
    fullconn: int = 0
    #: How silent connections to its servers are probed.
    keep_alive: KeepAlive = AS_THE_SYSTEM
    #: From where connections to servers come whose lines say nothing of it.
    source: OwnEnd = ANYWHERE
    http_check: HTTPCheck | None = None
    check_plan: CheckPlan | None = None
    log_health_checks: bool = False
    #: What statistics say of the section.
    description: str = ""
    #: Its number, which no other section has; 0: it has none (`id`).
    id: int = 0
    disabled: bool = False
    stats: StatsPage | None = None
    event_logs: tuple[LogTarget, ...] = ()
    log_tag: str = ""
    rules: Rules = NO_RULES
    #: Its rules wait for the body of each request (`option http-buffer-request`).
    buffers_request: bool = False
    #: None: answers go on as servers send them.
    compression: Compression | None = None
    #: What becomes of request headers whose names are not of letters, digits and hyphens: HAProxy's word.
    restricts_names: str = "preserve"
    #: Tells servers to which address the client has connected; None: they are not told.
    originalto: ForwardFor | None = None
    #: What servers are told by RFC 7239; None: nothing.
    forwarded: Forwarded | None = None
    cookie: Cookie | None = None
    dynamic_cookie_key: str = ""
    persist: bool = False
    inspect_delay: float | None = None
    response_delay: float | None = None
    errors: tuple[ErrorPage, ...] = ()
    #: Where its servers' states are read from at the start: "none", "global" (the file that the global section names)
    #: or "local" (`state_file`, or one with the name of the section).
    state_from: str = "none"
    state_file: str = ""

    def redispatches(self, retry: int) -> bool:
        """Tells whether this retry (the first is 1) goes to another server."""
        if self.redispatch > 0:
            return retry % self.redispatch == 0
        return self.redispatch < 0 and retry == self.retries + 1 + self.redispatch

    @property
    def ending_option(self) -> str:
        """Returns the option that ends each connection to its servers with its first answer; "" without one."""
        return ENDING_OPTIONS.get(self.connection_mode, "") if self.mode == "http" else ""


@frozen
class StatsSocket:
    """Holds a `stats socket` line of the global section: where it listens, and what who connects may do, "user",
    "operator" or "admin". `exposes`: it hands the listening sockets to a process that takes this one's place.
    `severities`: how the severity of messages is shown, "none", "number" or "string". `product`: the name that
    `show info` says, "" for our own."""

    bind: Bind
    level: str = "operator"
    exposes: bool = False
    severities: str = "none"
    product: str = ""


@frozen
class Manhole:
    """Holds `manhole <address> authorized-keys <file> [host-key <file>]` of the global section;
    HAProxy has no such keyword."""

    place: Place
    address: ListenAddress
    authorized_keys: str
    host_key: str


@frozen
class Said:
    """Holds a word of the configuration with its argument, to be checked by another part of the program."""

    place: Place
    word: str
    value: str


@frozen
class Global:
    """Holds the `global` section. `maxconn` None: what the file descriptor limit allows. `hard_stop_after`
    None: no limit. `spread_checks` is in percent. `stats_timeout`: seconds that a session at a stats socket may be
    idle; `stats_maxconn`: sessions at all of them. `rates`: most clients in a second, by the word ("maxconnrate").
    `maxsslconn`: most clients over TLS at once; 0: as many as clients. `node` and `description` are what statistics
    pages say of this machine, where they are asked to; "": the host's name, and nothing. `log_host` is the host's name
    in the lines of the log: `logs.THIS_HOST`, another one, or "" for none.

    Keywords that HAProxy does not have: `pool_connect_rate`, handshakes per second for the floors of all servers
    together; `pool_warm_start`, the most seconds that the listeners wait for all floors at the start, None: not at all;
    `workload_api` has the address of the agent that is asked for our certificate (`spiffe-workload-api`).
    `ssl_watch`, seconds between two checks of the TLS files for changes, None: no checks.
    """

    maxconn: int | None = None
    user: Said | None = None
    group: Said | None = None
    chroot: Said | None = None
    logs: tuple[LogTarget, ...] = ()
    log_tag: str = "reusedproxy"
    log_host: str = ""
    hard_stop_after: float | None = None
    bufsize: int = 16384
    maxrewrite: int = 1024
    maxhdr: int = 101
    any_method_with_body: bool = False
    stats_sockets: tuple[StatsSocket, ...] = ()
    stats_timeout: float = 10.0
    stats_maxconn: int = 10
    rates: tuple[tuple[str, int], ...] = ()
    maxsslconn: int = 0
    node: str = ""
    description: str = ""
    #: Names of headers in lower case, and how they are spelled where that is asked for; and a file with more of them.
    spelling: tuple[tuple[str, str], ...] = ()
    spelling_file: Said | None = None
    #: The variables of the environment, with those that the configuration has set.
    environment: tuple[tuple[str, str], ...] = field(default=(), eq=False, repr=False)
    manhole: Manhole | None = None
    pool_connect_rate: float = 200.0
    pool_warm_start: float | None = None
    ssl_watch: float | None = None
    workload_api: Said | None = None
    #: The directory of chains for certificates whose files have none (`issuers-chain-path`).
    issuers: Said | None = None
    #: What `crt-store` sections have defined.
    stored_certificates: tuple[StoredCertificate, ...] = ()
    spread_checks: int = 0
    #: Families of addresses that name servers are asked for; "auto": IPv4, and IPv6 where this machine has a route.
    accepted_families: tuple[str, ...] = ("auto",)
    #: The file with the states of servers, and the directory of files whose paths are relative.
    state_file: str = ""
    state_base: str = ""
    #: What sets variables of the process, in order (`config.rules.actions.SetVariable`).
    variables: tuple[Rule, ...] = ()


class ReadsServers(Protocol):
    """Defines who reads the words of a server that is added while the daemon runs."""

    def read(
        self, configuration: Configuration, backend: str, name: str, words: Sequence[str]
    ) -> tuple[Server, tuple[Notice, ...]]:
        """Returns a server for this backend of the `configuration` in force, with this name, and what is to be said of
        its words; the first is its address. Raises `report.Wrong`."""


@frozen
class Configuration:
    """Holds the whole configuration: frontends, backends, `resolvers` and `userlist` sections and stick tables by name,
    in the order written; `notices` in the order of their lines."""

    global_: Global = Global()
    frontends: dict[str, Frontend] = field(factory=dict)
    backends: dict[str, Backend] = field(factory=dict)
    resolvers: dict[str, Resolvers] = field(factory=dict)
    user_lists: dict[str, UserList] = field(factory=dict)
    tables: dict[str, StickTable] = field(factory=dict)
    notices: tuple[Notice, ...] = ()
    #: Counts the words that are done, and those that do nothing here.
    summary: str = ""
    #: The servers ("backend/server") that rules name, so that they cannot be deleted.
    named_servers: frozenset[str] = frozenset()
    #: Reads servers that are added (`add server`); None where no `stats socket` may order that.
    added_servers: ReadsServers | None = field(default=None, eq=False, repr=False)
