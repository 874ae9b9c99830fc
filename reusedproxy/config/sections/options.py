"""Parses `option …` lines of proxies, with an optional `no` or `default` before them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from attrs import evolve, fields_dict

from reusedproxy.config.checks.requests import read_httpchk
from reusedproxy.config.language import haproxy_words, hints
from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done, one_of
from reusedproxy.config.model.checks import Hello
from reusedproxy.config.model.forwarded import Forwarded
from reusedproxy.config.model.proxies import ForwardFor
from reusedproxy.config.rules.expressions import read_expression, where_of
from reusedproxy.config.rules.samples import AT_HAND, NEEDED, REQUEST
from reusedproxy.config.sections.draft import ProxyDraft

CONNECTION_MODES = {"http-keep-alive": "keep-alive", "http-server-close": "server-close", "httpclose": "close"}
#: Options that are set or not: the field of the draft that each sets.
_FLAGS = {
    "abortonclose": "abortonclose",
    "allbackups": "allbackups",
    "dontlog-normal": "dontlog_normal",
    "dontlognull": "dontlognull",
    "egress": "egress",
    "h1-case-adjust-bogus-client": "h1_case_adjust_bogus_client",
    "h1-case-adjust-bogus-server": "h1_case_adjust_bogus_server",
    "http-buffer-request": "buffers_request",
    "http-ignore-probes": "ignores_probes",
    "http-pretend-keepalive": "pretends_keepalive",
    "http-upgrade-with-body": "upgrade_with_body",
    "http-use-proxy-header": "uses_proxy_header",
    "log-health-checks": "log_health_checks",
    "log-separate-errors": "log_separate_errors",
    "logasap": "logasap",
    "persist": "persist",
    "pool-prefer-warm": "prefer_warm",
    "prefer-last-server": "prefer_last",
    "socket-stats": "socket_stats",
}
#: reusedproxy's own options, in the form of `haproxy_words.OPTIONS`; HAProxy refuses them.
OUR_OPTIONS = {"egress": "B", "http-upgrade-with-body": "B", "pool-prefer-warm": "B"}
_OPTIONS = {**haproxy_words.OPTIONS, **OUR_OPTIONS}


def read_option(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `[no|default] option <name> …`. Raises Wrong."""
    if not line.arguments:
        raise Wrong("'option' needs the name of an option")
    option = Line(line.place, line.arguments, line.prefix)
    proxy.say(f"option {option.keyword}", line.place)
    if option.keyword not in _OPTIONS:
        _unknown(option, report)
        return
    if option.prefix and option.keyword in haproxy_words.OPTIONS_NEVER_NEGATED:
        raise Wrong(f"'{option.prefix}' cannot stand before 'option {option.keyword}'")
    if not set(_OPTIONS[option.keyword]) & set(proxy.sides):
        side = "frontend" if proxy.sides == "B" else "backend"
        report.warn(line.place, f"'option {option.keyword}' is ignored: {proxy.title} has no {side} side")
        return
    if option.keyword in haproxy_words.OPTIONS_WITHOUT_EFFECT:
        report.without_effect(f"option {option.keyword}", line.place)
    elif option.keyword in _READERS:
        _READERS[option.keyword](proxy, option, report)
    elif not option.prefix:
        raise Wrong(not_done(f"option {option.keyword}", hint=HINTS.get(option.keyword, "")))
    # `no option X` for an unimplemented option asks for the present behaviour, and is accepted.


def _unknown(option: Line, report: Report) -> None:
    name = option.keyword
    if name in haproxy_words.OPTIONS_REMOVED:
        raise Wrong(f"'option {name}' is gone: {haproxy_words.OPTIONS_REMOVED[name]}")
    if name == "http-use-htx" and option.prefix != "no":
        report.warn(option.place, "'option http-use-htx' is obsolete and ignored: take it out")
        return
    if name in haproxy_words.TIMEOUTS:
        raise Wrong(f"unknown option '{name}': did you mean 'timeout {name}'?")
    if name in haproxy_words.PROXY:
        raise Wrong(f"unknown option '{name}': it is a keyword of its own, write it without 'option'")
    raise Wrong(f"unknown option '{name}'{did_you_mean(name, _OPTIONS)}")


def _flag(proxy: ProxyDraft, option: Line, report: Report) -> None:
    _alone(option)
    if option.keyword == "abortonclose" and "B" not in proxy.sides:
        # In a frontend it is about clients that close during their TLS handshake, which always aborts the connection
        # here.
        report.without_effect(f"{option.prefix} option abortonclose".strip(), option.place)
        return
    field = _FLAGS[option.keyword]
    unset = fields_dict(ProxyDraft)[field].default
    setattr(proxy, field, unset if option.prefix == "default" else not option.prefix)


def _restricts_names(proxy: ProxyDraft, option: Line, report: Report) -> None:
    policy = option.one_argument("preserve, delete or reject")
    proxy.restricts_names = one_of(policy, ("preserve", "delete", "reject"), f"'option {option.keyword}'")


def _originalto(proxy: ProxyDraft, option: Line, report: Report) -> None:
    setting = ForwardFor("X-Original-To")
    words = option.arguments
    while words:
        if words[0] not in ("except", "header"):
            raise Wrong(f"'option originalto': unknown word '{words[0]}'{did_you_mean(words[0], ('except', 'header'))}")
        if len(words) < 2 or not words[1]:
            raise Wrong(f"'option originalto {words[0]}' needs a value")
        if words[0] == "header":
            setting = evolve(setting, header=words[1])
        else:
            setting = evolve(setting, except_network=_network(words[1]))
        words = words[2:]
    proxy.originalto = setting


#: The parameters of RFC 7239, and what each says where no expression says it.
_PARAMETERS = {
    "host": ("host", "req.hdr(host)"),
    "by": ("by", "dst"),
    "by_port": ("by_port", "dst_port"),
    "for": ("seen", "src"),
    "for_port": ("seen_port", "src_port"),
}
_WORDS_OF_FORWARDED = ("proto", *_PARAMETERS, *(f"{word}-expr" for word in _PARAMETERS))


def _forwarded(proxy: ProxyDraft, option: Line, report: Report) -> None:
    """Reads `forwarded [proto] [host|host-expr EXPRESSION] …`; `proto for` where nothing is said. Raises Wrong."""
    if option.prefix:
        _alone(option)
        proxy.forwarded = None
        return
    said: dict[str, Any] = {}
    words = list(option.arguments or ("proto", "for"))
    while words:
        word = words.pop(0)
        what = f"'option forwarded': '{word}'"
        if word not in _WORDS_OF_FORWARDED:
            raise Wrong(f"'option forwarded': unknown word '{word}'{did_you_mean(word, _WORDS_OF_FORWARDED)}")
        if word == "proto":
            said["proto"] = True
            continue
        name, usual = _PARAMETERS[word.removesuffix("-expr")]
        if name in said:
            raise Wrong(f"{what} stands beside another one of the same")
        if not word.endswith("-expr"):
            said[name] = read_expression(usual, what)
            continue
        if not words:
            raise Wrong(f"{what} needs an expression")
        said[name] = expression = read_expression(words.pop(0), what)
        if where_of(expression) not in AT_HAND[REQUEST]:
            raise Wrong(
                f"{what}: '{expression}' needs {NEEDED[where_of(expression)]}, which is not at hand in a request"
            )
    for name, word in (("by", "by"), ("seen", "for")):
        if f"{name}_port" in said and name not in said:
            raise Wrong(
                f"'option forwarded': '{word}_port' is a part of '{word}': write '{word}', or '{word}-expr', too"
            )
    proxy.forwarded = Forwarded(**said)


def _alone(option: Line) -> None:
    if option.arguments:
        raise Wrong(f"'option {option.keyword}' takes nothing after it: '{option.arguments[0]}'")


def _connection_mode(proxy: ProxyDraft, option: Line, report: Report) -> None:
    if option.arguments and option.keyword == "http-server-close":
        raise Wrong(hints.server_close(option.arguments[0]))
    _alone(option)
    mode = CONNECTION_MODES[option.keyword]
    if not option.prefix:
        proxy.connection_mode = mode
    elif proxy.connection_mode == mode:
        proxy.connection_mode = None


def _forwardfor(proxy: ProxyDraft, option: Line, report: Report) -> None:
    setting = ForwardFor()
    words = option.arguments
    while words:
        if words[0] == "if-none":
            setting, words = evolve(setting, if_none=True), words[1:]
        elif words[0] in ("except", "header"):
            if len(words) < 2 or not words[1]:
                raise Wrong(f"'option forwardfor {words[0]}' needs a value")
            if words[0] == "header":
                setting = evolve(setting, header=words[1])
            else:
                setting = evolve(setting, except_network=_network(words[1]))
            words = words[2:]
        else:
            known = ("except", "header", "if-none")
            raise Wrong(f"'option forwardfor': unknown word '{words[0]}'{did_you_mean(words[0], known)}")
    proxy.forwardfor = setting


def _network(text: str) -> str:
    try:
        if "%" in text:  # Python takes the name of an interface there
            raise ValueError
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise Wrong(
            f"'option forwardfor except' needs an address or a network such as 10.0.0.0/8, not '{text}'"
        ) from None


def _httpchk(proxy: ProxyDraft, option: Line, report: Report) -> None:
    proxy.begin_checks()
    proxy.hello = None
    proxy.httpchk = read_httpchk(option, report)


def _tcp_check(proxy: ProxyDraft, option: Line, report: Report) -> None:
    _alone(option)
    proxy.hello = Hello("tcp")


def _hello(proxy: ProxyDraft, option: Line, report: Report) -> None:
    """Reads `redis-check` and its like. Raises Wrong."""
    name, rest = option.keyword, option.arguments
    if name == "pgsql-check":
        if len(rest) != 2 or rest[0] != "user":
            raise Wrong("'option pgsql-check' needs a user: option pgsql-check user NAME")
        rest = rest[1:]
    elif name == "mysql-check" and rest:
        if rest[0] != "user" or not 2 <= len(rest) <= 3 or rest[2:] not in ((), ("post-41",), ("pre-41",)):
            raise Wrong("'option mysql-check' takes nothing, or: user NAME [post-41|pre-41]")
        rest = rest[1:]
    elif name == "smtpchk" and rest:
        if len(rest) != 2 or rest[0] not in ("HELO", "EHLO"):
            raise Wrong(
                "'option smtpchk' takes nothing, or HELO or EHLO with a domain: option smtpchk EHLO example.org"
            )
    elif rest:
        _alone(option)
    if not all(each.isprintable() for each in rest):
        raise Wrong(f"'option {name}': a control character cannot be sent")
    proxy.hello = Hello(_HELLOS[name], rest)


_HELLOS = {
    "redis-check": "redis",
    "mysql-check": "mysql",
    "pgsql-check": "pgsql",
    "ldap-check": "ldap",
    "smtpchk": "smtp",
    "ssl-hello-chk": "ssl-hello",
    "external-check": "external",
}
OPTION_OF_CHECKS = {"tcp": "tcp-check", **{protocol: option for option, protocol in _HELLOS.items()}}


def _traffic_log(proxy: ProxyDraft, option: Line, report: Report) -> None:
    """Reads `httplog [clf]`, `httpslog` and `tcplog [clf]`, which take the place of `log-format` and of one another.
    Raises Wrong."""
    clf = option.keyword != "httpslog" and option.arguments == ("clf",)
    if option.arguments and not clf:
        may = "" if option.keyword == "httpslog" else ", or 'clf',"
        raise Wrong(f"'option {option.keyword}' takes nothing{may} after it: '{option.arguments[0]}'")
    proxy.log_format = f"{option.keyword} clf" if clf else option.keyword
    proxy.formats.pop("log-format", None)


def _tcp_keep_alive(proxy: ProxyDraft, option: Line, report: Report) -> None:
    """Reads `clitcpka`, `srvtcpka` and `tcpka`, which stands for both; TCP keep-alive to servers is
    always on. Raises Wrong."""
    _alone(option)
    if option.keyword != "srvtcpka" and "F" in proxy.sides:
        proxy.clitcpka = not option.prefix
    if option.prefix and option.keyword != "clitcpka" and "B" in proxy.sides:
        text = (
            f"'no option {option.keyword}' is without effect on servers: their connections always have TCP keep-alive"
        )
        report.notice(option.place, text)


def _redispatch(proxy: ProxyDraft, option: Line, report: Report) -> None:
    option.at_most(1)
    interval = option.arguments[0] if option.arguments else "-1"
    if not re.fullmatch("[+-]?[0-9]{1,9}", interval):
        raise Wrong(
            "'option redispatch' needs a whole number (n: every n-th retry, -n: the n-th from the last),"
            f" not '{interval}'"
        )
    number = int(interval)
    proxy.redispatch = 0 if option.prefix else number


_READERS: dict[str, Callable[[ProxyDraft, Line, Report], None]] = {
    **dict.fromkeys(_FLAGS, _flag),
    **dict.fromkeys(CONNECTION_MODES, _connection_mode),
    "forwardfor": _forwardfor,
    "http-restrict-req-hdr-names": _restricts_names,
    "originalto": _originalto,
    "forwarded": _forwarded,
    "httpchk": _httpchk,
    "tcp-check": _tcp_check,
    **dict.fromkeys(_HELLOS, _hello),
    **dict.fromkeys(("httplog", "httpslog", "tcplog"), _traffic_log),
    "redispatch": _redispatch,
    **dict.fromkeys(("clitcpka", "srvtcpka", "tcpka"), _tcp_keep_alive),
}
