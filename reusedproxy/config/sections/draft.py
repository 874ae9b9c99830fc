"""Holds the settings of one proxy section while it is read, before fallbacks are applied and names are checked.

A `defaults` section is a draft, too; a proxy begins as a copy of it. Only `finish` turns drafts into the model's
values.
"""

from __future__ import annotations

from attrs import Factory, define, evolve, frozen

from reusedproxy.config.checks.steps import Drafted
from reusedproxy.config.model.balance import Balance, HashType, UseServer
from reusedproxy.config.model.bandwidth import Bandwidth
from reusedproxy.config.model.checks import Hello, HTTPCheck
from reusedproxy.config.model.compression import Compression
from reusedproxy.config.model.forwarded import Forwarded
from reusedproxy.config.model.hedging import Hedge
from reusedproxy.config.model.logs import LogTarget, Slot
from reusedproxy.config.model.persistence import Cookie
from reusedproxy.config.model.proxies import ForwardFor, StatsPage, Timeouts
from reusedproxy.config.model.rules import Criterion, Format, Rule, UseBackend
from reusedproxy.config.model.sockets import ANYWHERE, AS_THE_SYSTEM, KeepAlive, OwnEnd
from reusedproxy.config.model.tables import StickTable
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.acls import resolved
from reusedproxy.config.sections.binds import BindDraft, UnixDefaults
from reusedproxy.config.sections.errors import ErrorLine
from reusedproxy.config.sections.server_words import ServerWords
from reusedproxy.config.sections.servers import ServerDraft
from reusedproxy.config.tls.words import TLSDefaults

SIDES = {"frontend": "F", "backend": "B", "listen": "FB", "defaults": "FB"}


@frozen
class Reference:
    """Holds a backend's name, and the place where it is used."""

    place: Place
    name: str


@frozen
class FormatLine:
    """Holds a log-format string of a line of its own."""

    place: Place
    format: Format


@define
class ProxyDraft:
    """Holds one `defaults`, `frontend`, `backend` or `listen` section while it is read.

    `said` maps each setting ("mode", "option httpchk", "timeout client") to its place, faulty lines included, so that a
    faulty line causes no further faults. `own` is the part of it from this section itself, `unreadable` the faulty
    part. None means "not set".
    """

    kind: str
    name: str
    place: Place
    said: dict[str, Place] = Factory(dict)
    own: set[str] = Factory(set)
    unreadable: set[str] = Factory(set)
    mode: str | None = None
    binds: list[BindDraft] = Factory(list)
    backlog: int = 0
    maxconn: int = 0
    session_rate: int = 0
    default_backend: Reference | None = None
    use_backends: list[UseBackend] = Factory(list)
    acls: dict[str, list[Criterion]] = Factory(dict)
    request_rules: list[Rule] = Factory(list)
    response_rules: list[Rule] = Factory(list)
    after_rules: list[Rule] = Factory(list)
    redirects: list[Rule] = Factory(list)
    connection_rules: list[Rule] = Factory(list)
    session_rules: list[Rule] = Factory(list)
    content_rules: list[Rule] = Factory(list)
    response_content_rules: list[Rule] = Factory(list)
    inspect_delay: float | None = None
    response_delay: float | None = None
    monitor_uri: str = ""
    monitor_fails: list[Rule] = Factory(list)
    persist_rules: list[Rule] = Factory(list)
    stick_table: StickTable | None = None
    stick_rules: list[Rule] = Factory(list)
    servers: list[ServerDraft] = Factory(list)
    default_server: ServerWords = Factory(ServerWords)
    timeouts: Timeouts = Factory(Timeouts)
    connection_mode: str | None = None
    forwardfor: ForwardFor | None = None
    logs: list[LogTarget] = Factory(list)
    log_global: bool = False
    # The section has a `log` or `no log` line, or inherits one.
    log_said: bool = False
    #: "httplog", "httpslog", "tcplog", the first and the last also with " clf", "custom" (`log-format`), or "default"
    #: without any of these.
    log_format: str = "default"
    #: What `log-format` says, and its like: `log-format-sd`, `error-log-format`, `unique-id-format`.
    formats: dict[str, FormatLine] = Factory(dict)
    log_tag: str = ""
    unique_id_header: str = ""
    captured: dict[str, list[Slot]] = Factory(lambda: {"request": [], "response": []})
    captured_cookie: tuple[str, int] = ("", 0)
    dontlognull: bool = False
    dontlog_normal: bool = False
    logasap: bool = False
    log_separate_errors: bool = False
    socket_stats: bool = False
    description: str = ""
    #: Its number; 0: none was said, and it gets one at the end (`finish.number`).
    id: int = 0
    clitcpka: bool = False
    client_keep_alive: KeepAlive = AS_THE_SYSTEM
    server_keep_alive: KeepAlive = AS_THE_SYSTEM
    source: OwnEnd = ANYWHERE
    uses_proxy_header: bool = False
    balance: Balance = Factory(Balance)
    hash_type: HashType = Factory(HashType)
    http_reuse: str | None = None
    retries: int = 3
    retry_on: frozenset[str] = frozenset(("conn-failure",))
    hedge: Hedge | None = None
    redispatch: int = 0
    allbackups: bool = False
    prefer_last: bool = False
    max_keep_alive_queue: int = -1
    prefer_warm: bool = True
    egress: bool = False
    use_servers: list[UseServer] = Factory(list)
    abortonclose: bool | None = None
    upgrade_with_body: bool = False
    buffers_request: bool = False
    ignores_probes: bool = False
    pretends_keepalive: bool = False
    h1_case_adjust_bogus_client: bool = False
    h1_case_adjust_bogus_server: bool = False
    restricts_names: str = "preserve"
    originalto: ForwardFor | None = None
    forwarded: Forwarded | None = None
    name_header: str = ""
    cookie: Cookie | None = None
    compression: Compression | None = None
    bandwidths: dict[str, Bandwidth] = Factory(dict)
    dynamic_cookie_key: str = ""
    persist: bool = False
    fullconn: int = 0
    state_from: str = "none"
    state_file: str = ""
    httpchk: HTTPCheck | None = None
    #: The check of another option, which counts in place of `httpchk`.
    hello: Hello | None = None
    #: The program of `option external-check`, and its PATH.
    check_command: str = ""
    check_path: str = ""
    http_steps: list[Drafted] = Factory(list)
    tcp_steps: list[Drafted] = Factory(list)
    # The section itself has a line about HTTP checks, or about TCP checks.
    own_checks: bool = False
    own_tcp_checks: bool = False
    disable_on_404: bool = False
    send_state: bool = False
    log_health_checks: bool = False
    disabled: bool = False
    stats: StatsPage | None = None
    # The section itself has a line about its statistics page; what it then does not inherit.
    own_stats: bool = False
    inherited_stats: StatsPage | None = None
    #: In the order written; those of `defaults` come first.
    errors: list[ErrorLine] = Factory(list)
    # The section's head was faulty: inherited settings may be missing, so no missing setting is reported.
    head_faulty: bool = False
    # TLS defaults from the global sections before the current line.
    tls: TLSDefaults = Factory(TLSDefaults)
    # What `unix-bind` has said before the current line.
    unix: UnixDefaults = Factory(UnixDefaults)

    @property
    def sides(self) -> str:
        """Returns "F" when clients connect to the section, "B" when it has servers, both for
        `listen` (and `defaults`)."""
        return SIDES[self.kind]

    @property
    def tcp(self) -> bool:
        """Tells whether the section is in mode tcp, which is the default, as in HAProxy."""
        return self.mode != "http" and "mode" not in self.unreadable

    @property
    def title(self) -> str:
        return f"{self.kind} '{self.name}'" if self.name else f"this '{self.kind}' section"

    def say(self, what: str, place: Place) -> None:
        self.said[what] = place
        self.own.add(what)

    def lose(self, what: str, place: Place) -> None:
        """Records a setting whose line cannot be read."""
        self.say(what, place)
        self.unreadable.add(what)

    def settle(self) -> None:
        """Applies what depends on the section's mode, once all of its lines have been read: without requests there is
        no name in them (`sni-auto`)."""
        for server in self.servers:
            server.words.any_name = not server.words.sni_auto
            if self.tcp:
                server.words.sni_auto = False

    def ground(self) -> Ground:
        """Returns what the section says to its `server` lines, for one that is added while the daemon runs."""
        return Ground(
            self.name,
            self.place,
            self.mode or "tcp",
            self.said.get("option httpchk"),
            self.egress,
            self.cookie,
            self.httpchk,
            self.hello,
            self.check_command,
            self.check_path,
            self.id,
            tuple(self.http_steps),
            tuple(self.tcp_steps),
            self.disable_on_404,
            self.send_state,
            self.tls,
        )

    def begin_checks(self) -> None:
        """Resets the HTTP check inherited from `defaults`; in HAProxy a section's first own line about checks does so.

        An inherited `option httpchk` still makes the checks HTTP checks.
        """
        if not self.own_checks:
            self.own_checks = True
            self.httpchk = None if self.httpchk is None else HTTPCheck()
            self.http_steps = []

    def begin_tcp_checks(self) -> None:
        """Drops the `tcp-check` lines inherited from `defaults`, before the section's first own one."""
        if not self.own_tcp_checks:
            self.own_tcp_checks = True
            self.tcp_steps = []

    def heir(self, kind: str, name: str, place: Place) -> ProxyDraft:
        """Returns a new section that begins with the settings of this one (a `defaults`).

        Inherited rules keep their own ACLs, which the new section cannot see (manual, section 4.2, "acl"): otherwise a
        name defined in both sections would extend the rules of either.
        """

        def rules(own: list[Rule]) -> list[Rule]:
            return [resolved(rule, self.acls) for rule in own]

        return evolve(
            self,
            kind=kind,
            name=name,
            place=place,
            said=dict(self.said),
            own=set(),
            unreadable=set(self.unreadable),
            binds=[],
            use_backends=[],
            acls={},
            request_rules=rules(self.request_rules),
            response_rules=rules(self.response_rules),
            after_rules=rules(self.after_rules),
            redirects=[],
            use_servers=[],
            connection_rules=rules(self.connection_rules),
            session_rules=rules(self.session_rules),
            content_rules=rules(self.content_rules),
            response_content_rules=rules(self.response_content_rules),
            monitor_fails=[],
            persist_rules=[],
            bandwidths={},
            stick_table=None,
            stick_rules=[],
            servers=[],
            own_checks=False,
            own_tcp_checks=False,
            own_stats=False,
            inherited_stats=None,
            http_steps=list(self.http_steps),
            tcp_steps=list(self.tcp_steps),
            default_server=self.default_server.copy(),
            logs=list(self.logs),
            formats=dict(self.formats),
            captured={"request": [], "response": []},
            captured_cookie=("", 0),
            errors=list(self.errors),
        )


@frozen
class Ground:
    """Holds what a section says to `server` lines, but for `default-server`. `asks_http` is the place of its `option
    httpchk`. It is kept for each backend as long as the configuration is in force, where a draft would be 5 kB."""

    name: str
    place: Place
    mode: str
    asks_http: Place | None
    egress: bool
    cookie: Cookie | None
    httpchk: HTTPCheck | None
    hello: Hello | None
    check_command: str
    check_path: str
    id: int
    http_steps: tuple[Drafted, ...]
    tcp_steps: tuple[Drafted, ...]
    disable_on_404: bool
    send_state: bool
    tls: TLSDefaults

    def section(self) -> ProxyDraft:
        """Returns a section that says the same to `server` lines of its own. It has no servers, no rules, and nothing
        for clients."""
        return ProxyDraft(
            "backend",
            self.name,
            self.place,
            said={} if self.asks_http is None else {"option httpchk": self.asks_http},
            mode=self.mode,
            egress=self.egress,
            cookie=self.cookie,
            httpchk=self.httpchk,
            hello=self.hello,
            check_command=self.check_command,
            check_path=self.check_path,
            id=self.id,
            http_steps=[*self.http_steps],
            tcp_steps=[*self.tcp_steps],
            disable_on_404=self.disable_on_404,
            send_state=self.send_state,
            tls=self.tls,
        )
