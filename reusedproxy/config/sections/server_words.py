"""Defines the words of `server` and `default-server` lines, and what each of them sets.

Must never know names and addresses of servers, nor which section a line stands in. Opens no file: whether a certificate
can be read is found out when the daemon builds its TLS contexts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from attrs import Factory, define, evolve

from reusedproxy.config.language import haproxy_words, units
from reusedproxy.config.language.addresses import check_address, host_alone
from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.parameters import read_parameters
from reusedproxy.config.language.report import Line, Wrong, not_done, one_of
from reusedproxy.config.model.checks import Agent, Observe
from reusedproxy.config.model.identities import IdentityRule
from reusedproxy.config.model.names import Resolution
from reusedproxy.config.model.proxies import UNIQUE_ID, Check, PoolLimits, RecordBound, Server, Spread
from reusedproxy.config.model.rules import Format
from reusedproxy.config.model.sockets import OwnEnd
from reusedproxy.config.model.tls import Revocations, ServerTLS
from reusedproxy.config.model.values import PUBLIC, Expression, Place
from reusedproxy.config.rules.expressions import read_expression, where_of
from reusedproxy.config.rules.formats import read_format
from reusedproxy.config.rules.identities import read_choice
from reusedproxy.config.rules.samples import FETCHES, RESPONSE, SERVER_BYTES
from reusedproxy.config.sections import names
from reusedproxy.config.sections.sources import own_end, through
from reusedproxy.config.tls.list_urls import read_urls
from reusedproxy.config.tls.pins import read_pins
from reusedproxy.config.tls.spiffe import read_spiffe_ids
from reusedproxy.config.tls.words import ON_SERVERS, TLSWords

# reusedproxy's own words; HAProxy refuses them.
OUR_POOL_WORDS = {
    "pool-min-conn": 1,
    "pool-idle-timeout": 1,
    "pool-max-age": 1,
    "pool-connect-rate": 1,
    "pool-warm-up": 1,
    "pool-standby-conn": 1,
    "pool-spread": 1,
    "pool-record": 1,
    "pool-identities": 1,
    "egress-net": 1,
}
OUR_TLS_WORDS = {
    "verifyspiffe": 1,
    "no-verifyspiffe": 0,
    "pin-sha256": 1,
    "no-pin-sha256": 0,
    "ocsp-verify": 1,
    "crl-url": 1,
    "crl-refresh": 1,
}
OUR_WORDS = {**OUR_POOL_WORDS, **OUR_TLS_WORDS}
ARITIES = {**haproxy_words.SERVER, **OUR_WORDS}
#: Words of which one list holds all values: said twice, the first would be lost.
_LISTS = ("pin-sha256", "crl-url", "verifyspiffe")
_NOT_IN_COOKIES = re.compile(r"[\0-\x1f\x7f;,]")
#: What `pool-record` may take of memory, in bytes; a time is kept as far as the most reaches.
RECORD_LEAST, RECORD_MOST = 64 << 10, 32 << 20
#: The least floor of `pool-min-conn auto`, if it is not said.
LEAST_FLOOR = 1
#: The fewest seconds of `crl-refresh`.
LEAST_REFRESH = 60.0
#: What the nodes of a server can be computed from (`hash-key`).
HASH_KEYS = ("id", "id32", "guid", "addr", "addr-port")
#: Whether a server's OCSP answer counts, in the words of HAProxy's `verify`.
OCSP = ("none", "optional", "required")
#: What PROXY headers of version 2 may say besides (`proxy-v2-options`): of TLS, and the rest.
WITHIN_TLS = frozenset(("cert-cn", "cert-key", "cert-sig", "ssl-cipher"))
PROXY_OPTIONS = ("ssl", *sorted(WITHIN_TLS), "authority", "crc32c", UNIQUE_ID)
#: The expression behind `sni-auto`, as in HAProxy.
SNI_AUTO = read_expression("req.hdr(host),host_only", "'sni-auto'")


#: What a server has of which its line says nothing.
_DEFAULT, _OBSERVED = Server("", Place("", 0), ""), Observe("")


@define
class ServerWords:
    """Holds the settings of a server read so far, which begin with the defaults of the model's `Server`.
    `verify` None: global `ssl-server-verify` decides.

    `checked` and `ssl` tell whether `check` and `tls` are in use: their settings may come long before.
    """

    ssl: bool = False
    verify: str | None = None
    tls: ServerTLS = Factory(ServerTLS)
    identity: IdentityRule = Factory(IdentityRule)
    checked: bool = False
    check: Check = Factory(Check)
    pool: PoolLimits = Factory(PoolLimits)
    weight: int = _DEFAULT.weight
    backup: bool = _DEFAULT.backup
    disabled: bool = _DEFAULT.disabled
    minconn: int = _DEFAULT.minconn
    maxconn: int = _DEFAULT.maxconn
    maxqueue: int = _DEFAULT.maxqueue
    strict: bool = False
    sni: Expression | None = None
    sni_auto: bool = True
    check_sni_auto: bool = True
    #: The file says `no-sni-auto`: where no name is said either, none is verified.
    any_name: bool = False
    pool_conn_name: Expression | None = _DEFAULT.pool_conn_name
    #: The versions of the PROXY protocol that are asked for: as in HAProxy, 2 counts before 1 in whatever order.
    proxy_versions: frozenset[str] = frozenset()
    proxy_options: frozenset[str] = _DEFAULT.proxy_options
    #: What `set-proxy-v2-tlv-fmt` adds to the PROXY header: types and values.
    extensions: tuple[tuple[int, Format], ...] = _DEFAULT.extensions
    id: int = _DEFAULT.id
    guid: str = _DEFAULT.guid
    hash_key: str = _DEFAULT.hash_key
    slowstart: float = _DEFAULT.slowstart
    user_timeout: float = _DEFAULT.user_timeout
    source: OwnEnd | None = _DEFAULT.source
    congestion: str = _DEFAULT.congestion
    warm_up: float = _DEFAULT.warm_up
    standby: int | None = _DEFAULT.standby
    check_send_proxy: bool = False
    asks_agent: bool = False
    agent: Agent = Factory(lambda: Agent(0))
    observe: str = ""
    error_limit: int = _OBSERVED.limit
    on_error: str = _OBSERVED.on_error
    ends_when_down: bool = _DEFAULT.ends_when_down
    ends_backups_when_up: bool = _DEFAULT.ends_backups_when_up
    track: str = _DEFAULT.track
    init_state: str = _DEFAULT.init_state
    resolution: Resolution = _DEFAULT.resolution
    cookie: str | None = _DEFAULT.cookie
    non_stick: bool = _DEFAULT.non_stick
    #: Where the lists of `crl-file` are fetched; without a URL nowhere.
    revocations: Revocations = Factory(lambda: Revocations(()))
    record: RecordBound | None = _DEFAULT.record
    #: Networks in which its address must be; None: not said.
    reach: tuple[str, ...] | None = None
    said: set[str] = Factory(set)
    #: TLS versions, ciphers and similar settings.
    parameters: TLSWords = Factory(TLSWords)

    @property
    def send_proxy(self) -> str:
        """Returns the version of the PROXY protocol that is spoken; "": none."""
        return max(self.proxy_versions, default="")

    @property
    def sni_of_requests(self) -> Expression | None:
        """Returns the expression of each request's SNI: `sni`, or the Host by `sni-auto`, HAProxy's default since 3.3.

        None where the name is constant (`sni str()`, `verifyhost`), where an ID is verified instead (`verifyspiffe`),
        where `no-sni-auto` disables it, and without TLS.
        """
        if not self.ssl:
            return None
        named = self.tls.sni or self.tls.verifyhost or self.tls.spiffe or self.identity.verifyhost is not None
        if self.sni is None and self.sni_auto and not named:
            return SNI_AUTO
        return self.sni

    def known_name(self, check_host: str | None) -> str | None:
        """Returns the SNI that is known without a request: `check-sni`, else the Host of the HTTP check
        (`check-sni-auto`).

        `check_host` is that Host. None where all requests have the same name.
        """
        if self.sni_of_requests is None:
            return None
        return self.check.sni or (check_host if self.check_sni_auto else None)

    def copy(self) -> ServerWords:
        return evolve(self, said=set(self.said), parameters=self.parameters.copy())


def numbers_cut(line: Line) -> Iterator[str]:
    """Returns what is to be said of numbers in a server's line that are read as far as they go."""
    for word, argument in pairwise(line.arguments):
        if word in _CUT_BY_HAPROXY and (found := _CUT.match(argument)):
            yield f"'{word} {argument}' is read as '{word} {found[1]}', as in HAProxy: write that"


#: The words whose numbers HAProxy reads as far as they go, and what it leaves out then.
_CUT_BY_HAPROXY = haproxy_words.words(
    """
    agent-port error-limit fall id max-reuse maxconn maxqueue minconn pool-low-conn pool-max-conn port rise weight
    """
)
_CUT = re.compile(r"([0-9]{1,18})[^0-9]")
#: Words that nothing is done for.
NOTHING_TO_DO = haproxy_words.SERVER_AS_WE_DO | haproxy_words.SERVER_WITHOUT_EFFECT


#: A word of HAProxy's with a number in parentheses.
_NUMBERED = "set-proxy-v2-tlv-fmt"
_EXTENSION = re.compile(r"\((0[xX][0-9a-fA-F]{1,8}|[0-9]{1,8})\) (.+)", re.DOTALL)


def read_words(arguments: tuple[str, ...], words: ServerWords, what: str) -> None:
    def apply(word: str, argument: str) -> None:
        words.said.add(word)
        if word in _CUT_BY_HAPROXY and (found := _CUT.match(argument)):
            argument = found[1]
        if word in ON_SERVERS:
            words.parameters.read(word, argument, what)
        elif word in SETTERS:
            SETTERS[word](words, argument, f"{what}: '{word}'")
        elif argument not in haproxy_words.SERVER_AS_WE_DO_WITH.get(word, ()) and word not in NOTHING_TO_DO:
            hint = HINTS.get(f"server {word}", "") or HINTS.get(word, "")
            raise Wrong(f"{what}: {not_done(word, 'server option', hint)}")

    for word in _LISTS:
        if arguments.count(word) > 1:
            raise Wrong(f"{what}: '{word}' is there twice: write its values as one list, {word} FIRST,SECOND")
    words_of_line, plain = joined(arguments), []
    for at, word in enumerate(words_of_line):
        if word.startswith(f"{_NUMBERED}(") and at + 1 < len(words_of_line):
            # The number goes with the value, which is what is set.
            words_of_line[at + 1] = f"{word[len(_NUMBERED) :]} {words_of_line[at + 1]}"
            word = _NUMBERED
        plain.append(words_of_line[at] if word != _NUMBERED else word)
    read_parameters(plain, ARITIES, apply, what)


def _set_extension(words: ServerWords, argument: str, what: str) -> None:
    """Adds a TLV to the PROXY header. Raises Wrong."""
    found = _EXTENSION.match(argument)
    if found is None:
        raise Wrong(f"{what} needs the type of a TLV in parentheses, and a format: {_NUMBERED}(0x20) %[ssl_fc_sni]")
    kind = int(found[1], 0)
    if kind > 0xFF:
        raise Wrong(f"{what}: {found[1]} is no type of a TLV: they are 0 to 0xff")
    words.extensions = (*words.extensions, (kind, read_format(found[2], what)))


Setter = Callable[[ServerWords, str, str], None]
Parse = Callable[[str, str], object]


def _introducing(version: str, *options: str) -> Setter:
    def add(words: ServerWords, argument: str, what: str) -> None:
        words.proxy_versions |= {version}
        words.proxy_options = words.proxy_options.union(options)

    return add


def _not_introducing(version: str, *options: str) -> Setter:
    """Returns a setter that takes back this version alone, and these options."""

    def take_back(words: ServerWords, argument: str, what: str) -> None:
        words.proxy_versions -= {version}
        words.proxy_options = words.proxy_options.difference(options)

    return take_back


def _add_proxy_options(words: ServerWords, argument: str, what: str) -> None:
    """Adds to what PROXY headers say. Raises Wrong."""
    said = {one_of(each, PROXY_OPTIONS, what) for each in argument.split(",")}
    # As in HAProxy, what is said of TLS and its certificates stands within the extension about TLS.
    words.proxy_options |= said | ({"ssl"} if said & WITHIN_TLS else set())


def joined(arguments: Sequence[str]) -> list[str]:
    """Returns the words of a line with `auto` and the numbers behind it as one, the value of `pool-min-conn`."""
    joined: list[str] = []
    for argument in arguments:
        if joined[-2:-1] == ["pool-min-conn"] and _FOLLOWS.match(joined[-1]) and _NUMBER.match(argument):
            joined[-1] += f" {argument}"
        else:
            joined.append(argument)
    return joined


_FOLLOWS = re.compile(r"auto( [^ ]+)?\Z")
_NUMBER = re.compile(r"[+-]?[0-9]")


def _flag(field: str, value: object) -> Setter:
    return lambda words, argument, what: setattr(words, field, value)


def _value(field: str, parse: Parse) -> Setter:
    return lambda words, argument, what: setattr(words, field, parse(argument, what))


def _part(part: str, field: str, parse: Parse) -> Setter:
    """Returns a setter for one field of one of the frozen values in `ServerWords`."""

    def set_field(words: ServerWords, argument: str, what: str) -> None:
        setattr(words, part, evolve(getattr(words, part), **{field: parse(argument, what)}))

    return set_field


def _chosen(field: str) -> Setter:
    """Returns a setter for a text in the server's TLS settings, or for what chooses it for each request."""

    def set_field(words: ServerWords, argument: str, what: str) -> None:
        choice: dict[str, Any] = {field: read_choice(argument, what) if "%[" in argument else None}
        text: dict[str, Any] = {field: argument if choice[field] is None else None}
        words.identity, words.tls = evolve(words.identity, **choice), evolve(words.tls, **text)

    return set_field


def _no_verifyhost(words: ServerWords, argument: str, what: str) -> None:
    words.identity = evolve(words.identity, verifyhost=None)
    words.tls = evolve(words.tls, verifyhost=None)


def _text(argument: str, what: str) -> str:
    return argument


def _count(argument: str, what: str) -> int:
    return units.integer(argument, what)


def _at_least_one(argument: str, what: str) -> int:
    return units.integer(argument, what, least=1)


def _cookie(argument: str, what: str) -> str:
    if found := _NOT_IN_COOKIES.search(argument):
        raise Wrong(f"{what}: {found[0]!r} cannot be in the value of a cookie")
    return argument


def _weight(argument: str, what: str) -> int:
    return units.integer(argument, what, least=0, most=256)


def _id(argument: str, what: str) -> int:
    return units.integer(argument, what, least=1)


def _limit(argument: str, what: str) -> float | None:
    """Parses the time after which a connection is replaced; 0 is no limit, as with HAProxy's timeouts. Raises Wrong."""
    return None if not units.seconds(argument, what) else units.lasting_seconds(argument, what)


def _refresh(argument: str, what: str) -> float:
    """Parses the time after which a list is fetched again. Raises Wrong."""
    seconds = units.lasting_seconds(argument, what)
    if seconds < LEAST_REFRESH:
        raise Wrong(f"{what}: '{argument}' would ask too often: at least {LEAST_REFRESH:g}s")
    return seconds


def _record(argument: str, what: str) -> RecordBound | None:
    """Parses the bound of a record: a size or a time, or `off`. Raises Wrong, also for what may be both."""
    if argument == "off":
        return None
    if re.match(r"[0-9]+m?\Z", argument):
        number = argument.removesuffix("m")
        said = f"'{number}m' may be megabytes or minutes" if argument.endswith("m") else f"'{number}' has no unit"
        raise Wrong(f"{what}: {said}: write a size such as 1024k, or a time such as 3600s or 1h")
    if re.match(r"[0-9]+[kKMgG]\Z", argument):
        size = units.size(argument, what)
        if not RECORD_LEAST <= size <= RECORD_MOST:
            raise Wrong(f"{what}: '{argument}' is out of range: from {RECORD_LEAST >> 10}k to {RECORD_MOST >> 10}k")
        return RecordBound(size)
    return RecordBound(RECORD_MOST, units.positive_seconds(argument, what))


def _reach(argument: str, what: str) -> tuple[str, ...]:
    """Parses `egress-net`: networks, and `public` for all public addresses. Raises Wrong."""
    said = [*dict.fromkeys(argument.split(","))]
    own = [each for each in said if each != PUBLIC]
    return (*([PUBLIC] if PUBLIC in said else []), *(names.networks(",".join(own), what) if own else ()))


def _verify(argument: str, what: str) -> str:
    return one_of(argument, ("none", "required"), what)


def _set_sni(words: ServerWords, argument: str, what: str) -> None:
    """Sets `sni`: a constant name in the server's TLS settings, an expression that depends on the request
    in `sni`. Raises Wrong."""
    expression = _expression(argument, what)
    constant = expression.fetch.name == "str" and not expression.converters
    if constant and not expression.fetch.arguments[0].strip():
        raise Wrong(f"{what} needs a name: sni str(NAME)")
    words.tls = evolve(words.tls, sni=expression.fetch.arguments[0].strip() if constant else None)
    words.sni = None if constant else expression


def _expression(argument: str, what: str) -> Expression:
    host = re.match(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+\Z", argument)
    if host and argument not in FETCHES and not argument.startswith(("req.", "res.", "capture.")):
        raise Wrong(f"{what} takes an expression: write '{what.split(chr(39))[-2]} str({argument})'")
    expression = read_expression(argument, what)
    if where_of(expression) in (RESPONSE, SERVER_BYTES):
        raise Wrong(f"{what}: '{expression}' needs a response, and a connection is chosen before there is one")
    return expression


def _set_floor(words: ServerWords, argument: str, what: str) -> None:
    """Sets `pool-min-conn`: a number, or `auto` with the least and the most. Raises Wrong."""
    first, *bounds = argument.split(" ")
    if first != "auto":
        words.pool = evolve(words.pool, min_conn=_count(argument, what), adapts=False, most_floor=None)
        return
    least = _count(bounds[0], what) if bounds else LEAST_FLOOR
    most = _at_least_one(bounds[1], what) if len(bounds) > 1 else None
    if most is not None and least > most:
        raise Wrong(f"{what}: 'auto {least} {most}' is from the least to the most: 'auto {most} {least}'")
    words.pool = evolve(words.pool, min_conn=least, adapts=True, most_floor=most)


def _spread(argument: str, what: str) -> Spread | None:
    """Parses how nodes behind one address are told apart: `cert`, `hdr(NAME)`; `none` takes it back. Raises Wrong."""
    if argument in ("none", "cert"):
        return Spread() if argument == "cert" else None
    found = re.match(r"hdr\(([!#$%&'*+.^_`|~0-9A-Za-z-]+)\)\Z", argument)
    if not found:
        raise Wrong(f"{what} is 'cert', 'hdr(NAME)' with the name of a header, or 'none', not '{argument}'")
    return Spread(found[1].lower())


def _set_check_address(words: ServerWords, argument: str, what: str) -> None:
    """Sets `addr`, with a port perhaps: of checks, and of the agent that has no address of its own. Raises Wrong."""
    host, port = check_address(argument, what)
    words.check = evolve(words.check, addr=host, addr_port=port)


ON_ERROR = ("fastinter", "fail-check", "sudden-death", "mark-down")
INIT_STATES = ("fully-up", "up", "down", "fully-down")


def _ending(word: str) -> Parse:
    """Returns the reader of `on-marked-down` and its like, whose only action is this one; `none` takes it back."""
    return lambda argument, what: one_of(argument, (word, "none"), what) == word


def _set_interface(words: ServerWords, argument: str, what: str) -> None:
    if words.source is None:
        raise Wrong(f"{what} stands behind 'source': source * interface {argument}")
    words.source = through(words.source, argument, what)


def _set_options(words: ServerWords, argument: str, what: str) -> None:
    words.resolution = names.with_options(words.resolution, argument, what)


SETTERS: dict[str, Setter] = {
    "ssl": _flag("ssl", True),
    "no-ssl": _flag("ssl", False),
    "verify": _value("verify", _verify),
    "ca-file": _chosen("ca_file"),
    "crt": _chosen("crt"),
    "sni": _set_sni,
    "sni-auto": _flag("sni_auto", True),
    "no-sni-auto": _flag("sni_auto", False),
    "check-sni-auto": _flag("check_sni_auto", True),
    "no-check-sni-auto": _flag("check_sni_auto", False),
    "pool-conn-name": _value("pool_conn_name", _expression),
    "check-sni": _part("check", "sni", _text),
    "send-proxy": _introducing("v1"),
    "send-proxy-v2": _introducing("v2"),
    "send-proxy-v2-ssl": _introducing("v2", "ssl"),
    "send-proxy-v2-ssl-cn": _introducing("v2", "ssl", "cert-cn"),
    "proxy-v2-options": _add_proxy_options,
    _NUMBERED: _set_extension,
    "no-send-proxy": _not_introducing("v1"),
    "no-send-proxy-v2": _not_introducing("v2"),
    "no-send-proxy-v2-ssl": _not_introducing("v2", "ssl"),
    "no-send-proxy-v2-ssl-cn": _not_introducing("v2", "ssl", "cert-cn"),
    "check-send-proxy": _flag("check_send_proxy", True),
    "no-check-send-proxy": _flag("check_send_proxy", False),
    "check-ssl": _part("check", "ssl", lambda argument, what: True),
    "no-check-ssl": _part("check", "ssl", lambda argument, what: False),
    "ssl-reuse": _part("tls", "resumes", lambda argument, what: True),
    "no-ssl-reuse": _part("tls", "resumes", lambda argument, what: False),
    "verifyhost": _chosen("verifyhost"),
    "no-verifyhost": _no_verifyhost,
    "verifyspiffe": _part("tls", "spiffe", read_spiffe_ids),
    "no-verifyspiffe": _part("tls", "spiffe", lambda argument, what: ()),
    "pin-sha256": _part("tls", "pins", read_pins),
    "crl-url": _part("revocations", "urls", read_urls),
    "crl-refresh": _part("revocations", "refresh", _refresh),
    "ocsp-verify": _part("tls", "ocsp", lambda argument, what: one_of(argument, OCSP, what)),
    "no-pin-sha256": _part("tls", "pins", lambda argument, what: ()),
    "check": _flag("checked", True),
    "no-check": _flag("checked", False),
    "inter": _part("check", "inter", units.positive_seconds),
    "fastinter": _part("check", "fastinter", units.positive_seconds),
    "downinter": _part("check", "downinter", units.positive_seconds),
    "rise": _part("check", "rise", _at_least_one),
    "fall": _part("check", "fall", _at_least_one),
    "port": _part("check", "port", units.port),
    "addr": _set_check_address,
    "agent-check": _flag("asks_agent", True),
    "no-agent-check": _flag("asks_agent", False),
    "agent-port": _part("agent", "port", units.port),
    "agent-addr": _part("agent", "addr", host_alone),
    "agent-inter": _part("agent", "inter", units.positive_seconds),
    "agent-send": _part("agent", "send", _text),
    "observe": _value("observe", lambda argument, what: one_of(argument, ("layer4", "layer7", "none"), what)),
    "error-limit": _value("error_limit", _at_least_one),
    "on-error": _value("on_error", lambda argument, what: one_of(argument, ON_ERROR, what)),
    "on-marked-down": _value("ends_when_down", _ending("shutdown-sessions")),
    "on-marked-up": _value("ends_backups_when_up", _ending("shutdown-backup-sessions")),
    "track": _value("track", _text),
    "init-state": _value("init_state", lambda argument, what: one_of(argument, INIT_STATES, what)),
    "weight": _value("weight", _weight),
    "cookie": _value("cookie", _cookie),
    "id": _value("id", _id),
    "guid": _value("guid", _text),
    "hash-key": _value("hash_key", lambda argument, what: one_of(argument, HASH_KEYS, what)),
    "slowstart": _value("slowstart", units.seconds),
    "tcp-ut": _value("user_timeout", units.seconds),
    "source": _value("source", own_end),
    "interface": _set_interface,
    "cc": _value("congestion", _text),
    "non-stick": _flag("non_stick", True),
    "stick": _flag("non_stick", False),
    "backup": _flag("backup", True),
    "no-backup": _flag("backup", False),
    "disabled": _flag("disabled", True),
    "enabled": _flag("disabled", False),
    "minconn": _value("minconn", _count),
    "maxconn": _value("maxconn", _count),
    "maxqueue": _value("maxqueue", _count),
    "no-strict-maxconn": _flag("strict", False),
    "strict-maxconn": _flag("strict", True),
    "pool-min-conn": _set_floor,
    "pool-warm-up": _value("warm_up", units.seconds),
    "pool-standby-conn": _value("standby", _count),
    "pool-spread": _part("pool", "spread", _spread),
    "pool-max-conn": _part("pool", "max_conn", units.unlimited_or),
    "pool-low-conn": _part("pool", "low_conn", _count),
    "pool-purge-delay": _part("pool", "purge_delay", units.seconds),
    "max-reuse": _part("pool", "max_reuse", units.unlimited_or),
    "pool-idle-timeout": _part("pool", "idle_timeout", _limit),
    "pool-max-age": _part("pool", "max_age", _limit),
    "idle-ping": _part("pool", "idle_ping", units.lasting_seconds),
    "check-reuse-pool": _part("pool", "keep_checks", lambda argument, what: True),
    "no-check-reuse-pool": _part("pool", "keep_checks", lambda argument, what: False),
    "resolvers": _part("resolution", "resolvers", _text),
    "resolve-prefer": _part("resolution", "prefer", names.prefer),
    "resolve-net": _part("resolution", "networks", names.networks),
    "resolve-opts": _set_options,
    "init-addr": _part("resolution", "init", names.init_addr),
    "pool-record": _value("record", _record),
    "egress-net": _value("reach", _reach),
    "pool-identities": _part("identity", "listed", _text),
    "pool-connect-rate": _part("pool", "connect_rate", lambda argument, what: float(_at_least_one(argument, what))),
}


def read_pool(arguments: Sequence[str], limits: PoolLimits, what: str) -> PoolLimits:
    """Returns the limits of a pool with words of a server's line on top of them. Raises Wrong."""
    words = ServerWords(pool=limits)
    read_words(tuple(arguments), words, what)
    return words.pool
