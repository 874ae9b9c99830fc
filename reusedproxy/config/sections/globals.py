"""Parses the `global` section, and the environment words, which change how later lines are read."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from attrs import Factory, define, evolve

from reusedproxy.config.language import haproxy_words, hints, units
from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.files import based_path
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, nearest, not_done, one_of
from reusedproxy.config.language.statuses import read_statuses
from reusedproxy.config.model.logs import THIS_HOST, LogTarget
from reusedproxy.config.model.proxies import Global, Manhole, Said, StatsSocket
from reusedproxy.config.model.rules import Rule
from reusedproxy.config.model.tables import Judged
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.process import read_variable_line
from reusedproxy.config.sections.binds import UnixDefaults, read_unix_bind
from reusedproxy.config.sections.logs import log_target
from reusedproxy.config.sections.names import families
from reusedproxy.config.sections.spelling import respelled
from reusedproxy.config.sections.stats_sockets import is_loopback, one_address, read_stats_socket
from reusedproxy.config.tls.words import IN_DEFAULTS, IN_SERVER_DEFAULTS, TLSDefaults, read_options

OUR_WORDS = frozenset({"manhole", "pool-connect-rate", "pool-warm-start", "spiffe-workload-api", "ssl-watch"})
# HAProxy's own limit for tune.http.maxhdr.
_MOST_HEADERS = 32767
# Every client may fill a buffer of this size with its request head, and each head is parsed in one reactor turn.
_LARGEST_BUFFER = 1 << 24
# HAProxy's bounds for words without effect here (tested with 2.6): a value that HAProxy refuses is refused here, too.
_BOUNDS = {
    "tune.comp.maxlevel": (1, 9),
    "tune.fail-alloc": (0, 100),
    "tune.h2.header-table-size": (4096, 65536),
    "tune.h2.initial-window-size": (0,),
    "tune.h2.max-concurrent-streams": (0,),
    "tune.h2.max-frame-size": (16384, 16777215),
    "tune.idletimer": (0, 65535),
    "tune.maxaccept": (-1,),
    "tune.pattern.cache-size": (0,),
    "tune.peers.max-updates-at-once": (1,),
    "tune.pool-high-fd-ratio": (0, 100),
    "tune.pool-low-fd-ratio": (0, 100),
    "tune.ssl.maxrecord": (0,),
    "tune.ssl.ssl-ctx-cache-size": (0,),
    **{f"tune.vars.{scope}-max-size": (0,) for scope in ("check", "global", "proc", "reqres", "sess", "txn")},
}

#: Where relative paths begin (`default-path`).
_POLICIES = ("current", "config", "parent", "origin")


@define
class GlobalDraft:
    """Holds the settings of the `global` sections read so far; several sections add up, as in HAProxy."""

    report: Report
    environment: dict[str, str]
    maxconn: int | None = None
    user: Said | None = None
    group: Said | None = None
    chroot: Said | None = None
    logs: list[LogTarget] = Factory(list)
    log_host: str = ""
    log_tag: str = "reusedproxy"
    hard_stop_after: float | None = None
    spelling: dict[str, str] = Factory(dict)
    spelling_file: Said | None = None
    #: What `default-path` says, and the directory behind it.
    files_at: tuple[str, str] = "current", ""
    bufsize: int = 16384
    maxrewrite: int = 1024
    maxhdr: int = 101
    any_method_with_body: bool = False
    stats_sockets: list[StatsSocket] = Factory(list)
    #: A line has said something of the runtime API.
    has_runtime_api: bool = False
    stats_timeout: float = 10.0
    stats_maxconn: int = 10
    #: Most clients in a second, by the word.
    rates: dict[str, int] = Factory(dict)
    maxsslconn: int = 0
    node: str = ""
    description: str = ""
    state_base: str = ""
    state_file: str = ""
    #: The name of this machine in `peers` sections; "": none is said.
    local_peer: str = ""
    #: Counters of a connection, and of a request (`track-sc0`).
    stick_counters: int = 3
    #: Which statuses of answers are errors, and which are failures (`http-err-codes`, `http-fail-codes`).
    judged: Judged = Factory(Judged)
    manhole: Manhole | None = None
    pool_connect_rate: float = 200.0
    pool_warm_start: float | None = None
    ssl_watch: float | None = None
    #: "on" or "preserve-env" where programs may be run as checks.
    external_check: str = ""
    #: Whether these may have rights that the daemon has not (`insecure-setuid-wanted`).
    gains_rights: bool = False
    workload_api: Said | None = None
    issuers: Said | None = None
    spread_checks: int = 0
    accepted_families: tuple[str, ...] = ("auto",)
    server_verify: str = "required"
    #: TLS defaults for the lines that follow.
    tls: TLSDefaults = Factory(TLSDefaults)
    #: Likewise, of unix sockets.
    unix: UnixDefaults = Factory(UnixDefaults)
    said: dict[str, Place] = Factory(dict)
    #: The lines that set variables of the process.
    variables: list[Rule] = Factory(list)
    #: Words whose line could not be read.
    unreadable: set[str] = Factory(set)

    def read(self, line: Line) -> None:
        """Reads one line of a `global` section. Raises Wrong."""
        try:
            self._read(line)
        except Wrong:
            self.unreadable.add(line.keyword if line.keyword in _READERS else nearest(line.keyword, _READERS) or "")
            raise

    def _read(self, line: Line) -> None:
        word = line.keyword
        if line.prefix:
            self._prefixed(line)
        elif word in _READERS:
            self.said.setdefault(word, line.place)
            _READERS[word](self, line)
        elif word in haproxy_words.GLOBAL_BY_TWISTD:
            self.report.by_twistd.setdefault(word, line)
        elif word in haproxy_words.GLOBAL_BY_SERVICE_MANAGER:
            text = (
                f"'{word}' is not applied: give the limit where the daemon is started"
                " (LimitNOFILE= of systemd, ulimit -n)"
            )
            self.report.notice(line.place, text)
        elif without_effect(word):
            if word in _BOUNDS:
                units.integer(line.one_argument("a number"), f"'{word}'", *_BOUNDS[word])
            self.report.without_effect(word, line.place)
        else:
            raise Wrong(_not_a_keyword(line))

    def _prefixed(self, line: Line) -> None:
        if line.keyword == "log" and not line.arguments:
            self.logs.clear()
        elif line.keyword in (
            "busy-polling",
            "set-dumpable",
            "strict-limits",
            "insecure-fork-wanted",
            "numa-cpu-mapping",
        ):
            self.report.without_effect(line.keyword, line.place)
        else:
            raise Wrong(f"'{line.prefix}' cannot stand before '{line.keyword}' in section 'global'")

    def enter_file(self, name: str) -> None:
        """Finds where relative paths begin in this file of the configuration (`default-path`)."""
        policy, origin = self.files_at
        if policy in ("config", "parent"):
            origin = posixpath.dirname(name) or "."
        if policy == "parent":
            origin += "/.."
        self.tls = evolve(self.tls, files=origin)

    def finished(self) -> Global:
        if self.maxrewrite >= self.bufsize and not self.unreadable & {"tune.bufsize", "tune.maxrewrite"}:
            # HAProxy halves it silently; here a warning says so.
            place = self.said.get("tune.maxrewrite") or self.said["tune.bufsize"]
            self.maxrewrite = self.bufsize // 2
            text = f"'tune.maxrewrite' has to be less than 'tune.bufsize' ({self.bufsize}): {self.maxrewrite} is taken"
            self.report.warn(place, text)
        return Global(
            maxconn=self.maxconn,
            user=self.user,
            group=self.group,
            chroot=self.chroot,
            logs=tuple(self.logs),
            log_tag=self.log_tag,
            log_host=self.log_host,
            hard_stop_after=self.hard_stop_after,
            bufsize=self.bufsize,
            maxrewrite=self.maxrewrite,
            maxhdr=self.maxhdr,
            any_method_with_body=self.any_method_with_body,
            stats_sockets=tuple(self.stats_sockets),
            stats_timeout=self.stats_timeout,
            stats_maxconn=self.stats_maxconn,
            rates=tuple((word, most) for word, most in self.rates.items() if most),
            maxsslconn=self.maxsslconn,
            node=self.node,
            description=self.description,
            state_base=self.state_base,
            state_file=self.state_file,
            environment=tuple(self.environment.items()),
            manhole=self.manhole,
            pool_connect_rate=self.pool_connect_rate,
            pool_warm_start=self.pool_warm_start,
            ssl_watch=self.ssl_watch,
            workload_api=self.workload_api,
            issuers=self.issuers,
            stored_certificates=(*self.tls.stored.values(),),
            spread_checks=self.spread_checks,
            accepted_families=self.accepted_families,
            spelling=tuple(self.spelling.items()),
            spelling_file=self.spelling_file,
            variables=tuple(self.variables),
        )


def without_effect(word: str) -> bool:
    return word in haproxy_words.GLOBAL_WITHOUT_EFFECT or word.startswith(haproxy_words.GLOBAL_WITHOUT_EFFECT_PREFIXES)


def _not_a_keyword(line: Line) -> str:
    word = line.keyword
    if word in haproxy_words.GLOBAL:
        return not_done(word, hint=HINTS.get(f"global {word}", "") or HINTS.get(word, ""))
    text = f"unknown keyword '{word}' in section 'global'"
    if hint := hints.for_unknown_word(line):
        return text + hint
    if word in haproxy_words.PROXY:
        return f"{text}: it belongs in a 'defaults', 'frontend', 'backend' or 'listen' section"
    if nearest(word, _READERS):
        return text + did_you_mean(word, _READERS)
    return text + did_you_mean(word, haproxy_words.GLOBAL | haproxy_words.SECTIONS)


def _log(draft: GlobalDraft, line: Line) -> None:
    if line.arguments[:1] == ("global",):
        raise Wrong("'log global' belongs in a proxy or 'defaults' section; here write where to log to")
    draft.logs.append(log_target(line))


def _log_tag(draft: GlobalDraft, line: Line) -> None:
    draft.log_tag = line.one_argument("a word")


def _log_send_hostname(draft: GlobalDraft, line: Line) -> None:
    line.at_most(1)
    draft.log_host = line.words[1] if line.arguments else THIS_HOST


def _maxconn(draft: GlobalDraft, line: Line) -> None:
    if draft.said["maxconn"] != line.place:
        raise Wrong(f"'maxconn' stands already at {draft.said['maxconn']}")
    # With 0 HAProxy determines a value by itself.
    draft.maxconn = units.integer(line.one_argument("a number of connections"), "'maxconn'") or None


def _user(draft: GlobalDraft, line: Line) -> None:
    """Reads `user` or `uid`, `group` or `gid`: the first of each pair counts, as in HAProxy. Raises Wrong."""
    word = line.keyword
    value = line.one_argument("a name" if word in ("user", "group") else "a number")
    if word in ("uid", "gid"):
        units.integer(value, f"'{word}'", 0, 2**32 - 2)
    said = Said(line.place, word, value)
    before = draft.user if word in ("user", "uid") else draft.group
    if before is not None:
        draft.report.warn(line.place, f"'{word}' is ignored: '{before.word}' stands already at {before.place}")
    elif word in ("user", "uid"):
        draft.user = said
    else:
        draft.group = said


def _chroot(draft: GlobalDraft, line: Line) -> None:
    draft.chroot = Said(line.place, "chroot", line.one_argument("a directory"))


def _stats(draft: GlobalDraft, line: Line) -> None:
    word = line.words[1] if line.arguments else ""
    if word not in haproxy_words.STATS_GLOBAL:
        raise Wrong(
            f"'stats' in section 'global': unknown word '{word}'{did_you_mean(word, haproxy_words.STATS_GLOBAL)}"
        )
    stats = Line(line.place, (f"stats {word}", *line.words[2:]))
    draft.has_runtime_api |= word in ("socket", "timeout", "maxconn")
    if word == "socket":
        if len(line.words) < 3 or line.words[2] in haproxy_words.BIND:
            raise Wrong("'stats socket' needs an address: stats socket /run/reusedproxy.sock mode 600 level admin, say")
        draft.stats_sockets.append(read_stats_socket(line, draft.report))
    elif word == "timeout":
        draft.stats_timeout = units.positive_seconds(stats.one_argument("a time"), "'stats timeout'")
    elif word == "maxconn":
        most = stats.one_argument("a number of connections")
        draft.stats_maxconn = units.integer(most, "'stats maxconn'", least=1)
    else:
        draft.report.without_effect(stats.keyword, line.place)


def _hard_stop_after(draft: GlobalDraft, line: Line) -> None:
    draft.hard_stop_after = units.seconds(line.one_argument("a time"), "'hard-stop-after'") or None


def _bufsize(draft: GlobalDraft, line: Line) -> None:
    value = units.size(line.one_argument("a size"), "'tune.bufsize'")
    if value < 1024:
        raise Wrong("'tune.bufsize': fewer than 1024 bytes do not hold a request's head")
    if value > _LARGEST_BUFFER:
        raise Wrong(f"'tune.bufsize': {value} is out of range: at most {_LARGEST_BUFFER} bytes (16m)")
    draft.bufsize = value


def _maxrewrite(draft: GlobalDraft, line: Line) -> None:
    draft.maxrewrite = units.size(line.one_argument("a size"), "'tune.maxrewrite'")


def _node(draft: GlobalDraft, line: Line) -> None:
    draft.node = line.one_argument("the name of this machine")


def _description(draft: GlobalDraft, line: Line) -> None:
    if not line.arguments:
        raise Wrong("'description' needs a text")
    draft.description = " ".join(line.arguments)


def _state_base(draft: GlobalDraft, line: Line) -> None:
    draft.state_base = line.one_argument("a directory")


def _state_file(draft: GlobalDraft, line: Line) -> None:
    draft.state_file = line.one_argument("a file with states of servers")


def _any_method_with_body(draft: GlobalDraft, line: Line) -> None:
    line.at_most(0)
    draft.any_method_with_body = True


def _maxhdr(draft: GlobalDraft, line: Line) -> None:
    value = line.one_argument("a number of headers")
    draft.maxhdr = units.integer(value, "'tune.http.maxhdr'", least=1, most=_MOST_HEADERS)


def _ca_base(draft: GlobalDraft, line: Line) -> None:
    draft.tls = evolve(draft.tls, ca_base=based_path(line.one_argument("a directory"), draft.tls.files))


def _crt_base(draft: GlobalDraft, line: Line) -> None:
    draft.tls = evolve(draft.tls, crt_base=based_path(line.one_argument("a directory"), draft.tls.files))


def _key_base(draft: GlobalDraft, line: Line) -> None:
    draft.tls = evolve(draft.tls, key_base=based_path(line.one_argument("a directory"), draft.tls.files))


def _issuers(draft: GlobalDraft, line: Line) -> None:
    """Reads `issuers-chain-path`, of which the last counts, as in HAProxy. Raises Wrong."""
    path = based_path(line.one_argument("a directory"), draft.tls.files)
    draft.issuers = Said(line.place, line.keyword, path.rstrip("/") or "/")


def _default_path(draft: GlobalDraft, line: Line) -> None:
    """Reads `default-path current|config|parent|origin DIRECTORY`. Raises Wrong."""
    policy = one_of(line.words[1] if line.arguments else "", _POLICIES, "'default-path'")
    if policy == "origin":
        if len(line.words) != 3:
            raise Wrong("'default-path origin' needs one directory")
        draft.files_at = policy, line.words[2]
    else:
        line.at_most(1)
        draft.files_at = policy, ""
    draft.enter_file(line.place.file)


def _spell(draft: GlobalDraft, line: Line) -> None:
    respelled(line.arguments, draft.spelling, "'h1-case-adjust'")


def _spell_as_a_file_says(draft: GlobalDraft, line: Line) -> None:
    """Reads `h1-case-adjust-file`, of which the last counts, as in HAProxy. Raises Wrong."""
    path = based_path(line.one_argument("a file"), draft.tls.files)
    draft.spelling_file = Said(line.place, line.keyword, path)


def _diffie_hellman(draft: GlobalDraft, line: Line) -> None:
    _set_offer(draft, "dh_file", based_path(line.one_argument("a file"), draft.tls.files))


def _server_verify(draft: GlobalDraft, line: Line) -> None:
    word = line.one_argument("'none' or 'required'")
    draft.server_verify = one_of(word, ("none", "required"), "'ssl-server-verify'")


def _bind_options(draft: GlobalDraft, line: Line) -> None:
    draft.tls = evolve(draft.tls, bind=read_options(line.arguments, IN_DEFAULTS, f"'{line.keyword}'"))


def _set_offer(draft: GlobalDraft, field: str, value: object) -> None:
    draft.tls = evolve(draft.tls, offer={**draft.tls.offer, field: value})


def _bind_offer(field: str, what: str) -> Callable[[GlobalDraft, Line], None]:
    def read(draft: GlobalDraft, line: Line) -> None:
        _set_offer(draft, field, line.one_argument(what))

    return read


def _server_options(draft: GlobalDraft, line: Line) -> None:
    words = read_options(line.arguments, IN_SERVER_DEFAULTS, f"'{line.keyword}'")
    # Values from `ssl-default-server-ciphers` and similar words are kept.
    words.said = {**draft.tls.server.said, **words.said}
    draft.tls = evolve(draft.tls, server=words)


def _server_offer(field: str, what: str) -> Callable[[GlobalDraft, Line], None]:
    def read(draft: GlobalDraft, line: Line) -> None:
        words = draft.tls.server.copy()
        words.said[field] = line.one_argument(what)
        draft.tls = evolve(draft.tls, server=words)

    return read


def _session_cache(draft: GlobalDraft, line: Line) -> None:
    size = units.integer(line.one_argument("a number of sessions"), "'tune.ssl.cachesize'")
    _set_offer(draft, "cache", size > 0)
    if size:
        text = (
            "'tune.ssl.cachesize': each certificate remembers up to 20480 sessions, OpenSSL's own bound;"
            " 0 remembers none"
        )
        draft.report.notice(line.place, text)


def _session_lifetime(draft: GlobalDraft, line: Line) -> None:
    _set_offer(draft, "lifetime", units.positive_seconds(_seconds(line), "'tune.ssl.lifetime'"))


def _capture_size(draft: GlobalDraft, line: Line) -> None:
    """Reads how much is kept of a client's hello; the last line counts, by either name. Raises Wrong."""
    _set_offer(draft, "capture", units.integer(line.one_argument("a number of bytes"), f"'{line.keyword}'"))


def _dh_size(draft: GlobalDraft, line: Line) -> None:
    size = units.integer(line.one_argument("a number of bits"), "'tune.ssl.default-dh-param'", least=1024)
    if size < 2048:
        text = f"'tune.ssl.default-dh-param {size}': groups of 2048 bits are the smallest that are used (RFC 7919)"
        draft.report.notice(line.place, text)
    _set_offer(draft, "dh_size", size)


def _seconds(line: Line) -> str:
    """Returns the argument with "s" added when it has no unit: HAProxy counts this time in seconds. Raises Wrong."""
    said = line.one_argument("a time")
    return f"{said}s" if said.isdigit() else said


def _zero_warning(draft: GlobalDraft, line: Line) -> None:
    line.at_most(0)
    draft.report.notice(line.place, "'zero-warning' refuses nothing here: our warnings are others than HAProxy's")


def _unix_bind(draft: GlobalDraft, line: Line) -> None:
    draft.unix = read_unix_bind(line)


def _manhole(draft: GlobalDraft, line: Line) -> None:
    if len(line.words) < 4:
        raise Wrong("write 'manhole <address> authorized-keys <file> [host-key <file>]'")
    if draft.said["manhole"] != line.place:
        raise Wrong(f"'manhole' stands already at {draft.said['manhole']}")
    address = one_address(line.words[1], "'manhole'")
    if address.kind == "tcp" and not is_loopback(address.host):
        raise Wrong("'manhole' gives away the whole daemon: let it listen on 127.0.0.1, [::1] or a unix socket's path")
    if address.kind == "abns":
        raise Wrong(
            "'manhole': anybody on this machine could listen at an abstract socket in the daemon's place, and nobody"
            " owns it: use the path of a unix socket"
        )
    files = {"authorized-keys": "", "host-key": ""}
    rest = line.words[2:]
    while rest:
        if rest[0] not in files:
            raise Wrong(f"'manhole': unknown word '{rest[0]}'{did_you_mean(rest[0], files)}")
        if len(rest) < 2 or not rest[1]:
            raise Wrong(f"'manhole': '{rest[0]}' needs the name of a file")
        files[rest[0]] = rest[1]
        rest = rest[2:]
    keys = files["authorized-keys"]
    if not keys:
        raise Wrong("'manhole' needs 'authorized-keys <file>': only those who hold one of these keys may come in")
    host_key = files["host-key"] or posixpath.join(posixpath.dirname(keys), "reusedproxy_host_key")
    draft.manhole = Manhole(line.place, address, keys, host_key)


def _pool_connect_rate(draft: GlobalDraft, line: Line) -> None:
    value = units.integer(line.one_argument("a number of handshakes a second"), "'pool-connect-rate'", least=1)
    draft.pool_connect_rate = float(value)


def _pool_warm_start(draft: GlobalDraft, line: Line) -> None:
    draft.pool_warm_start = units.seconds(line.one_argument("a time"), "'pool-warm-start'") or None


def _spread_checks(draft: GlobalDraft, line: Line) -> None:
    draft.spread_checks = units.integer(line.one_argument("a number of percent"), "'spread-checks'", 0, 50)


def _ssl_watch(draft: GlobalDraft, line: Line) -> None:
    value = units.seconds(said := line.one_argument("a time"), "'ssl-watch'")
    if value < 1:
        hint = f": did you mean '{said}s'?" if said.isdigit() and value else ""
        raise Wrong(f"'ssl-watch': '{said}' is too short: the files are looked at once a second at most{hint}")
    draft.ssl_watch = value


def _workload_api(draft: GlobalDraft, line: Line) -> None:
    word, said = line.keyword, line.one_argument("the socket of an agent, unix:/PATH")
    if draft.workload_api is not None:
        raise Wrong(f"'{word}' stands already at {draft.workload_api.place}: there is one agent")
    path = said.removeprefix("unix:")
    if path == said or not path.startswith("/"):
        raise Wrong(f"'{word}': '{said}' is no socket of an agent: it is unix:/PATH, as in SPIFFE_ENDPOINT_SOCKET")
    draft.workload_api = Said(line.place, word, "unix:/" + path.lstrip("/"))


def _accept_family(draft: GlobalDraft, line: Line) -> None:
    draft.accepted_families = families(line.one_argument("'ipv4', 'ipv6' or 'auto'"), "'dns-accept-family'")


def _setenv(draft: GlobalDraft, line: Line) -> None:
    if len(line.words) != 3:
        raise Wrong(f"'{line.keyword}' needs the name of a variable and its value")
    if line.keyword == "setenv" or line.words[1] not in draft.environment:
        draft.environment[line.words[1]] = line.words[2]


def _unsetenv(draft: GlobalDraft, line: Line) -> None:
    if not line.arguments:
        raise Wrong("'unsetenv' needs the name of a variable")
    for name in line.arguments:
        draft.environment.pop(name, None)


def _resetenv(draft: GlobalDraft, line: Line) -> None:
    for name in draft.environment.keys() - {*line.arguments, "REUSEDPROXY"}:
        del draft.environment[name]


def _variable(draft: GlobalDraft, line: Line) -> None:
    draft.variables.append(read_variable_line(line, draft.report))


def _rate(draft: GlobalDraft, line: Line) -> None:
    draft.rates[line.keyword] = units.integer(line.one_argument("a number of clients a second"), f"'{line.keyword}'")


def _maxsslconn(draft: GlobalDraft, line: Line) -> None:
    draft.maxsslconn = units.integer(line.one_argument("a number of clients over TLS"), "'maxsslconn'")


def _local_peer(draft: GlobalDraft, line: Line) -> None:
    draft.local_peer = line.one_argument("the name of this machine among its peers")


def _stick_counters(draft: GlobalDraft, line: Line) -> None:
    draft.stick_counters = units.integer(line.one_argument("a number"), "'tune.stick-counters'", most=100)


def _error_statuses(draft: GlobalDraft, line: Line) -> None:
    draft.judged = evolve(draft.judged, errors=read_statuses(line, draft.judged.errors))


def _failure_statuses(draft: GlobalDraft, line: Line) -> None:
    draft.judged = evolve(draft.judged, failures=read_statuses(line, draft.judged.failures))


def _external_check(draft: GlobalDraft, line: Line) -> None:
    if line.arguments not in ((), ("preserve-env",)):
        raise Wrong("'external-check' takes nothing, or 'preserve-env', after it")
    draft.external_check = line.arguments[0] if line.arguments else "on"


def _insecure_setuid(draft: GlobalDraft, line: Line) -> None:
    if line.arguments:
        raise Wrong("'insecure-setuid-wanted' takes nothing after it")
    draft.gains_rights = True


_READERS: dict[str, Callable[[GlobalDraft, Line], None]] = {
    "external-check": _external_check,
    "insecure-setuid-wanted": _insecure_setuid,
    "log": _log,
    "log-tag": _log_tag,
    "log-send-hostname": _log_send_hostname,
    "maxconn": _maxconn,
    "user": _user,
    "uid": _user,
    "group": _user,
    "gid": _user,
    "chroot": _chroot,
    "stats": _stats,
    "node": _node,
    "description": _description,
    "server-state-base": _state_base,
    "server-state-file": _state_file,
    "hard-stop-after": _hard_stop_after,
    "tune.bufsize": _bufsize,
    "tune.maxrewrite": _maxrewrite,
    "tune.http.maxhdr": _maxhdr,
    "h1-accept-payload-with-any-method": _any_method_with_body,
    "default-path": _default_path,
    "h1-case-adjust": _spell,
    "h1-case-adjust-file": _spell_as_a_file_says,
    "ca-base": _ca_base,
    "issuers-chain-path": _issuers,
    "crt-base": _crt_base,
    "key-base": _key_base,
    "ssl-server-verify": _server_verify,
    "ssl-default-bind-options": _bind_options,
    "ssl-default-bind-ciphers": _bind_offer("ciphers", "a list of ciphers"),
    "ssl-default-bind-ciphersuites": _bind_offer("ciphersuites", "a list of cipher suites"),
    "ssl-default-bind-curves": _bind_offer("curves", "a list of curves"),
    "ssl-default-bind-sigalgs": _bind_offer("sigalgs", "a list of signature algorithms"),
    "ssl-default-bind-client-sigalgs": _bind_offer("client_sigalgs", "a list of signature algorithms"),
    "ssl-default-server-options": _server_options,
    "ssl-default-server-ciphers": _server_offer("ciphers", "a list of ciphers"),
    "ssl-default-server-ciphersuites": _server_offer("ciphersuites", "a list of cipher suites"),
    "ssl-default-server-curves": _server_offer("curves", "a list of curves"),
    "ssl-default-server-sigalgs": _server_offer("sigalgs", "a list of signature algorithms"),
    "ssl-default-server-client-sigalgs": _server_offer("client_sigalgs", "a list of signature algorithms"),
    "ssl-dh-param-file": _diffie_hellman,
    "tune.ssl.default-dh-param": _dh_size,
    "tune.ssl.cachesize": _session_cache,
    "tune.ssl.capture-buffer-size": _capture_size,
    "tune.ssl.capture-cipherlist-size": _capture_size,
    "tune.ssl.lifetime": _session_lifetime,
    "unix-bind": _unix_bind,
    "zero-warning": _zero_warning,
    "maxconnrate": _rate,
    "maxsessrate": _rate,
    "maxsslrate": _rate,
    "maxsslconn": _maxsslconn,
    "localpeer": _local_peer,
    "tune.stick-counters": _stick_counters,
    "http-err-codes": _error_statuses,
    "http-fail-codes": _failure_statuses,
    "manhole": _manhole,
    "pool-connect-rate": _pool_connect_rate,
    "pool-warm-start": _pool_warm_start,
    "spread-checks": _spread_checks,
    "ssl-watch": _ssl_watch,
    "spiffe-workload-api": _workload_api,
    "dns-accept-family": _accept_family,
    "setenv": _setenv,
    "presetenv": _setenv,
    "unsetenv": _unsetenv,
    "resetenv": _resetenv,
    "set-var": _variable,
    "set-var-fmt": _variable,
}
