"""Compiles actions of rules (`config.rules.actions`) to functions of the facts of an exchange.

Such a function changes the head of the exchange, or a variable, or gives an answer of the proxy itself. This module
decides what is answered; the caller decides how it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import frozen

from reusedproxy.config.model.rules import Action, Format, Receive
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.actions import (
    Allow,
    Authenticate,
    EditHeader,
    EditLine,
    Redirect,
    SetPriority,
    SetStatus,
    SetVariable,
    UseService,
)
from reusedproxy.config.rules.bandwidth import SetBandwidthLimit
from reusedproxy.config.rules.counters import CountGeneral, SetTag, Track
from reusedproxy.config.rules.expressions import type_of
from reusedproxy.config.rules.log_actions import Capture, SetLogLevel
from reusedproxy.config.rules.replies import Reply
from reusedproxy.config.rules.samples import REQUEST, RESPONSE
from reusedproxy.rules import counters, editing
from reusedproxy.rules.bandwidth import set_bandwidth_limit
from reusedproxy.rules.editing import Head
from reusedproxy.rules.facts import Facts, Method, Sample
from reusedproxy.rules.many import FEW, REPLACED, look_at
from reusedproxy.rules.regular import matching_one_of, searching
from reusedproxy.rules.samples.bounds import to_keep
from reusedproxy.rules.samples.casts import to_int
from reusedproxy.rules.samples.compile import compiled, compiled_text
from reusedproxy.rules.samples.converters import references
from reusedproxy.rules.samples.fetches import Fetch, path_and_query
from reusedproxy.rules.samples.formats import Text, clean, text_of, text_of_body, text_of_path, text_to_keep
from reusedproxy.rules.steering import STEERING, Dropped, Held
from reusedproxy.rules.variables import met
from reusedproxy.wire.bodies import plain_name
from reusedproxy.wire.heads import RequestHead
from reusedproxy.wire.lists import members
from reusedproxy.wire.reason_phrases import reason_phrase
from reusedproxy.wire.whole_answers import WholeAnswer


@frozen
class Answer:
    """Describes an answer of the proxy itself.

    `fields` are header lines, each with its CRLF. With `content` None the error page of that status is sent. `whole` is
    sent in place of all of that. `tarpits`: it is sent late. `challenge` is the name and the value of a field that
    takes the place of those of its name in any page. `service` names what gives the answer, whatever else is said here.
    """

    status: int
    denies: bool = False
    fields: bytes = b""
    content: bytes | None = b""
    content_type: bytes = b""
    whole: WholeAnswer | None = None
    challenge: tuple[bytes, bytes] | None = None
    tarpits: bool = False
    service: str = ""


@frozen
class LoadedReply(Action):
    """Holds a `reply` with what its file has: a `whole` answer, or the bytes of the `body`."""

    answers = True
    ends = True

    reply: Reply
    whole: WholeAnswer | None = None
    body: bytes = b""


@frozen
class Allowed:
    """Ends the rules of this section; the request goes on."""


ALLOWED = Allowed()
Verdict = Answer | Allowed | Dropped | Held | None
Act = Callable[[Facts], Verdict]
#: What is sent in place of an error page of the proxy's own: a whole answer, or one that is made of the request.
ErrorPage = WholeAnswer | Act
#: By status.
ErrorPages = Mapping[int, ErrorPage]


def _head(where: str) -> Callable[[Facts], Head]:
    def request(facts: Facts) -> Head:
        assert facts.head is not None
        return facts.head

    def response(facts: Facts) -> Head:
        assert facts.answer is not None
        return facts.answer

    return request if where == REQUEST else response


def _edit_header(action: EditHeader, where: str) -> Act:
    if action.verb == "del":
        return _delete(action, where)
    if action.verb in ("replace-header", "replace-value"):
        return _replace(action, where)
    head, value, name = _head(where), text_of(action.value, where), action.name.encode()
    lines = editing.spellings(action.name, exactly=where == RESPONSE)
    if where == REQUEST and action.name.lower() == "host":

        def set_host(facts: Facts) -> Verdict:
            assert facts.head is not None
            editing.set_host(facts.head, value(facts))
            return None

        return set_host

    def edit(facts: Facts) -> Verdict:
        edited, made = head(facts), value(facts)
        if action.verb == "set":
            editing.remove(edited, lines)
        editing.append(edited, name, made)
        return None

    return edit


def _delete(action: EditHeader, where: str) -> Act:
    head = _head(where)
    if action.method == "str":
        lines = editing.spellings(action.name, exactly=where == RESPONSE)
        hop = action.name.lower() in ("upgrade", "connection")

        def delete(facts: Facts) -> Verdict:
            edited = head(facts)
            if isinstance(edited, RequestHead):
                editing.remove(edited, lines)
                editing.drop_wish(edited, action.name)
            elif hop:
                edited.drop_upgrade()
            else:
                editing.remove(edited, lines)
            return None

        return delete
    wanted = _wanted_name(action, where)

    def delete_matching(facts: Facts) -> Verdict:
        editing.remove_matching(head(facts), wanted)
        return None

    return delete_matching


def _wanted_name(action: EditHeader, where: str) -> Callable[[bytes], bool]:
    """Returns a test whether `del-header -m` is to remove a header of this name; in requests in any spelling."""
    is_one = _name_test(action)
    if where == RESPONSE:
        return lambda name: is_one(name.lower())
    return lambda name: is_one(name.lower()) or is_one(plain_name(name))


def _name_test(action: EditHeader) -> Callable[[bytes], bool]:
    if action.method == "reg":
        return matching_one_of([action.name], ignore_case=True)
    text = action.name.lower().encode()
    if action.method == "beg":
        return lambda name: name.startswith(text)
    if action.method == "end":
        return lambda name: name.endswith(text)
    return lambda name: text in name


def concerned(actions: Iterable[EditHeader]) -> Callable[[bytes], bool]:
    """Returns a test whether one of these actions changes the request header of a given name."""
    names = frozenset(plain_name(each.name.encode()) for each in actions if each.method == "str")
    tests = [_wanted_name(each, REQUEST) for each in actions if each.method != "str"]
    return lambda name: plain_name(name) in names or any(test(name) for test in tests)


def _replace(action: EditHeader, where: str) -> Act:
    """Compiles `replace-header` and `replace-value`.

    As in HAProxy, a value in which the expression is found is replaced as a whole.
    """
    head, template = _head(where), text_of(action.value, where)
    search = searching(action.pattern)
    lines = editing.spellings(action.name, exactly=where == RESPONSE)
    is_host = where == REQUEST and action.name.lower() == "host"

    def replace(facts: Facts) -> Verdict:
        make = references(template(facts))

        def one(value: bytes) -> bytes:
            found = search(value)
            return clean(make(found)) if found else value

        def each(value: bytes) -> bytes:
            parts = members(value)
            if len(parts) > FEW:
                look_at(facts, len(parts) * REPLACED)
            return b",".join(part if (made := one(plain := part.strip(b" \t"))) == plain else made for part in parts)

        edited = head(facts)
        change = one if action.verb == "replace-header" else each
        if is_host and facts.head is not None:
            for value in facts.head.values(b"Host"):
                if (made := change(value)) != value:
                    editing.set_host(facts.head, made)
        else:
            editing.replace_values(edited, lines, change)
        return None

    return replace


_SETTERS = {
    "path": editing.set_path,
    "pathq": editing.set_pathq,
    "query": editing.set_query,
    "uri": editing.set_uri,
}


def _edit_line(action: EditLine, where: str) -> Act:
    value = text_of_path(action.value) if action.part == "path" else text_of(action.value)
    set_part = _SETTERS[action.part]
    if action.pattern is None:

        def edit(facts: Facts) -> Verdict:
            assert facts.head is not None
            set_part(facts.head, value(facts))
            return None

        return edit
    search = searching(action.pattern)

    def replace(facts: Facts) -> Verdict:
        assert facts.head is not None
        whole = facts.head.target if action.part == "uri" else path_and_query(facts.head.target)
        if whole is not None:
            found = search(whole.partition(b"?")[0] if action.part == "path" else whole)
            if found:
                set_part(facts.head, references(value(facts))(found))
        return None

    return replace


def _set_status(action: SetStatus, where: str) -> Act:
    reason = (reason_phrase(action.status) if action.reason is None else action.reason).encode()

    def edit(facts: Facts) -> Verdict:
        assert facts.answer is not None
        editing.set_status(facts.answer, action.status, reason)
        return None

    return edit


def _set_variable(action: SetVariable, where: str) -> Act:
    value, name = action.value, action.name
    if action.conditions:
        return _set_where_met(action, where)
    if isinstance(value, Format):
        text = text_to_keep(value, where)

        def set_text(facts: Facts) -> Verdict:
            facts.set_variable(name, text(facts))
            return None

        return set_text
    if value is None:

        def unset(facts: Facts) -> Verdict:
            facts.set_variable(name, None)
            return None

        return unset
    assert isinstance(value, Expression)
    fetch = _typed(value, where)

    def set_sample(facts: Facts) -> Verdict:
        sample = fetch(facts)
        if sample is not None:  # as in HAProxy, the variable keeps its value where there is nothing to fetch
            facts.set_variable(name, to_keep(sample, facts))
        return None

    return set_sample


def _set_where_met(action: SetVariable, where: str) -> Act:
    """Compiles a `set-var` with conditions."""
    value, name, allows = action.value, action.name, met(action.conditions, action.name)
    fetch: Fetch = text_to_keep(value, where) if isinstance(value, Format) else _typed(value, where)

    def set_where_met(facts: Facts) -> Verdict:
        sample = fetch(facts)
        if sample is not None and allows(facts.variable(name), sample):
            facts.set_variable(name, to_keep(sample, facts))
        return None

    return set_where_met


def _typed(value: Expression | None, where: str) -> Fetch:
    """Compiles an expression whose sample tells its type."""
    assert value is not None
    fetch = compiled(value, where)
    return _as_method(fetch) if type_of(value) == "meth" else fetch


def _as_method(fetch: Fetch) -> Fetch:
    """Marks the samples of a fetch as methods: only the type tells a method from a text in a variable."""

    def fetch_method(facts: Facts) -> Sample:
        sample = fetch(facts)
        return Method(sample) if isinstance(sample, bytes) else None

    return fetch_method


#: How far from 0 a priority may be; what lies beyond counts as this.
_MOST = {"class": 2047, "offset": 524287}


def _set_priority(action: SetPriority, where: str) -> Act:
    fetch, most, is_class = compiled(action.value, where), _MOST[action.part], action.part == "class"

    def set_priority(facts: Facts) -> Verdict:
        value = to_int(fetch(facts))
        if value is not None:
            kind, offset = facts.priority
            bounded = max(-most, min(most, value))
            facts.set_priority((bounded, offset) if is_class else (kind, bounded))
        return None

    return set_priority


# The log.


def _set_log_level(action: SetLogLevel, where: str) -> Act:
    level = action.level

    def set_level(facts: Facts) -> Verdict:
        facts.note().level = level
        return None

    return set_level


def _capture(action: Capture, where: str) -> Act:
    fetch, slot, of_response = compiled_text(action.value, where), action.slot, action.of_response

    def capture(facts: Facts) -> Verdict:
        value = fetch(facts)
        if value is not None:
            facts.note().capture(value, slot, of_response)
        return None

    return capture


# Answers.


def _loaded_reply(action: LoadedReply, where: str) -> Act:
    reply, body = action.reply, action.body
    if action.whole is None:
        return _answering(reply, lambda facts: body, where)
    answer = Answer(reply.status, reply.denies, whole=action.whole, tarpits=reply.tarpits)
    return lambda facts: answer


def _reply(action: Reply, where: str) -> Act:
    if action.content is not None:
        return _answering(action, text_of_body(action.content, where), where)
    return _answering(action, None if action.standard else lambda facts: b"", where)


def _answering(action: Reply, content: Text | None, where: str) -> Act:
    """Compiles an answer with this content; None: the error page of its status."""
    content_type = action.content_type.encode()
    headers = [(name.encode(), text_of(value, where)) for name, value in action.headers]

    def reply(facts: Facts) -> Verdict:
        # A header without a value is left out, as in HAProxy.
        fields = b"".join([b"%b: %b\r\n" % (name, text) for name, value in headers if (text := value(facts))])
        body = content(facts) if content is not None else None
        typed = content_type if body else b""
        return Answer(action.status, action.denies, fields, body, typed, tarpits=action.tarpits)

    return reply


def _redirect(action: Redirect, where: str) -> Act:
    to = text_of(action.to, where)
    cookie = b"set-cookie: %b\r\n" % action.cookie.encode() if action.cookie else b""
    cached = b"" if action.code in (301, 308) else b"cache-control: no-cache\r\n"

    def redirect(facts: Facts) -> Verdict:
        target = to(facts)
        if action.ignore_empty and not target and action.kind == "location":  # as HAProxy does, for no other kind
            return None
        if action.kind != "location":
            assert facts.head is not None
            hosts = facts.head.values(b"Host")
            rest = _rest(facts.head.target, action.drop_query)
            if action.kind == "scheme":
                target = target + b"://" + (hosts[0] if hosts else b"") + rest
            else:
                target = (b"" if target == b"/" else target) + rest
            if action.append_slash and not target.endswith(b"/"):
                target += b"/"
        return Answer(action.code, fields=b"location: %b\r\n%b%b" % (clean(target), cached, cookie))

    return redirect


def _rest(target: bytes, drop_query: bool) -> bytes:
    whole = path_and_query(target) or b"/"
    return whole.partition(b"?")[0] if drop_query else whole


def _authenticate(action: Authenticate, where: str) -> Act:
    def ask(facts: Facts) -> Verdict:
        name = action.realm or facts.backend_name or facts.frontend_name
        value = b'Basic realm="%b"' % name.encode()
        if facts.asks_as_proxy:
            return Answer(407, content=None, challenge=(b"proxy-authenticate", value))
        return Answer(401, content=None, challenge=(b"www-authenticate", value))

    return ask


def _receive(action: Receive, where: str) -> Act:
    """Compiles an action of `tcp-request content` or `tcp-response content` in mode http: there is a request, or an
    answer, and no more to wait for."""
    passes = action.verb in ("accept", "switch-mode")  # a request it is already
    verdict: Verdict = ALLOWED if passes else Dropped(action.verb == "silent-drop", action.verb == "close")
    return lambda facts: verdict


def _allow(action: Allow, where: str) -> Act:
    return lambda facts: ALLOWED


def _use_service(action: UseService, where: str) -> Act:
    answer = Answer(200, service=action.name)
    return lambda facts: answer


#: Takes an action, and REQUEST or RESPONSE: the head that its rule may change.
Compile = Callable[[Any, str], Act]

_COMPILED_BY: dict[type[Action], Compile] = {
    EditHeader: _edit_header,
    EditLine: _edit_line,
    SetStatus: _set_status,
    SetVariable: _set_variable,
    SetPriority: _set_priority,
    SetLogLevel: _set_log_level,
    Capture: _capture,
    Reply: _reply,
    LoadedReply: _loaded_reply,
    Redirect: _redirect,
    Authenticate: _authenticate,
    UseService: _use_service,
    Allow: _allow,
    Receive: _receive,
    **STEERING,
    Track: counters.track,
    CountGeneral: counters.count_general,
    SetTag: counters.set_tag,
    SetBandwidthLimit: set_bandwidth_limit,
}


def act_of(action: Action, where: str) -> Act:
    """Compiles an action of a rule for requests or for responses (`where`)."""
    return _COMPILED_BY[type(action)](action, where)
