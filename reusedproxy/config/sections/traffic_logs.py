"""Parses the lines of proxies about their traffic's log: its formats, what is captured for it, the ids of requests."""

from __future__ import annotations

from attrs import evolve

from reusedproxy.config.language import units
from reusedproxy.config.language.header_names import header_name
from reusedproxy.config.language.report import Line, Report, Wrong
from reusedproxy.config.model.logs import Slot
from reusedproxy.config.model.rules import Rule
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.expressions import where_of
from reusedproxy.config.rules.formats import read_format_of_line
from reusedproxy.config.rules.log_actions import Capture
from reusedproxy.config.rules.reading import FRAMING, HOP
from reusedproxy.config.rules.samples import ALWAYS, AT_LOG, BY_PLACE, NEEDED, REQUEST, RESPONSE
from reusedproxy.config.sections.draft import FormatLine, ProxyDraft

#: Keywords that have a log-format string.
FORMATS = ("log-format", "log-format-sd", "error-log-format", "unique-id-format")


def read_log_format(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `log-format` and its like. Raises Wrong."""
    text = line.one_argument("a format (one word, or quoted)")
    what = f"'{line.keyword}'"
    of_id = line.keyword == "unique-id-format"
    made = read_format_of_line(text, what, line.place, report, of_log=not of_id)
    if made.json and line.keyword in ("log-format-sd", "unique-id-format"):
        raise Wrong(f"{what}: '%{{+json}}o' makes a line of the log, which this is not")
    for expression in made.expressions:
        _is_there(expression, what, of_id=of_id)
    proxy.formats[line.keyword] = FormatLine(line.place, made)
    if line.keyword == "log-format":
        proxy.log_format = "custom"
    if of_id:
        _without_clients(proxy, line, report)


def _is_there(expression: Expression, what: str, *, of_id: bool) -> None:
    """Checks that a fetch has a value when the log is written: heads are gone then, as in HAProxy. An id is made while
    there is a request. Raises Wrong."""
    name, where = expression.fetch.name, where_of(expression)
    if of_id and where in (ALWAYS, REQUEST):
        return
    if name in BY_PLACE:
        where = REQUEST
    if where == ALWAYS or (name in AT_LOG and not of_id):
        return
    text = f"{what}: '{expression}' needs {NEEDED[where]}, which is not at hand there"
    if where in (REQUEST, RESPONSE) and not of_id:
        side = "request" if where == REQUEST else "response"
        text += f": keep it with 'capture {side} header' or 'http-{side} set-var(txn.NAME)', and show that"
    raise Wrong(text)


def read_log_tag(proxy: ProxyDraft, line: Line, report: Report) -> None:
    proxy.log_tag = line.one_argument("a word")


def read_unique_id_header(proxy: ProxyDraft, line: Line, report: Report) -> None:
    name = header_name(line.one_argument("the name of a header"), "'unique-id-header'")
    if name.lower() in FRAMING | HOP | {"host"}:
        raise Wrong(f"'unique-id-header': '{name}' cannot be the name of this header")
    proxy.unique_id_header = name
    _without_clients(proxy, line, report)


def _without_clients(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Says that ids of requests are of frontends; HAProxy ignores them elsewhere in silence."""
    if "F" not in proxy.sides:
        report.notice(line.place, f"'{line.keyword}' is ignored: {proxy.title} has no frontend side")


def read_capture(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `capture request|response header NAME len N` and `capture cookie NAME len N`. Raises Wrong."""
    words = line.arguments
    usage = "'capture' is followed by 'request header', 'response header' or 'cookie', a name, 'len' and a number"
    if words[:1] == ("cookie",):
        name, rest = words[1:2], words[2:]
    elif words[:1] in (("request",), ("response",)) and words[1:2] == ("header",):
        name, rest = words[2:3], words[3:]
    else:
        raise Wrong(usage)
    if not name or len(rest) != 2 or rest[0] != "len":
        raise Wrong(usage)
    length = units.integer(rest[1], f"'capture {words[0]}': 'len'", least=1)
    if words[0] != "cookie":
        proxy.captured[words[0]].append(Slot(line.place, length, name[0]))
        return
    proxy.captured_cookie = name[0], length


def read_declare(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `declare capture request|response len N`. Raises Wrong."""
    words = line.arguments
    if len(words) != 4 or words[0] != "capture" or words[1] not in proxy.captured or words[2] != "len":
        raise Wrong("'declare' is followed by 'capture', 'request' or 'response', 'len' and a number")
    length = units.integer(words[3], "'declare capture': 'len'", least=1)
    proxy.captured[words[1]].append(Slot(line.place, length))


def slotted(proxy: ProxyDraft, rule: Rule) -> Rule:
    """Gives a rule that captures with `len` a slot of its own, which only a frontend has. Raises Wrong."""
    action = rule.action
    if not isinstance(action, Capture) or not action.length:
        return rule
    if proxy.kind == "defaults" or "F" not in proxy.sides:
        text = f"'{rule.words}': 'len' makes a slot for the log, which only a frontend has"
        raise Wrong(f"{text}: write 'declare capture request len {action.length}' there, and 'id' here")
    slots = proxy.captured["request"]
    slots.append(Slot(rule.place, action.length))
    return evolve(rule, action=evolve(action, slot=len(slots) - 1))


def check_slots(draft: ProxyDraft, report: Report) -> None:
    """Checks that a frontend has the slots that its own rules capture to."""
    if "F" not in draft.sides:
        return
    for rule in (*draft.request_rules, *draft.response_rules, *draft.after_rules, *draft.content_rules):
        action = rule.action
        if isinstance(action, Capture):
            kind = "response" if action.of_response else "request"
            if action.slot >= len(draft.captured[kind]):
                text = (
                    f"'{rule.words}': {draft.title} has no slot {action.slot}: 'declare capture {kind} len N' makes one"
                )
                report.fault(rule.place, f"{text} (they are numbered from 0)")
