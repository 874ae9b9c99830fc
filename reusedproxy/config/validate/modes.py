"""Checks what sections say against their mode: words of HTTP in `mode tcp`, and rules about bytes in `mode http`.

As in HAProxy, most words of the other mode are ignored with a warning; those that restrict access are refused. Where a
frontend in mode tcp leads to backends in mode http, what comes for these is read as requests, and its words of HTTP
apply to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reusedproxy.config.language.report import Report
from reusedproxy.config.model.balance import BALANCE, NEEDS_HTTP
from reusedproxy.config.model.rules import Receive, Rule
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.acls import resolved, resolved_backend
from reusedproxy.config.rules.expressions import where_of
from reusedproxy.config.rules.formats import needs_http
from reusedproxy.config.rules.samples import CLIENT_BYTES, EITHER_BYTES, NEEDED, REQUEST, SERVER_BYTES
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.sections.options import CONNECTION_MODES
from reusedproxy.config.validate.contents import (
    bodies_by_chance,
    bodies_of_backends,
    content_of_requests,
    content_of_responses,
)
from reusedproxy.config.validate.rules import choosing, expressions_in, of_servers, stats_rules

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
#: What counts of a frontend in mode tcp for clients whose bytes are read as requests.
_OF_REQUESTS = frozenset(
    (
        "http-after-response",
        "http-request",
        "http-response",
        "option forwardfor",
        "option h1-case-adjust-bogus-client",
        "option http-buffer-request",
        "option http-ignore-probes",
        "option http-keep-alive",
        "option http-server-close",
        "option http-use-proxy-header",
        "option httpclose",
        "option originalto",
        "redirect",
        "unique-id-header",
    )
)
SWITCH = Receive("switch-mode")
#: Where what a client sends has to be there; a request is read in it.
_BYTES_OF_CLIENTS = (CLIENT_BYTES, EITHER_BYTES, REQUEST)
#: Who has logged in is found out in mode http only.
_OF_USERS = frozenset(("http_auth", "http_auth_group", "http_auth_pass", "http_auth_type", "http_auth_user"))
#: What says that a connection carries one request after the other.
_POOL_WORDS = ("check-reuse-pool", "idle-ping", "max-reuse", "pool-idle-timeout", "pool-low-conn", "pool-max-conn")


def validate_mode(draft: ProxyDraft, requests: bool, report: Report) -> None:
    """Checks one section. `requests` tells that one in mode tcp has clients whose bytes are read as requests."""
    if draft.tcp:
        _tcp(draft, requests, report)
    elif draft.mode == "http":
        _http(draft, report)


def _led_to(draft: ProxyDraft) -> Iterable[tuple[Place, str | None]]:
    """Returns the names of the backends to which a section leads, None for one that depends on the client."""
    yield from ((rule.place, rule.name.constant) for rule in draft.use_backends)
    if draft.default_backend is not None:
        yield draft.default_backend.place, draft.default_backend.name


def with_requests(drafts: Sequence[ProxyDraft]) -> frozenset[str]:
    """Returns the names of the frontends in mode tcp that lead clients to backends in mode http, or have
    `switch-mode`."""
    of_requests = {each.name for each in drafts if "B" in each.sides and not each.tcp and not each.disabled}
    everywhere = of_requests | ({None} if of_requests else set())
    return frozenset(
        draft.name
        for draft in drafts
        if "F" in draft.sides
        and draft.tcp
        and (_switches(draft) or not everywhere.isdisjoint(name for _, name in _led_to(draft)))
    )


def _switches(draft: ProxyDraft) -> bool:
    return any(rule.action == SWITCH for rule in draft.content_rules)


def validate_modes(drafts: Sequence[ProxyDraft], report: Report) -> None:
    """Checks that no frontend in mode http leads to a backend in mode tcp, as in HAProxy."""
    backends = {draft.name: draft for draft in drafts if "B" in draft.sides}
    for draft in drafts:
        if "F" not in draft.sides or draft.disabled or draft.tcp or "mode" in draft.unreadable:
            continue
        for place, name in _led_to(draft):
            backend = backends.get(name or "")
            if backend is not None and "mode" not in backend.unreadable and backend.tcp:
                text = f"{draft.title} is in mode http, and {backend.title} in mode tcp: say the same in both"
                report.fault(place, text)
    led = {draft.name: [name for _, name in _led_to(draft)] for draft in drafts if "F" in draft.sides}
    bodies_of_backends(drafts, led, report)
    requests = with_requests(drafts)
    for draft in drafts:
        if _switches(draft):
            _switches_in_vain(draft, draft.name in requests and not _leads_to_requests(draft, backends), report)


def _leads_to_requests(draft: ProxyDraft, backends: Mapping[str, ProxyDraft]) -> bool:
    named = [name for _, name in _led_to(draft)]
    return None in named or any(name in backends and not backends[name].tcp for name in named if name)


def _switches_in_vain(draft: ProxyDraft, nowhere: bool, report: Report) -> None:
    """Checks that `switch-mode` leads somewhere."""
    place = next(rule.place for rule in draft.content_rules if rule.action == SWITCH)
    if "F" not in draft.sides and draft.kind != "defaults":
        text = f"'tcp-request content switch-mode' belongs in a frontend, and {draft.title} is none"
        report.fault(place, text)
    elif nowhere:
        text = (
            f"'switch-mode http': {draft.title} leads to no backend in mode http, so that no request is answered: add a"
            " 'use_backend' or 'default_backend' for them"
        )
        report.warn(place, text)


def _tcp(draft: ProxyDraft, requests: bool, report: Report) -> None:
    why = "mode tcp" if draft.mode else "mode tcp, as no 'mode' is said"
    if requests:
        _of_requests(draft, report)
    for rule in (*draft.request_rules, *draft.response_rules):
        if rule.action.answers and not requests:
            text = (
                f"'{rule.words}' needs 'mode http', and {draft.title} is in {why}: nothing would keep anybody out"
                " (HAProxy warns, and ignores it). Write 'mode http', or 'tcp-request content reject' with a condition"
                " about the connection, or take it out"
            )
            report.fault(rule.place, text)
    refused = {rule.place for rule in (*draft.request_rules, *draft.response_rules) if rule.action.answers}
    for word in (*_HTTP_WORDS, *(f"option {name}" for name in _http_options(draft))):
        if requests and word in _OF_REQUESTS:
            continue
        if word in draft.own and word not in draft.unreadable and draft.said[word] not in refused:
            tell = report.notice if word in _IN_SILENCE else report.warn
            tell(draft.said[word], f"'{word}' is ignored, as it needs 'mode http': {draft.title} is in {why}")
    if draft.log_format.startswith("http") and "F" in draft.sides:
        option = f"option {draft.log_format.removesuffix(' clf')}"
        place = draft.said[option] if option in draft.own else draft.place
        report.warn(place, f"{draft.title} is in {why}: '{option}' counts as 'option tcplog' there")
    if draft.captured_cookie[0] and "F" in draft.sides and not requests:
        text = f"'capture cookie' is ignored, as it needs 'mode http': {draft.title} is in {why}"
        report.warn(draft.said["capture"], text)
    for keyword, line in draft.formats.items() if "F" in draft.sides else ():
        if (alias := needs_http(line.format)) and keyword != "unique-id-format":
            text = f"'{keyword}': '{alias}' is about requests, and {draft.title} is in {why}"
            report.fault(line.place if keyword in draft.own else draft.place, text)
    _knows_no_users(draft, why, report)
    for rule in draft.content_rules:
        content_of_requests(draft, rule, report)
    if "B" in draft.sides:
        _tcp_backend(draft, why, report)
    if draft.inspect_delay is None and "tcp-request inspect-delay" not in draft.unreadable:
        _nobody_waits(draft, report)


def _of_requests(draft: ProxyDraft, report: Report) -> None:
    """Tells what of a section counts for those of its clients alone whose bytes are read as requests."""
    words = (*_HTTP_WORDS, *(f"option {name}" for name in _http_options(draft)))
    said = [word for word in words if word in _OF_REQUESTS and word in draft.own and word not in draft.unreadable]
    if said and not _switches(draft):
        text = (
            f"{draft.title} is in mode tcp: '{said[0]}' counts there for clients only that are led to a backend in mode"
            " http"
        )
        report.notice(draft.said[said[0]], text)
    for rule in draft.content_rules:
        refuses = isinstance(rule.action, Receive) and rule.action.verb in ("reject", "silent-drop")
        asked = [each for each in expressions_in(resolved(rule, draft.acls)) if where_of(each) == CLIENT_BYTES]
        asked = [each for each in asked if each.fetch.name != "req.len"]
        if refuses and asked:
            text = (
                f"'{rule.words}': '{asked[0]}' has no value in requests, so that only the first one of a connection is"
                " judged by it, and not those that follow: ask for the request itself (method, path, req.hdr)"
            )
            report.warn(rule.place, text)
    for bind in draft.binds:
        if bind.ssl and "h2" in bind.tls.said.get("alpn", ()):
            text = (
                f"bind '{bind.bind.address}' offers h2 ('alpn'), which backends in mode http are not asked in: clients"
                " that take it and are led to one are answered 505. Write 'alpn http/1.1', unless they go elsewhere"
            )
            report.warn(bind.bind.place, text)


def _knows_no_users(draft: ProxyDraft, why: str, report: Report) -> None:
    """Refuses rules that ask for users, who would be nobody: HAProxy looks for their passwords in mode tcp, too."""
    for place, what, said in (*_content(draft), *choosing(draft)):
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


def _http(draft: ProxyDraft, report: Report) -> None:
    for rule in draft.content_rules:
        content_of_requests(draft, rule, report)
    bodies_by_chance(draft, report)
    for rule in draft.response_content_rules:
        content_of_responses(draft, rule, report)
    for word in ("tcp-request inspect-delay", "tcp-response inspect-delay"):
        if word in draft.own and word not in draft.unreadable:
            waits = "request is 'timeout http-request'" if "request" in word else "response is 'timeout server'"
            report.notice(draft.said[word], f"'{word}' does nothing in mode http: the time for a {waits}")
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
    yield from choosing(draft)
    yield from of_servers(draft)


def _content(draft: ProxyDraft) -> Iterable[tuple[Place, str, object]]:
    """Returns the rules about bytes."""
    for rule in (*draft.content_rules, *draft.response_content_rules):
        yield rule.place, f"'{rule.words}'", resolved(rule, draft.acls)
