"""Checks rules of mode http that look at the bytes of a connection, or at a body for which nothing waits, and those of
mode tcp that look at a body.

Rules for contents are run when a head has come: what they ask for of bytes is not there, and of a body there is what
has come with the head. As HAProxy, which starts with all of this, would let more in than the rule reads, it is refused;
what only lets less in, or keeps nobody out, gets a warning. Adds to the report; must never change a draft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile

from reusedproxy.config.language.report import Report
from reusedproxy.config.model.rules import Condition, Criterion, Receive, Rule
from reusedproxy.config.model.values import Expression, Place
from reusedproxy.config.rules.acls import resolved
from reusedproxy.config.rules.actions import SetPriority
from reusedproxy.config.rules.expressions import where_of
from reusedproxy.config.rules.log_actions import Capture
from reusedproxy.config.rules.patterns import ranges
from reusedproxy.config.rules.samples import CLIENT_BYTES, EITHER_BYTES, SERVER_BYTES
from reusedproxy.config.rules.steering import WaitForBody
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.validate.rules import choosing, expressions_in, of_servers, stats_rules

#: What rules for contents may ask for of bytes in mode http: the head counts, and all of it is there.
_KNOWN_OF_HEADS = frozenset(("req.len", "wait_end"))
_OF_BODIES = frozenset(("req.body", "req.body_len", "req.body_param"))
_OF_ANSWERS = frozenset(("res.body", "res.body_len"))
#: Actions that keep nobody out, nor do later rules by what they do.
_HARMLESS = (Capture, SetPriority)
#: Actions upon the bytes of a connection, and those upon messages that come closest.
FOR_MESSAGES = {"reject": "deny", "close": "deny", "accept": "allow"}
#: Methods that are met by the whole of a text, too, if they are by its beginning.
_MET_BY_MORE = frozenset(("found", "beg", "sub"))


# Rules for contents.


def content_of_requests(draft: ProxyDraft, rule: Rule, report: Report) -> None:
    """Checks a rule about the bytes of a client: in mode http its head has been read when it is run, and in mode tcp
    nobody reads a body."""
    whole = resolved(rule, draft.acls)
    harmless = isinstance(rule.action, _HARMLESS)
    accepts = isinstance(rule.action, Receive) and rule.action.verb == "accept"
    for each in expressions_in(rule.action):
        _tell(draft, rule, each, report, refuse=not harmless)
    for criterion, widens in _criteria(whole.condition):
        # An `accept` that is met less often leaves more to the rules behind it.
        lets_less_in = accepts and not widens
        for each in expressions_in(criterion):
            lets_less_in = lets_less_in and (each.fetch.name not in _OF_BODIES or _met_by_more(criterion))
            _tell(draft, rule, each, report, refuse=not (harmless or lets_less_in))


def content_of_responses(draft: ProxyDraft, rule: Rule, report: Report) -> None:
    """Checks a rule about the bytes of a server in mode http: it is run when the head of its answer has been read."""
    said = rule.words.rpartition(" ")[2]
    instead = FOR_MESSAGES.get(said, said)
    for each in expressions_in(resolved(rule, draft.acls)):
        if each.fetch.name in _OF_ANSWERS:
            text = (
                f"is run in mode http, in which {draft.title} is, when the head has come, and '{each}' is what has come"
                f" of the body by chance: write 'http-response {instead}', say, behind 'http-response wait-for-body"
                " time 5s'"
            )
        elif where_of(each) in (SERVER_BYTES, EITHER_BYTES) and each.fetch.name not in _KNOWN_OF_HEADS:
            text = (
                f"asks for '{each}', which has no value in mode http, in which {draft.title} is: ask for the answer"
                " (status, res.hdr)"
            )
        else:
            continue
        report.fault(rule.place, f"'{rule.words}' {text}")


def _criteria(condition: Condition | None) -> Iterator[tuple[Criterion, bool]]:
    """Returns each criterion of a condition, and whether the condition is met more often if this one never is."""
    for terms in condition.alternatives if condition is not None else ():
        for term in terms:
            for criterion in term.criteria:
                yield criterion, term.negated != (condition is not None and condition.unless)


def _met_by_more(criterion: Criterion) -> bool:
    """Tells whether a body meets this criterion if a part of it does."""
    if criterion.expression.converters:
        return False
    if criterion.method in ("int", "len"):
        return not criterion.files and all(high is None for _, high in ranges(criterion.patterns, ""))
    return criterion.method in _MET_BY_MORE


def _tell(draft: ProxyDraft, rule: Rule, each: Expression, report: Report, *, refuse: bool) -> None:
    """Tells of what a rule for contents asks for, if it is not there, or there by chance."""
    if draft.tcp:
        if each.fetch.name not in _OF_BODIES and each.fetch.name != "req.body_size":
            return
        text = (
            f"'{rule.words}': '{each}' has no value in mode tcp, in which {draft.title} is: 'req.payload(0,0)' is what"
            " has come of the connection"
        )
    elif each.fetch.name in _OF_BODIES:
        said = rule.words.rpartition(" ")[2]
        verb = FOR_MESSAGES.get(said, "deny" if isinstance(rule.action, Receive) else said)
        text = (
            f"'{rule.words}' is run in mode http, in which {draft.title} is, when the head has come, so '{each}' is"
            f" what has come of the body by chance: write 'http-request {verb}', say, behind 'http-request"
            " wait-for-body time 5s'"
        )
    elif where_of(each) in (CLIENT_BYTES, EITHER_BYTES) and each.fetch.name not in _KNOWN_OF_HEADS:
        text = (
            f"'{rule.words}': '{each}' has no value in mode http, in which {draft.title} is: ask for the connection"
            " (ssl_fc_sni), or for the request (method, path, req.hdr)"
        )
    else:
        return
    (report.fault if refuse else report.warn)(rule.place, text)


# Bodies for which nothing waits.


def bodies_by_chance(draft: ProxyDraft, report: Report) -> None:
    """Tells of lines of a section that look at a body for which nothing waits: whoever sends it a moment after the head
    is not judged by it, as in HAProxy. Of a backend, `bodies_of_backends` tells most."""
    for rule in draft.monitor_fails:  # they are looked at before all rules
        _by_chance(rule.place, f"'{rule.words}'", resolved(rule, draft.acls), report.warn, "nothing can wait for it")
    if draft.buffers_request:
        return
    if "F" in draft.sides:
        _looks(draft, report)
    # As somebody is kept out of the page, the section itself has to wait.
    for rule in () if _waits(draft) else stats_rules(draft):
        _by_chance(rule.place, f"'{rule.words}'", resolved(rule, draft.acls), report.fault)


def bodies_of_backends(drafts: Sequence[ProxyDraft], led: Mapping[str, Sequence[str | None]], report: Report) -> None:
    """Tells the same of backends to which a frontend leads that does not wait. `led` are the names of the backends to
    which each frontend leads, None for one that depends on the client."""
    hasty = [draft.name for draft in drafts if "F" in draft.sides and not draft.disabled and not _waits(draft)]
    for draft in drafts:
        if "F" in draft.sides or draft.tcp or draft.mode != "http" or draft.buffers_request or draft.disabled:
            continue
        if any(draft.name in led[name] or None in led[name] for name in hasty):
            _looks(draft, report)


def _waits(draft: ProxyDraft) -> bool:
    return draft.buffers_request or any(isinstance(rule.action, WaitForBody) for rule in draft.request_rules)


def _looks(draft: ProxyDraft, report: Report) -> None:
    """Warns of the lines that look at a body, those before the first that waits for it, and those behind all rules."""
    for rule in takewhile(lambda rule: not isinstance(rule.action, WaitForBody), draft.request_rules):
        _by_chance(rule.place, f"'{rule.words}'", resolved(rule, draft.acls), report.warn)
    for place, what, said in () if _waits(draft) else _behind_rules(draft):
        _by_chance(place, what, said, report.warn)


def _behind_rules(draft: ProxyDraft) -> Iterator[tuple[Place, str, object]]:
    """Returns what is evaluated when all rules for requests have been."""
    for rule in (*draft.redirects, *draft.stick_rules, *draft.persist_rules):
        yield rule.place, f"'{rule.words}'", resolved(rule, draft.acls)
    yield from choosing(draft)
    yield from of_servers(draft)


def _by_chance(
    place: Place, what: str, said: object, tell: Callable[[Place, str], None], why: str = "nothing waits for it"
) -> None:
    asked = next((each for each in expressions_in(said) if each.fetch.name in _OF_BODIES), None)
    if asked is not None:
        text = f"{what}: '{asked}' is what has come of the body by chance, since {why}"
        if why == "nothing waits for it":
            text += ": add 'option http-buffer-request', or 'http-request wait-for-body time 5s' before it"
        tell(place, text)
