"""Parses the lines inside `defaults`, `frontend`, `backend` and `listen` sections: one table from keyword to reader.

Each reader changes the draft of its section and raises `Wrong` for a line that it cannot read. Must never judge other
lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import evolve, frozen

from reusedproxy.config.checks.steps import read_http_step, read_tcp_step
from reusedproxy.config.language import haproxy_words, hints, units
from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.header_names import header_name
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, nearest, not_done, one_of
from reusedproxy.config.model.rules import Rule
from reusedproxy.config.rules.acls import read_acl
from reusedproxy.config.rules.connection import read_connection_rule
from reusedproxy.config.rules.inspection import read_content_rule
from reusedproxy.config.rules.lines import (
    read_after_rule,
    read_monitor_fail,
    read_redirect,
    read_request_rule,
    read_response_rule,
    read_use_backend,
)
from reusedproxy.config.rules.reading import FRAMING, HOP
from reusedproxy.config.rules.samples import CLIENT_BYTES, SERVER_BYTES
from reusedproxy.config.sections.balance import (
    read_balance,
    read_hash_balance_factor,
    read_hash_preserve_affinity,
    read_hash_type,
    read_use_server,
)
from reusedproxy.config.sections.binds import read_bind
from reusedproxy.config.sections.compression import read_compression
from reusedproxy.config.sections.cookies import read_cookie, read_dynamic_cookie_key, read_persist_rule
from reusedproxy.config.sections.draft import ProxyDraft, Reference
from reusedproxy.config.sections.errors import read_errorfile, read_errorfiles, read_errorloc, read_http_error
from reusedproxy.config.sections.filters import read_filter
from reusedproxy.config.sections.globals import OUR_WORDS as GLOBAL_OUR_WORDS
from reusedproxy.config.sections.hedging import read_hedge
from reusedproxy.config.sections.keep_alive import CLIENT_WORDS, SERVER_WORDS, read_keep_alive
from reusedproxy.config.sections.logs import log_target
from reusedproxy.config.sections.options import read_option
from reusedproxy.config.sections.server_words import numbers_cut
from reusedproxy.config.sections.servers import ServerDraft, read_default_server, read_server, read_template
from reusedproxy.config.sections.sources import read_source
from reusedproxy.config.sections.stats import read_stats
from reusedproxy.config.sections.tables import read_stick, read_stick_table
from reusedproxy.config.sections.traffic_logs import (
    FORMATS,
    read_capture,
    read_declare,
    read_log_format,
    read_log_tag,
    read_unique_id_header,
    slotted,
)

Reader = Callable[[ProxyDraft, Line, Report], None]


@frozen
class Keyword:
    """Describes an implemented keyword: its reader, the sides that it acts on, and whether `defaults` may have it.

    `refused`: on the other side it is an error, as in HAProxy, which ignores most keywords there with a warning. A
    keyword that restricts access is never ignored.
    """

    read: Reader
    sides: str = "FB"
    in_defaults: bool = True
    refused: bool = False


def read_proxy_line(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads one line of a proxy section. Raises Wrong."""
    try:
        _read_line(proxy, line, report)
    except Wrong:
        lose_proxy_line(proxy, line)
        raise


def lose_proxy_line(proxy: ProxyDraft, line: Line) -> None:
    """Records the setting that an unreadable line was meant to have, so that it is not reported as missing."""
    what = hints.meant(line, KEYWORDS)
    proxy.lose(what, line.place)
    if what == "acl" and line.arguments:
        # A rule that names this ACL must not be told that it does not exist.
        proxy.acls.setdefault(line.words[1], [])


def _read_line(proxy: ProxyDraft, line: Line, report: Report) -> None:
    keyword = KEYWORDS.get(line.keyword)
    if keyword is None:
        raise Wrong(_not_a_keyword(line, proxy.kind))
    if line.prefix and line.keyword not in ("option", "log"):
        raise Wrong(f"'{line.prefix}' stands before 'option' and 'log' only, not before '{line.keyword}'")
    said = f"timeout {line.words[1]}" if line.keyword == "timeout" and line.arguments else line.keyword
    proxy.say(said, line.place)
    if proxy.kind == "defaults" and not keyword.in_defaults:
        raise Wrong(f"'{line.keyword}' cannot stand in a 'defaults' section")
    if not set(keyword.sides) & set(proxy.sides):
        if line.keyword in ("server", "server-template", "default-server"):
            raise Wrong(f"'{line.keyword}' cannot stand in {proxy.title}: servers belong in a 'backend' or 'listen'")
        if keyword.refused:
            other = "a 'backend'" if keyword.sides == "B" else "a 'frontend'"
            raise Wrong(f"'{line.keyword}' cannot stand in {proxy.title}: it belongs in {other} or 'listen'")
        _ignored(line.keyword, proxy, line, report)
        return
    keyword.read(proxy, line, report)


def _ignored(what: str, proxy: ProxyDraft, line: Line, report: Report) -> None:
    side = "frontend" if proxy.sides == "B" else "backend"
    instead = "; a server has a 'maxconn' of its own" if what == "maxconn" else ""
    report.warn(line.place, f"'{what}' is ignored: {proxy.title} has no {side} side{instead}")


# -- words that are not ours -------------------------------------------------------------------------------------------


def _not_a_keyword(line: Line, kind: str) -> str:
    word = line.keyword
    if word in haproxy_words.PROXY:
        return not_done(word, hint=HINTS.get(word, ""))
    if word in haproxy_words.PROXY_REMOVED:
        return f"'{word}' is gone: {haproxy_words.PROXY_REMOVED[word]}"
    return f"unknown keyword '{word}' in section '{kind}'{_hint(line)}"


def _hint(line: Line) -> str:
    word = line.keyword
    if hint := hints.for_unknown_word(line):
        return hint
    if word in haproxy_words.GLOBAL | GLOBAL_OUR_WORDS:
        return ": it belongs in section 'global'"
    # Implemented keywords first: a suggestion that is refused next helps nobody.
    if nearest(word, KEYWORDS):
        return did_you_mean(word, KEYWORDS)
    return did_you_mean(word, haproxy_words.PROXY | haproxy_words.SECTIONS)


# -- words of both sides -----------------------------------------------------------------------------------------------


def _mode(proxy: ProxyDraft, line: Line, report: Report) -> None:
    # Reset first, so that an unreadable mode does not leave the inherited one in force.
    proxy.mode = None
    mode = line.one_argument("'http' (or 'tcp')")
    if mode in haproxy_words.MODES_NOT_DONE:
        raise Wrong(f"'mode {mode}' is HAProxy's; reusedproxy does not do it yet: there are 'mode http' and 'mode tcp'")
    proxy.mode = one_of(mode, haproxy_words.MODES, "'mode'")
    proxy.unreadable.discard("mode")


_TIMEOUT_FIELDS = {
    "connect": ("connect", "B"),
    "client": ("client", "F"),
    "client-fin": ("client_fin", "F"),
    "client-hs": ("client_hs", "F"),
    "server": ("server", "B"),
    "http-request": ("http_request", "FB"),
    "http-keep-alive": ("http_keep_alive", "FB"),
    "queue": ("queue", "B"),
    "check": ("check", "B"),
    "server-fin": ("server_fin", "B"),
    "tunnel": ("tunnel", "B"),
    "tarpit": ("tarpit", "FB"),
}


def _timeout(proxy: ProxyDraft, line: Line, report: Report) -> None:
    if not line.arguments:
        raise Wrong("'timeout' needs a name and a time: timeout client 30s, say")
    name = line.words[1]
    if name not in _TIMEOUT_FIELDS:
        raise Wrong(f"unknown timeout '{name}'{did_you_mean(name, haproxy_words.TIMEOUTS)}")
    field, sides = _TIMEOUT_FIELDS[name]
    if len(line.words) < 3:
        raise Wrong(f"'timeout {name}' needs a time")
    if len(line.words) > 3:
        raise Wrong(f"'timeout {name}' takes one time: '{line.words[3]}' is too much")
    value = units.seconds(line.words[2], f"'timeout {name}'")
    if not set(sides) & set(proxy.sides):
        _ignored(f"timeout {name}", proxy, line, report)
    proxy.timeouts = evolve(proxy.timeouts, **{field: value or None})


def _log(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.log_said = True
    if line.prefix:
        line.at_most(0)
        proxy.logs.clear()
        proxy.log_global = False
    elif line.arguments[:1] == ("global",):
        line.at_most(1)
        proxy.log_global = True
    else:
        proxy.logs.append(log_target(line))


def _disabled(proxy: ProxyDraft, line: Line, report: Report) -> None:
    line.at_most(0)
    proxy.disabled = line.keyword == "disabled"


def _description(proxy: ProxyDraft, line: Line, report: Report) -> None:
    if not line.arguments:
        raise Wrong("'description' needs a text")
    proxy.description = " ".join(line.arguments)


def _id(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.id = units.integer(line.one_argument("a number"), "'id'", least=1)


def _harmless(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Accepts a name for people and statistics."""


# -- the frontend side -------------------------------------------------------------------------------------------------


def _bind(proxy: ProxyDraft, line: Line, report: Report) -> None:
    for draft in read_bind(line, proxy.tls, report, proxy.unix):
        address = draft.bind.address
        twin = next((each for each in proxy.binds if each.says_the_same(draft)), None)
        if twin is None or address.kind != "tcp" or not address.port:  # the kernel picks another each time
            proxy.binds.append(draft)
        else:
            text = f"'bind {address}' stands already at {twin.bind.place}, with the same words: it is listened on once"
            report.warn(line.place, text)


def _maxconn(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.maxconn = units.integer(line.one_argument("a number of connections"), "'maxconn'")


def _rate_limit(proxy: ProxyDraft, line: Line, report: Report) -> None:
    if line.arguments[:1] != ("sessions",):
        raise Wrong("'rate-limit' needs 'sessions' and a number after it: rate-limit sessions 100, say")
    rate = Line(line.place, ("rate-limit sessions", *line.words[2:]))
    proxy.session_rate = units.integer(rate.one_argument("a number of clients a second"), "'rate-limit sessions'")


def _backlog(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.backlog = units.integer(line.one_argument("a number of connections"), "'backlog'")


def _default_backend(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.default_backend = _reference(line)


def _use_backend(proxy: ProxyDraft, line: Line, report: Report) -> None:
    previous = proxy.use_backends[-1] if proxy.use_backends else None
    if previous is not None and previous.condition is None:
        text = f"the 'use_backend' at {previous.place} has no condition, so this one never counts"
        report.warn(line.place, text)
    proxy.use_backends.append(read_use_backend(line, proxy.acls, report))


def _reference(line: Line) -> Reference:
    name = line.one_argument("the name of a backend")
    if "%[" in name:
        raise Wrong(f"'{line.keyword}' with an expression (%[…]) is HAProxy's; reusedproxy does not do it yet")
    return Reference(line.place, name)


# -- rules ------------------------------------------------------------------------------------------------------------


def _acl(proxy: ProxyDraft, line: Line, report: Report) -> None:
    _not_in_nameless_defaults(proxy, line)
    name, criterion = read_acl(line, report)
    proxy.acls.setdefault(name, []).append(criterion)


def _http_request(proxy: ProxyDraft, line: Line, report: Report) -> None:
    _not_in_nameless_defaults(proxy, line)
    for later, word in ((proxy.redirects, "redirect"), (proxy.use_backends, "use_backend")):
        if later:
            text = f"this 'http-request' rule counts before the '{word}' rules, wherever it stands"
            report.warn(line.place, text)
    _add_rule(proxy.request_rules, slotted(proxy, read_request_rule(line, proxy.acls, report)), report)


def _http_response(proxy: ProxyDraft, line: Line, report: Report) -> None:
    _not_in_nameless_defaults(proxy, line)
    _add_rule(proxy.response_rules, read_response_rule(line, proxy.acls, report), report)


def _http_after_response(proxy: ProxyDraft, line: Line, report: Report) -> None:
    _not_in_nameless_defaults(proxy, line)
    _add_rule(proxy.after_rules, read_after_rule(line, proxy.acls, report), report)


def _tcp_request(proxy: ProxyDraft, line: Line, report: Report) -> None:
    stage = line.words[1] if line.arguments else ""
    if stage == "inspect-delay":
        proxy.say("tcp-request inspect-delay", line.place)
        proxy.inspect_delay = _delay(line)
        return
    _not_in_nameless_defaults(proxy, line)
    if stage == "content":
        rule = slotted(proxy, read_content_rule(line, CLIENT_BYTES, proxy.acls, report))
        _add_rule(proxy.content_rules, rule, report)
        return
    rule = read_connection_rule(line, proxy.acls, report)
    if "F" not in proxy.sides:
        raise Wrong(f"'tcp-request {stage}' cannot stand in {proxy.title}: clients connect to a 'frontend' or 'listen'")
    (proxy.session_rules if stage == "session" else proxy.connection_rules).append(rule)


def _tcp_response(proxy: ProxyDraft, line: Line, report: Report) -> None:
    stage = line.words[1] if line.arguments else ""
    if stage == "inspect-delay":
        proxy.say("tcp-response inspect-delay", line.place)
        proxy.response_delay = _delay(line)
    elif stage == "content":
        _not_in_nameless_defaults(proxy, line)
        _add_rule(proxy.response_content_rules, read_content_rule(line, SERVER_BYTES, proxy.acls, report), report)
    else:
        text = "'tcp-response' is followed by 'content' and an action, or by 'inspect-delay' and a time"
        raise Wrong(f"{text}{did_you_mean(stage, ('content', 'inspect-delay'))}")


def _delay(line: Line) -> float | None:
    """Reads the time of an `inspect-delay`; 0 is none. Raises Wrong."""
    said = Line(line.place, (f"{line.keyword} inspect-delay", *line.words[2:]))
    return units.seconds(said.one_argument("a time"), f"'{said.keyword}'") or None


def _monitor(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.monitor_fails.append(read_monitor_fail(line, proxy.acls, report))


def _monitor_uri(proxy: ProxyDraft, line: Line, report: Report) -> None:
    uri = line.one_argument("the path that is asked for: monitor-uri /alive, say")
    if not re.match(r"[!-~]+\Z", uri):
        raise Wrong(f"'monitor-uri': '{uri}' cannot stand in a request")
    proxy.monitor_uri = uri


def _redirect(proxy: ProxyDraft, line: Line, report: Report) -> None:
    if proxy.use_backends:
        report.warn(line.place, "this 'redirect' rule counts before the 'use_backend' rules, wherever it stands")
    _add_rule(proxy.redirects, read_redirect(line, proxy.acls, report), report)


def _add_rule(rules: list[Rule], rule: Rule, report: Report) -> None:
    if rules and rules[-1].condition is None and rules[-1].action.ends:
        text = f"the '{rules[-1].words}' at {rules[-1].place} has no condition, so no rule after it counts"
        report.warn(rule.place, text)
    rules.append(rule)


def _not_in_nameless_defaults(proxy: ProxyDraft, line: Line) -> None:
    """Refuses rules in a `defaults` section without a name, as HAProxy does (manual, section 4).

    Every section would inherit them implicitly, and they are easily forgotten.
    """
    if proxy.kind == "defaults" and not proxy.name:
        raise Wrong(f"'{line.keyword}' cannot stand in a 'defaults' section without a name")


# -- error pages ------------------------------------------------------------------------------------------------------


def _errorfile(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.errors.append(read_errorfile(line))


def _errorloc(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.errors.append(read_errorloc(line))


def _errorfiles(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.errors.append(read_errorfiles(line))


def _http_error(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.errors.append(read_http_error(line, report))


# -- the backend side --------------------------------------------------------------------------------------------------


def _server(proxy: ProxyDraft, line: Line, report: Report) -> None:
    name = line.words[1] if line.arguments else ""
    _name_is_free(proxy, name)
    proxy.servers.append(read_server(line, proxy.default_server, proxy.tls))
    _tell_of_words(line, f"server '{name}'", report)


def _tell_of_words(line: Line, what: str, report: Report) -> None:
    """Tells of words of a server's line that do not do what they seem to."""
    for text in numbers_cut(line):
        report.warn(line.place, f"{what}: {text}")
    for word in haproxy_words.SERVER_WITHOUT_EFFECT.intersection(line.arguments):
        report.without_effect(f"server … {word}", line.place)


def _name_is_free(proxy: ProxyDraft, name: str) -> None:
    twin: ServerDraft | None = next((server for server in proxy.servers if server.name == name), None)
    if twin is not None:
        raise Wrong(f"server '{name}' stands already at {twin.place}: give each server of a backend its own name")


def _server_template(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.say("server", line.place)
    made = read_template(line, proxy.default_server, proxy.tls)
    for server in made:
        _name_is_free(proxy, server.name)
    proxy.servers += made
    _tell_of_words(line, "'server-template'", report)


def _default_server(proxy: ProxyDraft, line: Line, report: Report) -> None:
    read_default_server(line, proxy.default_server)
    _tell_of_words(line, "'default-server'", report)


def _http_check(proxy: ProxyDraft, line: Line, report: Report) -> None:
    if not line.arguments:
        raise Wrong("'http-check' needs a word after it: http-check expect status 200, say")
    check = Line(line.place, line.arguments)
    if check.keyword in ("disable-on-404", "send-state"):
        check.at_most(0)
        setattr(proxy, check.keyword.replace("-", "_"), True)
    else:
        proxy.begin_checks()
        proxy.http_steps.append(read_http_step(check, proxy.http_steps))
    proxy.say(f"http-check {check.keyword}", line.place)


def _tcp_check(proxy: ProxyDraft, line: Line, report: Report) -> None:
    if not line.arguments:
        raise Wrong("'tcp-check' needs a word after it: tcp-check connect, say")
    check = Line(line.place, line.arguments)
    proxy.begin_tcp_checks()
    proxy.tcp_steps.append(read_tcp_step(check, proxy.tcp_steps))


def _http_reuse(proxy: ProxyDraft, line: Line, report: Report) -> None:
    word = line.one_argument("never, safe, aggressive or always")
    proxy.http_reuse = one_of(word, ("never", "safe", "aggressive", "always"), "'http-reuse'")


def _name_header(proxy: ProxyDraft, line: Line, report: Report) -> None:
    line.at_most(1)
    name = line.words[1] if line.arguments else ""
    if name:
        header_name(name, "'http-send-name-header'")
    if name.lower() in FRAMING | HOP | {"host"}:
        raise Wrong(f"'http-send-name-header': '{name}' says something else to servers")
    proxy.name_header = name


def _fullconn(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.fullconn = units.integer(line.one_argument("a number of requests"), "'fullconn'")


def _external_check(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `external-check command PROGRAM` and `external-check path PATH`. Raises Wrong."""
    which = line.arguments[0] if line.arguments else ""
    if which not in ("command", "path"):
        raise Wrong("'external-check' is followed by 'command' and a program, or 'path' and where programs are")
    value = Line(line.place, (f"external-check {which}", *line.arguments[1:])).one_argument("a value")
    if which == "command":
        proxy.check_command = value
    else:
        proxy.check_path = value


def _state_from(proxy: ProxyDraft, line: Line, report: Report) -> None:
    word = line.one_argument("global, local or none")
    proxy.state_from = one_of(word, ("global", "local", "none"), "'load-server-state-from-file'")


def _state_file(proxy: ProxyDraft, line: Line, report: Report) -> None:
    name = line.one_argument("a file, or 'use-backend-name'") if line.arguments else "use-backend-name"
    proxy.state_file = "" if name == "use-backend-name" else name


def _source(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.source = read_source(line)


def _max_keep_alive_queue(proxy: ProxyDraft, line: Line, report: Report) -> None:
    number = line.one_argument("a number of requests, -1 for any number")
    proxy.max_keep_alive_queue = units.integer(number, "'max-keep-alive-queue'", least=-1)


def _retries(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.retries = units.integer(line.one_argument("a number"), "'retries'")


def _retry_on(proxy: ProxyDraft, line: Line, report: Report) -> None:
    if not line.arguments:
        raise Wrong("'retry-on' needs one or more of: none, conn-failure, empty-response, a status such as 503")
    words: set[str] = set()
    for word in line.arguments:
        if word == "all-retryable-errors":
            words.update(haproxy_words.ALL_RETRYABLE_ERRORS)
        else:
            words.add(one_of(word, sorted(haproxy_words.RETRY_ON), "'retry-on'"))
    if "none" in words and len(words) > 1:
        raise Wrong("'retry-on none' stands alone: nothing can be retried beside it")
    if "0rtt-rejected" in words and "all-retryable-errors" not in line.arguments:
        report.notice(line.place, "'retry-on 0rtt-rejected' does nothing here: no request is ever sent as early data")
    proxy.retry_on = frozenset(words)


def _hedge(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.hedge = read_hedge(line)


#: reusedproxy's own words; HAProxy refuses them.
OUR_WORDS = frozenset({"hedge"})
KEYWORDS: dict[str, Keyword] = {
    "mode": Keyword(_mode),
    "option": Keyword(read_option),
    "timeout": Keyword(_timeout),
    "log": Keyword(_log),
    **{word: Keyword(read_log_format, "F") for word in FORMATS},
    "unique-id-format": Keyword(read_log_format),
    "log-tag": Keyword(read_log_tag),
    "unique-id-header": Keyword(read_unique_id_header),
    "capture": Keyword(read_capture, "F", in_defaults=False),
    "declare": Keyword(read_declare, "F", in_defaults=False, refused=True),
    "disabled": Keyword(_disabled),
    "enabled": Keyword(_disabled),
    "description": Keyword(_description, in_defaults=False),
    "id": Keyword(_id, in_defaults=False),
    "guid": Keyword(_harmless, in_defaults=False),
    "stats": Keyword(read_stats),
    "bind": Keyword(_bind, "F", in_defaults=False),
    "maxconn": Keyword(_maxconn, "F"),
    "backlog": Keyword(_backlog, "F"),
    "rate-limit": Keyword(_rate_limit, "F"),
    "default_backend": Keyword(_default_backend, "F"),
    "use_backend": Keyword(_use_backend, "F", in_defaults=False),
    "acl": Keyword(_acl),
    "tcp-request": Keyword(_tcp_request),
    "tcp-response": Keyword(_tcp_response, "B", refused=True),
    "http-request": Keyword(_http_request),
    "http-response": Keyword(_http_response),
    "http-after-response": Keyword(_http_after_response),
    "monitor": Keyword(_monitor, "F", in_defaults=False),
    "monitor-uri": Keyword(_monitor_uri, "F"),
    "redirect": Keyword(_redirect, in_defaults=False),
    "errorfile": Keyword(_errorfile),
    "errorloc": Keyword(_errorloc),
    "errorloc302": Keyword(_errorloc),
    "errorloc303": Keyword(_errorloc),
    "errorfiles": Keyword(_errorfiles),
    "http-error": Keyword(_http_error),
    "compression": Keyword(read_compression),
    "filter": Keyword(read_filter, in_defaults=False),
    "balance": Keyword(read_balance, "B"),
    "hash-type": Keyword(read_hash_type, "B"),
    "hash-balance-factor": Keyword(read_hash_balance_factor, "B"),
    "hash-preserve-affinity": Keyword(read_hash_preserve_affinity, "B"),
    "use-server": Keyword(read_use_server, "B", in_defaults=False, refused=True),
    "server": Keyword(_server, "B", in_defaults=False),
    "server-template": Keyword(_server_template, "B", in_defaults=False),
    "default-server": Keyword(_default_server, "B"),
    "http-check": Keyword(_http_check, "B"),
    "tcp-check": Keyword(_tcp_check, "B"),
    "http-reuse": Keyword(_http_reuse, "B"),
    "http-send-name-header": Keyword(_name_header, "B"),
    "retries": Keyword(_retries, "B"),
    "retry-on": Keyword(_retry_on, "B", refused=True),
    "hedge": Keyword(_hedge, "B", refused=True),
    "fullconn": Keyword(_fullconn, "B"),
    "external-check": Keyword(_external_check, "B"),
    **dict.fromkeys(CLIENT_WORDS, Keyword(read_keep_alive, "F")),
    **dict.fromkeys(SERVER_WORDS, Keyword(read_keep_alive, "B")),
    "load-server-state-from-file": Keyword(_state_from, "B"),
    "server-state-file-name": Keyword(_state_file, "B"),
    "source": Keyword(_source, "B"),
    "max-keep-alive-queue": Keyword(_max_keep_alive_queue, "B"),
    "cookie": Keyword(read_cookie, "B"),
    "dynamic-cookie-key": Keyword(read_dynamic_cookie_key, "B"),
    "stick-table": Keyword(read_stick_table, in_defaults=False),
    "stick": Keyword(read_stick, "B", in_defaults=False),
    "force-persist": Keyword(read_persist_rule, "B", in_defaults=False),
    "ignore-persist": Keyword(read_persist_rule, "B", in_defaults=False),
}
