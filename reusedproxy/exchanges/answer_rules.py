"""Runs the rules for answers: `tcp-response content` and `http-response` of the backend, `http-response` of the
frontend, and `http-after-response` of both, which applies to the proxy's own answers, too.

What these functions return is made once for each route, and called with the exchange. It must never know how an answer
is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from reusedproxy.exchanges.denied import count_denied, count_denied_answer
from reusedproxy.exchanges.error_pages import written
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.exchanges.noting import LogNotes
from reusedproxy.exchanges.persistence import Persistence
from reusedproxy.exchanges.withheld import Verdict
from reusedproxy.rules import regular
from reusedproxy.rules.actions import Answer
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.rule_set import RuleSet, Steps, run
from reusedproxy.rules.steering import Dropped, Held
from reusedproxy.wire.heads import ResponseHead

_CONNECTION = re.compile(rb"(?<=\r\n)(?i:connection):[^\r]*\r\n")
#: Runs rules for the answer of a service.
ServiceRules = Callable[[Exchange, bytes], tuple[int, bytes, bool]]


def answer_rules(
    backend: RuleSet | None,
    frontend: RuleSet,
    persistence: Persistence | None,
    notes: LogNotes | None,
    content: Steps,
) -> Callable[[Exchange], Verdict] | None:
    """Returns a function that runs the rules for a response: the backend's, of which those for `content` come first,
    then the frontend's; before those of `http-after-response` the persistence cookie is looked after. Notes for the log
    are taken before and after all that. Where a rule has the answer held back, it returns that, and the exchange goes
    on with the rules later. Returns None if there is nothing of it."""
    steps_of_both = _of_responses(content, backend, frontend)
    after = [rule_set.after for rule_set in (backend, frontend) if rule_set is not None and rule_set.after]
    if not steps_of_both and not after and notes is None:
        return None if persistence is None else persistence.respond
    return _AnswerRules(steps_of_both, after, persistence, notes).look


class _AnswerRules:
    """Holds what is run for the responses of one route. A function that named itself, to be called again, would be a
    reference cycle with all its rules."""

    __slots__ = ("_after", "_notes", "_persistence", "_steps_of_both")

    def __init__(
        self,
        steps_of_both: list[Steps],
        after: list[Steps],
        persistence: Persistence | None,
        notes: LogNotes | None,
    ) -> None:
        self._steps_of_both = steps_of_both
        self._after = after
        self._persistence = persistence
        self._notes = notes

    def look(self, exchange: Exchange, stage: int = 0, at: int = 0) -> Verdict:
        """Runs them. Those that have waited go on in the rule set with the number `stage`, behind rule number `at`."""
        regular.begin()
        notes, steps_of_both = self._notes, self._steps_of_both
        if notes is not None and not stage and not at:
            notes.response(exchange)
        try:
            while stage < len(steps_of_both):
                verdict = run(steps_of_both[stage], exchange, at)
                if isinstance(verdict, Dropped):
                    return _dropped(exchange, verdict)
                if isinstance(verdict, Answer):
                    return _instead(verdict, exchange)
                if isinstance(verdict, Held):
                    at = verdict.next
                    if exchange.withholds(verdict, partial(self.look, stage=stage, at=at)):
                        return verdict
                else:
                    stage, at = stage + 1, 0
            exchange.lenient = False
            if self._persistence is not None:
                self._persistence.respond(exchange)
            for steps in self._after:
                run(steps, exchange)
        except Unevaluated as unevaluated:
            exchange.client.frontend.not_evaluated(unevaluated, exchange.client.listener)
            return _instead(Answer(500, content=None), exchange)[:2] + ("PH",)
        if notes is not None:
            notes.answered(exchange)
        return None


def own_rules(backend: RuleSet | None, frontend: RuleSet) -> Callable[[Exchange, bytes], bytes] | None:
    """Returns a function that runs the rules for an answer of the proxy's own: only `http-after-response`. Returns None
    if there are none."""
    steps_of_both = [rule_set.after for rule_set in (backend, frontend) if rule_set is not None and rule_set.after]
    if not steps_of_both:
        return None

    def change(exchange: Exchange, data: bytes) -> bytes:
        head, connection, body = _own_head(exchange, data)
        status = head.status
        try:
            for steps in steps_of_both:
                run(steps, exchange)
        except Unevaluated as unevaluated:
            exchange.client.frontend.not_evaluated(unevaluated, exchange.client.listener)
            return data  # nothing but our own words are in it
        if head.status != status:
            exchange.status = head.status
        return b"%b%b\r\n%b" % (head.block, connection, body)

    return change


def service_rules(backend: RuleSet | None, frontend: RuleSet, content: Steps) -> ServiceRules | None:
    """Returns a function that runs the same rules, but for those of `http-after-response`, for an answer of a service,
    which HAProxy treats like a server's. Given the answer, or its head, it returns its status, what is sent of
    it, and whether that is an answer in its place. Returns None if there are no rules."""
    return _looking_at(_of_responses(content, backend, frontend))


def page_rules(content: Steps) -> ServiceRules | None:
    """Returns the same for the statistics page, to which only rules for contents apply, as in HAProxy."""
    return _looking_at([content] if content else [])


def _looking_at(steps_of_both: list[Steps]) -> ServiceRules | None:
    if not steps_of_both:
        return None

    def look(exchange: Exchange, data: bytes) -> tuple[int, bytes, bool]:
        regular.begin()
        head, connection, body = _own_head(exchange, data)
        try:
            for steps in steps_of_both:
                verdict = run(steps, exchange)
                while isinstance(verdict, Held):  # the answer is there, or made as it is taken
                    verdict = run(steps, exchange, verdict.next)
                if isinstance(verdict, Dropped):
                    return (*_dropped(exchange, verdict)[:2], True)
                if isinstance(verdict, Answer):
                    return (*_instead(verdict, exchange)[:2], True)
        except Unevaluated as unevaluated:
            exchange.client.frontend.not_evaluated(unevaluated, exchange.client.listener)
            return (*_instead(Answer(500, content=None), exchange)[:2], True)
        exchange.lenient = False
        return head.status, b"%b%b\r\n%b" % (head.block, connection, body), False

    return look


def _of_responses(content: Steps, backend: RuleSet | None, frontend: RuleSet) -> list[Steps]:
    """Returns the rules that are run before those of `http-after-response`, as far as there are any."""
    own = [] if backend is None else backend.response
    return [steps for steps in (content, own, frontend.response) if steps]


def _own_head(exchange: Exchange, data: bytes) -> tuple[ResponseHead, bytes, bytes]:
    """Has rules see the head of an answer of the proxy's own, and returns it with its line of Connection, which is not
    for them, as in HAProxy, and with the rest of the answer. The status is the page's, which may be another one than
    the error's (`errorloc`, `errorfile`)."""
    end = data.index(b"\r\n\r\n") + 4
    lines, connection = data[: end - 2], b""
    if found := _CONNECTION.search(lines):
        lines, connection = lines[: found.start()] + lines[found.end() :], found[0]
    exchange.answer = head = ResponseHead()
    head.status, head.reason, head.length, head.keep_alive = int(lines[9:12]), b"", 0, True
    head.block, head.head = lines, lines + b"\r\n"
    return head, connection, data[end:]


def _dropped(exchange: Exchange, verdict: Dropped) -> tuple[int, bytes, str]:
    """Returns what is in the place of an answer whose client hears nothing any more, or of one whose server's
    connection has ended for it."""
    assert exchange.answer is not None
    if verdict.of_server:
        exchange.count("eresp")
        return (*_instead(Answer(502, content=None), exchange)[:2], "SH")
    if verdict.silent:
        exchange.client.hide()
        count_denied(exchange)  # as a request, as HAProxy does
    else:
        count_denied_answer(exchange)
    exchange.client.end_after("dropped by a rule")
    return exchange.answer.status, b"", "PR" if verdict.silent else "PD"


def _instead(verdict: Answer, exchange: Exchange) -> tuple[int, bytes, str]:
    """Returns what a rule answers in place of a server: the status, the whole answer, and two letters for the log."""
    client = exchange.client
    if verdict.denies:
        count_denied_answer(exchange)
    if not client.may_ask_again:
        client.end_after("answered by a rule")
    return verdict.status, written_answer(verdict, exchange), "PH" if verdict.denies else "LH"


def written_answer(verdict: Answer, exchange: Exchange) -> bytes:
    """Writes the whole response; the connection ends if that says so."""
    client = exchange.client
    page = exchange.page_of(verdict.status) if verdict.content is None else None
    whole, keeps = written(verdict, page, exchange, not client.last)
    if not keeps:
        client.end_after("answered with an error page that ends it")
    return whole
