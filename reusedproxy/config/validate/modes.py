"""Checks what sections say against their mode: words of HTTP in `mode tcp`, and rules about bytes in `mode http`.

As in HAProxy, most words of the other mode are ignored with a warning; those that restrict access are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from reusedproxy.config.language.report import Report
from reusedproxy.config.model.balance import BALANCE, NEEDS_HTTP
from reusedproxy.config.model.rules import Rule
from reusedproxy.config.model.values import Expression, Place
from reusedproxy.config.rules.acls import resolved, resolved_backend, resolved_use_server
from reusedproxy.config.rules.expressions import where_of
from reusedproxy.config.rules.formats import needs_http
from reusedproxy.config.rules.samples import CLIENT_BYTES, EITHER_BYTES, NEEDED, REQUEST, SERVER_BYTES
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.sections.options import CONNECTION_MODES
from reusedproxy.config.validate.rules import stats_rules

#: Keywords about requests.
_HTTP_WORDS = (
    "cookie",
    "force-persist",
    "http-after-response",
    "http-request",
    "http-response",
    "http-reuse",
    "ignore-persist",
    "monitor",
    "monitor-uri",
    "redirect",
    "stats",
    "unique-id-header",
)
#: Those that HAProxy ignores in silence.
_IN_SILENCE = frozenset(
    (
        "force-persist",
        "http-reuse",
        "ignore-persist",
        "monitor",
        "option h1-case-adjust-bogus-client",
        "option h1-case-adjust-bogus-server",
        "option http-keep-alive",
        "option http-server-close",
        "unique-id-header",
        "option httpclose",
        "option persist",
    )
)
#: Where what a client sends has to be there; a request is read in it.
_BYTES_OF_CLIENTS = (CLIENT_BYTES, EITHER_BYTES, REQUEST)
#: Who has logged in is found out in mode http only.
_OF_USERS = frozenset(("http_auth", "http_auth_group", "http_auth_pass", "http_auth_type", "http_auth_user"))
#: What says that a connection carries one request after the other.
_POOL_WORDS = ("check-reuse-pool", "idle-ping", "max-reuse", "pool-idle-timeout", "pool-low-conn", "pool-max-conn")


def validate_mode(draft: ProxyDraft, report: Report) -> None:
    """Checks one section."""
    if draft.tcp:
        _tcp(draft, report)
    elif draft.mode == "http":
        _http(draft, report)


def validate_modes(drafts: Sequence[ProxyDraft], report: Report) -> None:
    """Checks that frontends lead to backends of their own mode."""
    backends = {draft.name: draft for draft in drafts if "B" in draft.sides}
    for draft in drafts:
        if "F" not in draft.sides or draft.disabled or "mode" in draft.unreadable:
            continue
        named = [(rule.place, rule.name.constant) for rule in draft.use_backends]
        if draft.default_backend is not None:
            named.append((draft.default_backend.place, draft.default_backend.name))
        for place, name in named:
            backend = backends.get(name or "")
            if backend is not None and "mode" not in backend.unreadable and backend.tcp != draft.tcp:
                ours, theirs = ("tcp", "http") if draft.tcp else ("http", "tcp")
                text = f"{draft.title} is in mode {ours}, and {backend.title} in mode {theirs}: say the same in both"
                if draft.tcp:
                    text += " (HAProxy would take what comes for HTTP; here a connection stays what its frontend says)"
                report.fault(place, text)


def _tcp(draft: ProxyDraft, report: Report) -> None:
    why = "mode tcp" if draft.mode else "mode tcp, as no 'mode' is said"
    for rule in (*draft.request_rules, *draft.response_rules):
        if rule.action.answers:
            text = (
                f"'{rule.words}' needs 'mode http', and {draft.title} is in {why}: nothing would keep anybody out"
                " (HAProxy warns, and ignores it). Write 'mode http', or 'tcp-request content reject' with a condition"
                " about the connection, or take it out"
            )
            report.fault(rule.place, text)
    refused = {rule.place for rule in (*draft.request_rules, *draft.response_rules) if rule.action.answers}
    for word in (*_HTTP_WORDS, *(f"option {name}" for name in _http_options(draft))):
        if word in draft.own and word not in draft.unreadable and draft.said[word] not in refused:
            tell = report.notice if word in _IN_SILENCE else report.warn
            tell(draft.said[word], f"'{word}' is ignored, as it needs 'mode http': {draft.title} is in {why}")
    if draft.log_format.startswith("http") and "F" in draft.sides:
        option = f"option {draft.log_format.removesuffix(' clf')}"
        place = draft.said[option] if option in draft.own else draft.place
        report.warn(place, f"{draft.title} is in {why}: '{option}' counts as 'option tcplog' there")
    if draft.captured_cookie[0] and "F" in draft.sides:
        text = f"'capture cookie' is ignored, as it needs 'mode http': {draft.title} is in {why}"
        report.warn(draft.said["capture"], text)
    for keyword, line in draft.formats.items() if "F" in draft.sides else ():
        if (alias := needs_http(line.format)) and keyword != "unique-id-format":
            text = f"'{keyword}': '{alias}' is about requests, and {draft.title} is in {why}"
            report.fault(line.place if keyword in draft.own else draft.place, text)
    _knows_no_users(draft, why, report)
    if "B" in draft.sides:
        _tcp_backend(draft, why, report)
    if draft.inspect_delay is None and "tcp-request inspect-delay" not in draft.unreadable:
        _nobody_waits(draft, report)


def _knows_no_users(draft: ProxyDraft, why: str, report: Report) -> None:
    """Refuses rules that ask for users, who would be nobody: HAProxy looks for their passwords in mode tcp, too."""
    for place, what, said in (*_content(draft), *_choosing(draft)):
        asked = next((each for each in expressions_in(said) if each.fetch.name in _OF_USERS), None)
        if asked is not None:
            report.fault(place, f"{what}: '{asked}' needs 'mode http', and {draft.title} is in {why}")


def _nobody_waits(draft: ProxyDraft, report: Report) -> None:
    """Warns of rules that look at what a client sends first and do not wait for it, as HAProxy does."""
    lines: list[tuple[Place, str, object]] = [
        (rule.place, f"'{rule.words}'", resolved(rule, draft.acls)) for rule in draft.content_rules
    ]
    lines += ((each.place, "'use_backend'", resolved_backend(each, draft.acls)) for each in draft.use_backends)
    for place, what, said in lines:
        asked = next((each for each in expressions_in(said) if where_of(each) in _BYTES_OF_CLIENTS), None)
        if asked is not None:
            text = (
                f"{what}: '{asked}' is asked for what has come by chance when the client has connected, since nothing"
                " waits for it: add 'tcp-request inspect-delay 5s' and, where no other rule waits, 'tcp-request content"
                " accept if { req.len gt 0 }' or the like"
            )
            report.warn(place, text)


def _http_options(draft: ProxyDraft) -> Iterable[str]:
    """Returns the options about requests that are on."""
    if draft.forwardfor is not None:
        yield "forwardfor"
    for name, mode in CONNECTION_MODES.items():
        if draft.connection_mode == mode:
            yield name
    for name, on in (
        ("http-buffer-request", draft.buffers_request),
        ("http-ignore-probes", draft.ignores_probes),
        ("http-pretend-keepalive", draft.pretends_keepalive),
        ("h1-case-adjust-bogus-client", draft.h1_case_adjust_bogus_client),
        ("h1-case-adjust-bogus-server", draft.h1_case_adjust_bogus_server),
        ("originalto", draft.originalto is not None),
        ("forwarded", draft.forwarded is not None),
        ("http-upgrade-with-body", draft.upgrade_with_body),
        ("http-use-proxy-header", draft.uses_proxy_header),
        ("persist", draft.persist and not draft.stick_rules),
        ("prefer-last-server", draft.prefer_last),
    ):
        if on:
            yield name


def _tcp_backend(draft: ProxyDraft, why: str, report: Report) -> None:
    algorithm = draft.balance.algorithm
    if algorithm in NEEDS_HTTP:
        place = draft.said["balance"] if "balance" in draft.own else draft.place
        text = f"'balance {algorithm}' looks at requests, and {draft.title} is in {why}: it is '{BALANCE[0]}' there"
        report.warn(place, text)
    if draft.hedge is not None and "hedge" in draft.own:
        text = f"'hedge': {draft.title} is in {why}, where no request can be sent a second time"
        report.fault(draft.said["hedge"], text)
    if draft.retry_on - {"conn-failure", "none"} and "retry-on" in draft.own:
        text = f"'retry-on': {draft.title} is in {why}, where only a connection that failed can be tried again"
        report.warn(draft.said["retry-on"], text)
    for server in draft.servers:
        words = server.words
        if words.observe == "layer7":
            report.fault(server.place, f"{server.title}: 'observe layer7' needs 'mode http'")
        idle = [word for word in _POOL_WORDS if word in server.own]
        if idle:
            text = f"{server.title}: '{idle[0]}' does nothing in mode tcp, where a connection serves one client"
            report.notice(server.place, text)


#: Actions upon the bytes of a connection, and those upon messages that come closest.
_FOR_REQUESTS = {"reject": "deny", "close": "deny", "accept": "allow"}


def _http(draft: ProxyDraft, report: Report) -> None:
    for rule in draft.response_content_rules:
        _, _, action = rule.words.rpartition(" ")
        instead = f"http-response {_FOR_REQUESTS.get(action, action)}"
        text = f"'{rule.words}' is not done in mode http, in which {draft.title} is: write '{instead}'"
        report.fault(rule.place, text)
    for word in ("tcp-request inspect-delay", "tcp-response inspect-delay"):
        if word in draft.own and word not in draft.unreadable:
            text = f"'{word}' does nothing in mode http: the time for a request is 'timeout http-request'"
            report.notice(draft.said[word], text)
    for place, what, said in _conditional(draft):
        for expression in expressions_in(said):
            if (needed := where_of(expression)) in (CLIENT_BYTES, SERVER_BYTES, EITHER_BYTES):
                text = f"{what}: '{expression}' needs {NEEDED[needed]}, and {draft.title} is in mode http"
                report.fault(place, text)


def _conditional(draft: ProxyDraft) -> Iterable[tuple[Place, str, object]]:
    """Returns the lines of a section whose conditions or values may ask for samples."""
    rules: tuple[Rule, ...] = (
        *draft.request_rules,
        *draft.response_rules,
        *draft.after_rules,
        *draft.redirects,
        *draft.connection_rules,
        *draft.session_rules,
        *draft.stick_rules,
        *draft.monitor_fails,
        *draft.persist_rules,
        *stats_rules(draft),
    )
    yield from ((rule.place, f"'{rule.words}'", resolved(rule, draft.acls)) for rule in rules)
    yield from _choosing(draft)
    if draft.balance.expression is not None:
        yield draft.said["balance"], "'balance hash'", draft.balance.expression
    for server in draft.servers:
        for name, expression in (("sni", server.words.sni), ("pool-conn-name", server.words.pool_conn_name)):
            if expression is not None:
                yield server.place, f"{server.title}: '{name}'", expression


def _content(draft: ProxyDraft) -> Iterable[tuple[Place, str, object]]:
    """Returns the rules about bytes."""
    for rule in (*draft.content_rules, *draft.response_content_rules):
        yield rule.place, f"'{rule.words}'", resolved(rule, draft.acls)


def _choosing(draft: ProxyDraft) -> Iterable[tuple[Place, str, object]]:
    """Returns the lines that choose a backend or a server."""
    yield from ((each.place, "'use_backend'", resolved_backend(each, draft.acls)) for each in draft.use_backends)
    yield from ((each.place, "'use-server'", resolved_use_server(each, draft.acls)) for each in draft.use_servers)


def expressions_in(said: object) -> Iterable[Expression]:
    """Returns the expressions within a value of the configuration, at any depth."""
    if isinstance(said, Expression):
        yield said
    elif isinstance(said, tuple):
        for part in said:
            yield from expressions_in(part)
    elif attrs.has(kind := type(said)):
        for field in attrs.fields(kind):
            yield from expressions_in(getattr(said, field.name))
