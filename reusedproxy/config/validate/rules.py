"""Checks the rules of a section that has been read.

Looks for conditions that can never be true where they are written, for headers that a client could set in the proxy's
place, and for sections whose rules let no request pass. Adds warnings and notices to the report; must never change a
draft.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

import attrs

from reusedproxy.config.language.regular import risk
from reusedproxy.config.language.report import Report, did_you_mean
from reusedproxy.config.model.persistence import STORE_RESPONSE, Stick
from reusedproxy.config.model.rules import Action, Condition, Criterion, Rule, Rules, Term, UseBackend
from reusedproxy.config.model.values import Call, Expression, Place
from reusedproxy.config.model.within import values_in
from reusedproxy.config.rules.acls import resolved, resolved_backend, resolved_use_server
from reusedproxy.config.rules.actions import Allow, EditHeader
from reusedproxy.config.rules.bandwidth import SetBandwidthLimit
from reusedproxy.config.rules.counters import Track
from reusedproxy.config.rules.expressions import where_of
from reusedproxy.config.rules.samples import (
    ALWAYS,
    AT_CONNECTION,
    AT_HAND,
    CLIENT_BYTES,
    NEEDED,
    REQUEST,
    RESPONSE,
    SERVER_BYTES,
)
from reusedproxy.config.rules.steering import OF_SERVERS, SetTimeout
from reusedproxy.config.sections.draft import ProxyDraft


def validate_rules(draft: ProxyDraft, report: Report) -> None:
    """Checks all rules of one section."""
    request, response = (
        [resolved(rule, draft.acls) for rule in rules]
        for rules in (draft.request_rules, [*draft.response_rules, *draft.after_rules])
    )
    conditional = (
        *draft.redirects,
        *draft.connection_rules,
        *draft.session_rules,
        *draft.stick_rules,
        *draft.monitor_fails,
        *draft.persist_rules,
    )
    for rule in (*request, *response, *(resolved(each, draft.acls) for each in conditional)):
        _backtracks(rule, f"'{rule.words}'", report)
    for line in draft.use_backends:
        _backtracks(resolved_backend(line, draft.acls), "'use_backend'", report)
    for use in draft.use_servers:
        whole = resolved_use_server(use, draft.acls)
        for text in regular_expressions(whole):
            _warn_of(text, use.place, "'use-server'", report)
        _can_match(whole.condition, use.place, CLIENT_BYTES if draft.tcp else REQUEST, "'use-server'", report)
    for text in regular_expressions(draft.balance.expression) if draft.balance.expression is not None else ():
        _warn_of(text, draft.said["balance"], "'balance hash'", report)
    for server in draft.servers:
        for expression in (server.words.sni, server.words.pool_conn_name):
            for text in regular_expressions(expression):
                _warn_of(text, server.place, server.title, report)
    # A backend is known to the rules of a `listen` section, which is its own, and to those of responses.
    before = _BEFORE_BACKEND if draft.kind == "frontend" else REQUEST
    for rule in request:
        _can_match(rule.condition, rule.place, before, f"'{rule.words}'", report)
        _knows_its_backend(rule, before, report)
        _names_the_client(rule, report)
        _sets_timeouts_of_its_own(rule, draft, report)
    if "http-request" not in draft.unreadable:
        _one_host(request, report)
    for rule in response:
        _sets_timeouts_of_its_own(rule, draft, report)
        _can_match(rule.condition, rule.place, RESPONSE, f"'{rule.words}'", report)
    for rule in draft.persist_rules:
        _can_match(resolved(rule, draft.acls).condition, rule.place, REQUEST, f"'{rule.words}'", report)
    for rule in draft.redirects:
        _can_match(resolved(rule, draft.acls).condition, rule.place, before, "'redirect'", report)
    for rules, stage in ((draft.connection_rules, _CONNECTION), (draft.session_rules, _SESSION)):
        for rule in rules:
            _can_match(resolved(rule, draft.acls).condition, rule.place, stage, f"'{rule.words}'", report)
            _is_there(rule, stage, report)
    for rule in draft.stick_rules:
        where = _STICK[isinstance(rule.action, Stick) and rule.action.kind == STORE_RESPONSE, draft.tcp]
        _can_match(resolved(rule, draft.acls).condition, rule.place, where, f"'{rule.words}'", report)
    for rule in draft.monitor_fails:
        _can_match(resolved(rule, draft.acls).condition, rule.place, before, "'monitor fail'", report)
    for rule in stats_rules(draft):
        whole_rule = resolved(rule, draft.acls)
        _backtracks(whole_rule, f"'{rule.words}'", report)
        _can_match(whole_rule.condition, rule.place, before, f"'{rule.words}'", report)
    for chosen in draft.use_backends:
        condition = resolved_backend(chosen, draft.acls).condition
        _can_match(condition, chosen.place, CLIENT_BYTES if draft.tcp else before, "'use_backend'", report)
    for rules, where in ((draft.content_rules, CLIENT_BYTES), (draft.response_content_rules, SERVER_BYTES)):
        for rule in rules:
            _can_match(resolved(rule, draft.acls).condition, rule.place, where, f"'{rule.words}'", report)
    for rules, where in (
        (draft.request_rules, before),
        (draft.response_rules, RESPONSE),
        (draft.content_rules, CLIENT_BYTES),
        (draft.response_content_rules, SERVER_BYTES),
    ):
        _limits(rules, where, draft, report)


def _limits(rules: Iterable[Rule], where: str, draft: ProxyDraft, report: Report) -> None:
    """Checks the rules that switch bandwidth limits on, whose filters are lines of the same section."""
    for rule in rules:
        action = rule.action
        if not isinstance(action, SetBandwidthLimit) or draft.kind == "defaults" or "filter" in draft.unreadable:
            continue
        said = draft.bandwidths.get(action.name)
        text = ""
        if said is None:
            text = f"there is no bandwidth limit '{action.name}' in {draft.title}"
            text += did_you_mean(action.name, draft.bandwidths)
        elif said.key is not None and (action.limit is not None or action.period is not None):
            text = f"'{action.name}' is shared: its limit is that of its 'filter' line, its period that of its table"
        elif said.key is not None and (missing := _missing(said.key.fetch.name, where_of(said.key), where)):
            text = f"'{said.key}' needs {missing}, which is not at hand here"
        if text:
            report.fault(rule.place, f"'{rule.words}': {text}")


def _one_host(rules: Iterable[Rule], report: Report) -> None:
    """Checks that a request has one Host behind these rules: where one deletes it, a later one sets it in any case, and
    one adds it only where it was deleted."""

    def refuse(rule: Rule) -> None:
        text = f"'{rule.words}': a request has one Host: 'set-header Host NAME' replaces it"
        report.fault(rule.place, text)

    deletes: Rule | None = None
    deleted = False
    for rule in rules:
        verb = _edit_of_host(rule.action)
        if verb == "del":
            deletes, deleted = deletes or rule, True
        elif verb == "add" and not deleted:
            refuse(rule)
        elif verb in ("set", "add") and rule.condition is None:
            deletes = None
        elif deletes is not None and rule.action.ends and not rule.action.answers:
            break  # the request may go on from here
    if deletes is not None:
        refuse(deletes)


def _edit_of_host(action: Action) -> str:
    """Returns what a rule does with Host: "set", "add", "del" and so on; "" if nothing."""
    host = isinstance(action, EditHeader) and action.method == "str" and action.name.lower() == "host"
    return action.verb if isinstance(action, EditHeader) and host else ""


def choosing(draft: ProxyDraft) -> Iterable[tuple[Place, str, object]]:
    """Returns the lines of a section that choose a backend or a server: place, words, and what they ask for."""
    yield from ((each.place, "'use_backend'", resolved_backend(each, draft.acls)) for each in draft.use_backends)
    yield from ((each.place, "'use-server'", resolved_use_server(each, draft.acls)) for each in draft.use_servers)


def of_servers(draft: ProxyDraft) -> Iterable[tuple[Place, str, object]]:
    """Returns likewise what chooses among servers and their connections: `balance hash`, `sni`, `pool-conn-name`."""
    if draft.balance.expression is not None:
        yield draft.said["balance"], "'balance hash'", draft.balance.expression
    for server in draft.servers:
        for name, expression in (("sni", server.words.sni), ("pool-conn-name", server.words.pool_conn_name)):
            if expression is not None:
                yield server.place, f"{server.title}: '{name}'", expression


def stats_rules(draft: ProxyDraft) -> Iterable[Rule]:
    """Returns the rules of the section's statistics page, those about who may change something among them."""
    page = draft.stats
    if page is not None:
        yield from page.rules
        place = draft.said.get("stats admin", draft.place)
        yield from (Rule(place, "stats admin", Allow(), condition) for condition in page.admin)


#: Where conditions stand, besides REQUEST and RESPONSE: in the rules of a frontend, and in `tcp-request connection`.
_BEFORE_BACKEND, _CONNECTION, _SESSION = "request of a frontend", "connection", "session"
#: Where `stick` rules stand: those that store for an answer, and those of mode tcp.
_STICK = {(False, False): REQUEST, (False, True): CLIENT_BYTES, (True, False): RESPONSE, (True, True): SERVER_BYTES}


#: What has a value once there is a backend, or a server, among what may be asked for everywhere: the log does.
_OF_BACKENDS = frozenset(
    ("be_id", "be_name", "be_server_timeout", "be_tunnel_timeout", "cur_server_timeout", "cur_tunnel_timeout")
)
_OF_SERVERS = frozenset(
    ("bc_dst", "bc_dst_port", "bc_err", "bc_err_name", "bc_err_str", "bc_http_major", "capture.res.hdr")
)


def _missing(fetch: str, needed: str, where: str) -> str:
    """Returns what a fetch needs that is not there at this point, "" if it can have a value; `needed` is where it has
    one."""
    if where in (_CONNECTION, _SESSION):
        if fetch in AT_CONNECTION:
            return ""
        if fetch.startswith(("ssl_fc", "ssl_c_", "ssl_f_")):
            return "a TLS handshake" if where == _CONNECTION else ""
        if fetch.startswith(("fc_pp_", "fc_rcvd_")):
            return "a PROXY protocol header" if where == _CONNECTION else ""
    if fetch in _OF_BACKENDS and where in (_CONNECTION, _SESSION, _BEFORE_BACKEND):
        return "a backend"
    if fetch in _OF_SERVERS and where not in (RESPONSE, SERVER_BYTES):
        return "a connection to a server"
    if where in (_CONNECTION, _SESSION):
        return NEEDED[needed or REQUEST]
    if needed not in AT_HAND[REQUEST if where == _BEFORE_BACKEND else where]:
        return NEEDED[needed]
    return ""


def _sets_timeouts_of_its_own(rule: Rule, draft: ProxyDraft, report: Report) -> None:
    if draft.kind == "frontend" and isinstance(rule.action, SetTimeout) and rule.action.which in OF_SERVERS:
        text = f"'set-timeout {rule.action.which}' cannot stand in {draft.title}"
        report.fault(rule.place, f"{text}: it belongs in a 'backend' or 'listen'")


def _is_there(rule: Rule, where: str, report: Report) -> None:
    """Refuses to track, or to keep for later rules, what is not there yet: nobody would be counted, nor kept out."""
    for each in expressions_in(rule.action):
        missing = _missing(each.fetch.name, where_of(each), where)
        # What the log may ask for at any time has a value, or none, here as there.
        if missing and (
            isinstance(rule.action, Track) or where_of(each) != ALWAYS or each.fetch.name.startswith("ssl_")
        ):
            report.fault(rule.place, f"'{rule.words}': '{each}' needs {missing}, which is not at hand here")
    _knows_its_backend(rule, where, report)


def _knows_its_backend(rule: Rule, where: str, report: Report) -> None:
    """Refuses values of the backend or the server in actions before these are chosen: rules that ask for what was kept
    would keep nobody out."""
    for each in expressions_in(rule.action):
        name = each.fetch.name
        if name in _OF_BACKENDS | _OF_SERVERS and (missing := _missing(name, where_of(each), where)):
            report.fault(rule.place, f"'{rule.words}': '{each}' needs {missing}, which is not at hand here")


def _can_match(condition: Condition | None, place: Place, where: str, what: str, report: Report) -> None:
    """Warns of conditions that can never be true in this place, as HAProxy does."""
    for terms in condition.alternatives if condition is not None else ():
        for term in terms:
            for criterion in term.criteria:
                expression = criterion.expression
                if missing := _missing(expression.fetch.name, where_of(expression), where):
                    acl = f"acl '{term.name}'" if term.name else "what stands in braces"
                    text = f"{what}: {acl} is never true here: '{expression}' needs {missing}, which is not at hand"
                    report.warn(place, text)


# Sections whose rules answer every request.


def answering(draft: ProxyDraft) -> list[Rule]:
    """Returns the rules with which a section answers requests itself."""
    return [each for each in (*draft.request_rules, *draft.redirects) if each.action.answers]


def always_answers(draft: ProxyDraft, *, clear: bool) -> bool:
    """Tells whether the section's rules answer every request.

    `clear`: no client that reaches it uses TLS, so that `redirect scheme https unless { ssl_fc }` answers all requests.
    """
    for rules in (draft.request_rules, draft.redirects):
        for rule in rules:
            holds = _holds(resolved(rule, draft.acls).condition, clear)
            if rule.action.answers and holds:
                return True
            if rule.action.ends and not rule.action.answers and holds is not False:
                break
    return False


def _holds(condition: Condition | None, clear: bool) -> bool | None:
    """Returns the condition's value if it is the same for every request; None when it depends on the request."""
    if condition is None:
        return True
    found = _any(_all(_term_holds(term, clear) for term in terms) for terms in condition.alternatives)
    return not found if condition.unless and found is not None else found


def _term_holds(term: Term, clear: bool) -> bool | None:
    found = _any(_criterion_holds(criterion, clear) for criterion in term.criteria)
    return not found if term.negated and found is not None else found


def _criterion_holds(criterion: Criterion, clear: bool) -> bool | None:
    if criterion.method != "bool" or criterion.patterns or criterion.files:
        return None
    constants: dict[str, bool | None] = {"always_true": True, "always_false": False, "ssl_fc": False if clear else None}
    return constants.get(str(criterion.expression))


def _any(values: Iterable[bool | None]) -> bool | None:
    found = set(values)
    return True if True in found else None if None in found else False


def _all(values: Iterable[bool | None]) -> bool | None:
    found = set(values)
    return False if False in found else None if None in found else True


# Regular expressions that RE2 does not support.


def _backtracks(rule: Rule | UseBackend, what: str, report: Report) -> None:
    for text in regular_expressions(rule):
        _warn_of(text, rule.place, what, report)


def _warn_of(text: str, place: Place, what: str, report: Report) -> None:
    if said := risk(text):
        report.warn(place, f"{what}: {said}")


def first_arguments(said: object, fetches: Container[str]) -> Iterable[str]:
    """Returns the first arguments of these fetches within a value of the configuration, at any depth."""
    return (call.arguments[0] for call in values_in(said, Call) if call.name in fetches and call.arguments)


def expressions_in(said: object) -> Iterable[Expression]:
    """Returns the expressions within a value of the configuration, at any depth."""
    return values_in(said, Expression)


def regular_expressions(said: object) -> Iterable[str]:
    """Returns all regular expressions within a value of the configuration, at any depth."""
    if isinstance(said, Criterion) and said.method == "reg":
        yield from said.patterns
    elif isinstance(said, Call) and said.name == "regsub":
        yield said.arguments[0]
    elif isinstance(said, Action):
        yield from said.regular_expressions
    if isinstance(said, tuple):
        for part in said:
            yield from regular_expressions(part)
    elif attrs.has(kind := type(said)):
        for field in attrs.fields(kind):
            yield from regular_expressions(getattr(said, field.name))


# Headers that identify the client to servers.


def tells_of_tls(action: object) -> bool:
    """Tells whether the action writes a header from the client's TLS connection or certificate. Host does not count: it
    names the server, and a request has one until a rule sets another."""
    return (
        isinstance(action, EditHeader)
        and action.name.lower() != "host"
        and any(expression.fetch.name.startswith(("ssl_c_", "ssl_fc")) for expression in action.value.expressions)
    )


def _names_the_client(rule: Rule, report: Report) -> None:
    action = rule.action
    if not isinstance(action, EditHeader) or not tells_of_tls(action):
        return
    if action.verb == "add":
        text = f"'{rule.words} {action.name}': what the client sent under that name goes on beside it: use 'set-header'"
        report.warn(rule.place, text)
    elif action.verb == "set" and rule.condition is not None:
        text = (
            f"'{rule.words} {action.name}': where its condition is not true, what the client sent under that name is"
            " taken out as well (HAProxy would let it pass)"
        )
        report.notice(rule.place, text)


def ours_alone(rules: Iterable[Rules]) -> frozenset[str]:
    """Returns the names of request headers that a client can never set, whatever the conditions of their rules."""
    return frozenset(
        rule.action.name
        for each in rules
        for rule in each.request
        if isinstance(rule.action, EditHeader) and rule.action.verb == "set" and tells_of_tls(rule.action)
    )


def edited(rules: Iterable[Rules]) -> tuple[EditHeader, ...]:
    """Returns the header edits of all request rules: trailers with these names are dropped."""
    return tuple(rule.action for each in rules for rule in each.request if isinstance(rule.action, EditHeader))
