"""Runs rules for a request, and does what they decide: answers it, holds it back, drops it, or has one of the proxy's
pages or services answer. In which order sections and their rules come is for `exchanges.routing`. It must never know
routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from reusedproxy.exchanges.answer_rules import ServiceRules, written_answer
from reusedproxy.exchanges.counting import count_error
from reusedproxy.exchanges.denied import count_denied
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.exchanges.route import Page
from reusedproxy.exchanges.serving import Made
from reusedproxy.exchanges.waiting import TARPIT, Wait
from reusedproxy.rules import regular
from reusedproxy.rules.actions import Answer
from reusedproxy.rules.editing import Unusable
from reusedproxy.rules.regular import Interruption, Unevaluated
from reusedproxy.rules.rule_set import Steps, run
from reusedproxy.rules.steering import Dropped, Held

#: The name of the pages in the log, in place of a server's.
STATISTICS = "<STATS>"
_NO_RULES: Mapping[str | None, ServiceRules | None] = {}


def runs_into(
    steps: Steps,
    exchange: Exchange,
    ended: bool,
    denied: Callable[[Exchange], None],
    at: int = 0,
    of_services: Mapping[str | None, ServiceRules | None] = _NO_RULES,
) -> Held | bool:
    """Runs these rules for a request, from that with the number `at` on, and tells whether one of them has answered it,
    or holds it back. `ended` tells that all of its body has come; `denied` is called before a refusal is answered;
    `of_services` are the rules for answers of services, by the name of the backend."""
    frontend, head = exchange.client.frontend, exchange.head
    assert head is not None
    try:
        verdict = run(steps, exchange, at)
    except Unusable:
        exchange.fail(400, "PR")
        return True
    except Unevaluated as unevaluated:
        not_evaluated(exchange, unevaluated)
        return True
    if exchange.hints:
        exchange.send_hints()
    if verdict is None:
        exchange.lenient = False
        return False
    if isinstance(verdict, Held):
        return verdict
    exchange.lenient = False
    if isinstance(verdict, Dropped):
        _count_denied(exchange, denied)
        exchange.cut(verdict.silent)
    elif verdict.service:
        service = frontend.services[verdict.service]
        exchange.applet = service.log_name
        exchange.service_rules = of_services.get(exchange.backend_name)
        _serve(exchange, service.answer(head), ended)
    elif verdict.tarpits:
        exchange.complete = ended
        own = exchange.own_timeouts or {}
        timeouts = frontend.timeouts if exchange.backend is None else exchange.backend.settings.timeouts
        # As in HAProxy, no time at all where none is said.
        seconds = own.get("tarpit", timeouts.tarpit or 0.0)
        Wait(exchange, seconds, partial(_answers, verdict, exchange, denied, "PT"), phase=TARPIT)
    else:
        exchange.complete = ended
        _answers(verdict, exchange, denied, "PR" if verdict.denies else "LR")
    return True


def _answers(verdict: Answer, exchange: Exchange, denied: Callable[[Exchange], None], flags: str) -> None:
    """Ends the exchange with what a rule answers; `flags` are the letters for the log."""
    exchange.may_wait = False  # what an answer asks is known, or counts as not evaluated
    if not exchange.complete:
        exchange.client.end_after("answered by a rule")
    data = written_answer(verdict, exchange)
    if verdict.denies:
        _count_denied(exchange, denied)
    if verdict.denies or verdict.challenge is not None:
        count_error(exchange)
    exchange.answered_here(verdict.status, data, flags)


def _count_denied(exchange: Exchange, denied: Callable[[Exchange], None]) -> None:
    count_denied(exchange)
    denied(exchange)


def shows_page(
    pages: Iterable[Page],
    exchange: Exchange,
    body: bytes,
    ended: bool,
    denied: Callable[[Exchange], None] = lambda exchange: None,
) -> bool:
    """Answers a request for one of these pages, as the page's rules let it. Returns False if it was for none. `ended`
    tells that `body` is all of its body; `denied` is called before a refusal is answered."""
    head = exchange.head
    assert head is not None
    page = next((each for each in pages if each.wants(head.target)), None)
    if page is None:
        return False
    exchange.applet = STATISTICS
    admin, user = False, None
    if page.rules or page.admin:
        regular.begin()
        if runs_into(page.rules, exchange, ended, denied):
            return True
        place = None
        try:
            for test, place in page.admin:  # noqa: B007 (it is used where one of them raises)
                if test(exchange):
                    admin = True
                    break
            if admin and head.method == b"POST":
                user = next(filter(None, map(exchange.member, page.users)), None)
        except Interruption:
            raise
        except Exception as error:
            not_evaluated(exchange, Unevaluated.by(error, place))
            return True
    exchange.service_rules = page.answer_rules
    if admin and head.method == b"POST":
        exchange.collect(body, ended, partial(_obeys, page, exchange, user))
    else:
        _serve(exchange, page.answer(head, admin), ended)
    return True


def _serve(exchange: Exchange, made: Made, ended: bool) -> None:
    """Answers with what is made here. `ended` tells that all of the request's body has come."""
    exchange.may_wait = False
    if not ended:
        exchange.client.end_after("answered by the proxy before its body")
    exchange.serve(made)


def _obeys(page: Page, exchange: Exchange, user: bytes | None, form: bytes | None) -> None:
    """Answers a request whose body has come; `form` None: it is too long. Its `user` has shown a password."""
    assert exchange.head is not None
    proven = exchange.client_tls is not None or user is not None
    host, port = exchange.source
    address = f"{host}:{port}" if port else host
    sender = address if user is None else f"{address}, user {user.decode('utf-8', 'replace')}"
    close = exchange.client.last or form is None
    exchange.answered_here(*page.obey(exchange.head, form, close, proven, sender))


def not_evaluated(exchange: Exchange, unevaluated: Unevaluated) -> None:
    """Refuses a request because a rule about it could not be evaluated: whether it may pass is not known, nor is it the
    client's fault for sure."""
    exchange.client.frontend.not_evaluated(unevaluated, exchange.client.listener)
    exchange.fail(500, "PR")
