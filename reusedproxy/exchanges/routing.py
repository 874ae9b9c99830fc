"""Routes a request to its backend through the rules of both sections.

In HAProxy's order: the frontend's `tcp-request content`, `monitor-uri`, its `http-request`, its pages, its `redirect`;
`use_backend`; then the same of the backend but for the monitor, and `use-server`. A `listen` is one section, and its
rules count once. Rules for answers are in `exchanges.answer_rules`. A frontend without a rule, whose backend has none
either, has no routing. It must never know how a request is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import ClassVar

from twisted.logger import Logger

from reusedproxy.backends.binding import Binding
from reusedproxy.config.rules.actions import EditHeader
from reusedproxy.exchanges.answer_rules import ServiceRules, answer_rules, own_rules, service_rules
from reusedproxy.exchanges.authentication import Unverified
from reusedproxy.exchanges.client import ClientFrontend
from reusedproxy.exchanges.counting import count_inspected, count_tracked
from reusedproxy.exchanges.egress import spell
from reusedproxy.exchanges.exchange import CONTINUE, ENDED, Exchange
from reusedproxy.exchanges.noting import LogNotes
from reusedproxy.exchanges.request_rules import not_evaluated, runs_into, shows_page
from reusedproxy.exchanges.route import Route
from reusedproxy.exchanges.waiting import RULES, Gathering, Wait
from reusedproxy.rules import editing, regular
from reusedproxy.rules.actions import concerned
from reusedproxy.rules.regular import Interruption, Unevaluated
from reusedproxy.rules.rule_set import RuleSet
from reusedproxy.rules.samples.formats import Text
from reusedproxy.rules.steering import Held
from reusedproxy.sessions.switching import OtherMode, Switching, backend_to_use, server_to_use
from reusedproxy.wire.bodies import ChunkedBody
from reusedproxy.wire.heads import CHUNKED

#: The stages of a request's way, in their order; from PERSIST on it has a backend.
BEGIN, CONTENT, MONITOR, REQUEST, PAGES, REDIRECTS, CHOICE = range(7)
PERSIST, BACK_CONTENT, BACK_REQUEST, BACK_PAGES, BACK_REDIRECTS, SERVER, LAST = range(7, 14)
#: Those whose rules may go on in the middle; the others are evaluated as a whole.
_OF_STEPS = (CONTENT, REQUEST, REDIRECTS, BACK_CONTENT, BACK_REQUEST, BACK_REDIRECTS)
_NOWHERE: Mapping[int, Sequence[str]] = {}
_EXPECT = editing.spellings("Expect")
#: Passwords that are checked for one request, at most: one for each `userlist` that its rules ask.
CHECKS = 8


class Routing:
    """Runs the rules of a frontend and of its backends, in their order. `routes` has all routes, by
    the name of their backend."""

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        frontend: ClientFrontend,
        rule_set: RuleSet,
        choices: Switching,
        routes: Mapping[str, Route],
        ours_alone: Iterable[str] = (),
        edited: Iterable[EditHeader] = (),
        disabled: frozenset[str] = frozenset(),
        hashing: Sequence[str] = (),
        notes: LogNotes | None = None,
        id_header: str = "",
        to_streams: bool = False,
        other_mode: frozenset[str] = frozenset(),
        verified: Mapping[int, Sequence[str]] = _NOWHERE,
    ) -> None:
        """Takes rules and routes. `ours_alone` are names of headers that clients cannot set at all; `edited` are the
        rules' changes to headers; `disabled` are backends that exist, but to which no route leads; `hashing` are the
        lists of users that rules ask, and that have hashes of passwords; `notes` are taken for the log; `id_header` is
        the name of the header that tells servers the id of a request, "" without one; `to_streams` tells that others
        of the frontend's clients are led to backends in mode tcp; `other_mode` are the names of such backends, where
        that of the backend is made for each request; `verified` has the lists of users in which passwords must be
        known before a stage, as `rules.verifying` says: at BEGIN those that are asked where no request can wait."""
        self._frontend = frontend
        self._notes = notes
        of_answers = notes if notes is not None and notes.looks_at_answers else None
        self.id_header = id_header.encode()
        self._rule_set = rule_set
        self.choices = choices
        self.routes = dict(routes)
        self._disabled = disabled
        self._to_streams = to_streams
        self._other_mode = other_mode
        self._partners = [each.partners for each in self.routes.values() if each.partners is not None]
        #: Whether a request may have to wait for a password to be checked.
        self._hashes = bool(hashing)
        self._verified = [verified.get(stage, ()) for stage in range(LAST)] if hashing else None
        self._ours = [editing.spellings(name) for name in sorted(ours_alone)]
        #: Whether the first line of a request may not stay as it was.
        self._runs = (
            bool(rule_set.request)
            or bool(rule_set.names)
            or any(route.rule_set is not None for route in self.routes.values())
            or bool(self._partners)
        )
        #: Of an answer that comes before any backend.
        self.own_rules = own_rules(None, rule_set)
        self._backends_own_rules = {name: own_rules(route.rule_set, rule_set) for name, route in self.routes.items()}
        self._of_services: dict[str | None, ServiceRules | None] = {None: service_rules(None, rule_set, [])}
        for name, route in self.routes.items():
            self._of_services[name] = service_rules(route.rule_set, rule_set, route.response_content)
        self._answer_rules = {
            name: answer_rules(route.rule_set, rule_set, route.persistence, of_answers, route.response_content)
            for name, route in self.routes.items()
        }
        #: Whether rules have a say in the header of this name.
        self.edits = concerned(edited)

    @property
    def inspects(self) -> bool:
        """Tells whether the frontend has rules for contents, behind which `route` counts a request, as in HAProxy."""
        return bool(self._rule_set.content)

    def guard(self) -> Callable[[Exchange], bool] | None:
        """Returns a function that returns False for a request to which no rule applies, so that it need not pass
        `route`, but begins at the default backend. It is asked once, before anything else is done with the request.
        None where only `route` tells. Call it when the pages are known."""
        frontend, route, guard = self._frontend, self._frontend.default_route, self._rule_set.guard
        if route is None or guard is None:
            return None
        own = route.rule_set
        if (
            (self.choices or self._ours or self._hashes or self._notes is not None or self.id_header or frontend.pages)
            or (route.pages or route.persist_rules or route.server_rules or route.tells is not None)
            or route.partners is not None
            or (own is not None and (own.content or own.request or own.names or own.redirects))
        ):
            return None
        name = route.backend.name
        own_rules, of_answers = self._backends_own_rules[name], self._answer_rules[name]
        return guard if own_rules is None and of_answers is None else _with_answers(guard, own_rules, of_answers)

    def route(
        self,
        exchange: Exchange,
        body: bytes,
        ended: bool,
        stage: int = BEGIN,
        at: int = 0,
        route: Route | None = None,
    ) -> None:
        """Begins `exchange` where the rules let it, or answers it. `body` is what has come of its body; `ended` tells
        that it is all. One that was held back goes on at its `stage`, with the rule number `at` of that, and from
        PERSIST on with the `route` that it has taken.

        It is one method, since each part as a method of its own would cost every request a call.
        """
        if self._hashes and not exchange.may_wait:
            self._route_with_passwords(exchange, body, ended, stage, at, route)
            return
        head = exchange.head
        assert head is not None
        regular.begin()
        frontend, rule_set, verified = self._frontend, self._rule_set, self._verified
        try:
            if stage < PERSIST:
                if stage == BEGIN:
                    exchange.early = body
                    if self._runs:
                        exchange.line = head.head[: head.head.find(b"\r")]  # the log is to say what the client said
                    exchange.own_rules = self.own_rules
                    if verified is not None:
                        exchange.verify(verified[BEGIN])
                    if self._partners:
                        spell(exchange, self._partners)
                    for lines in self._ours:
                        editing.remove(head, lines)
                    if self._notes is not None:
                        self._notes.request(exchange)
                    stage, at = CONTENT, exchange.looked
                if stage == CONTENT:
                    if rule_set.content:
                        while found := runs_into(rule_set.content, exchange, ended, self._note_cookie, at):
                            if found is True:
                                frontend.traffic.req_tot -= 1  # as all requests, it was counted at its end
                                return
                            if self._holds_back(exchange, found, body, ended, stage):
                                return
                            at = found.next
                        count_inspected(exchange)
                    stage = MONITOR
                if stage == MONITOR:
                    if frontend.monitor is not None:
                        if verified is not None:
                            exchange.verify(verified[MONITOR])
                        if frontend.monitor(exchange, body, ended):
                            return
                    stage, at = REQUEST, exchange.passed
                if stage == REQUEST:
                    while rule_set.request and (
                        found := runs_into(rule_set.request, exchange, ended, self._note_cookie, at, self._of_services)
                    ):
                        if found is True or self._holds_back(exchange, found, body, ended, stage):
                            return
                        at = found.next
                    if rule_set.names and runs_into(rule_set.names, exchange, ended, self._note_cookie):
                        return
                    stage = PAGES
                if stage == PAGES:
                    if frontend.pages:
                        if verified is not None:
                            exchange.verify(verified[PAGES])
                        if shows_page(frontend.pages, exchange, body, ended, self._note_cookie):
                            return
                    stage, at = REDIRECTS, 0
                if stage == REDIRECTS:
                    if rule_set.redirects and runs_into(rule_set.redirects, exchange, ended, self._note_cookie, at):
                        return
                    stage = CHOICE
                if exchange.led_to is not None:
                    route = exchange.led_to
                elif self.choices:
                    if verified is not None:
                        exchange.verify(verified[CHOICE])
                    default = frontend.default_route
                    route = backend_to_use(
                        self.choices, exchange, self.routes, self._disabled, default, self._other_mode
                    )
                else:
                    route = frontend.default_route
                if route is None:
                    self._leads_nowhere(exchange)
                    return
                exchange.enter(route.backend)
                stage = PERSIST
            assert route is not None
            own = route.rule_set
            if stage == PERSIST:
                if route.persist_rules:
                    if verified is not None:
                        exchange.verify(verified[PERSIST])
                    if self._fails_to_persist(exchange, route):
                        return
                exchange.own_rules = self._backends_own_rules[route.backend.name]
                if route.partners is not None:
                    spell(exchange, (route.partners,))
                if own is not None and own.content:
                    exchange.counted, exchange.tracked_before = (), exchange.counters
                stage, at = BACK_CONTENT, 0
            if stage == BACK_CONTENT:
                if own is not None and own.content:
                    while found := runs_into(own.content, exchange, ended, self._note_cookie, at):
                        if found is True or self._holds_back(exchange, found, body, ended, stage, route):
                            return
                        at = found.next
                    count_tracked(exchange, exchange.tracked_before)
                stage, at = BACK_REQUEST, 0
            if stage == BACK_REQUEST:
                while (
                    own is not None
                    and own.request
                    and (found := runs_into(own.request, exchange, ended, self._note_cookie, at, self._of_services))
                ):
                    if found is True or self._holds_back(exchange, found, body, ended, stage, route):
                        return
                    at = found.next
                if own is not None and own.names and runs_into(own.names, exchange, ended, self._note_cookie):
                    return
                stage = BACK_PAGES
            if stage == BACK_PAGES:
                if route.pages:
                    if verified is not None:
                        exchange.verify(verified[BACK_PAGES])
                    if shows_page(route.pages, exchange, body, ended, self._note_cookie):
                        return
                stage, at = BACK_REDIRECTS, 0
            if stage == BACK_REDIRECTS:
                if (
                    own is not None
                    and own.redirects
                    and runs_into(own.redirects, exchange, ended, self._note_cookie, at)
                ):
                    return
                stage = SERVER
            if stage == SERVER:
                if route.server_rules:
                    if verified is not None:
                        exchange.verify(verified[SERVER])
                    if self._fails_to_use_server(exchange, route):
                        return
                stage = LAST
            if verified is not None:
                exchange.verify(verified[BEGIN])
        except Unverified as unverified:
            at = unverified.at if stage in _OF_STEPS else 0
            self._waits_for_password(exchange, unverified, body, ended, stage, at, route)
            return
        except Unevaluated as unevaluated:
            not_evaluated(exchange, unevaluated)
            return
        except OtherMode:
            _led_to_streams(exchange)
            return
        if route.partners is not None and route.partners.refuses(exchange):
            return
        exchange.answer_rules = self._answer_rules[route.backend.name]
        if self.id_header and self._fails_to_identify(exchange):
            return
        if route.tells is not None and self._fails_to_tell(exchange, route.tells):
            return
        exchange.may_wait = False
        exchange.begin(route, body, ended)

    def _leads_nowhere(self, exchange: Exchange) -> None:
        """Ends a request for which there is no backend; as in HAProxy without an answer if it is for one that takes no
        requests."""
        if self._to_streams:
            _led_to_streams(exchange)
        else:
            exchange.fail(503, "SC")

    def _holds_back(
        self, exchange: Exchange, held: Held, body: bytes, ended: bool, stage: int, route: Route | None = None
    ) -> bool:
        """Holds the request back, and goes on later with the rules behind the one that says so. Returns False if what
        it is to wait for is there."""
        exchange.complete = ended
        go_on = partial(self._go_on, exchange, body, stage, held.next, route)
        if held.at_least is not None:
            return self._waits_for_body(exchange, held.at_least, held.seconds, go_on)
        if held.begin is not None:
            wait = Wait(exchange, None, go_on)
            wait.stop = held.begin(wait.end)
            return True
        if held.seconds is not None and held.seconds <= 0:
            return False
        Wait(exchange, held.seconds, go_on)
        return True

    def _waits_for_body(
        self, exchange: Exchange, at_least: int, seconds: float | None, go_on: Callable[[], None]
    ) -> bool:
        """Waits until so many bytes of the body have come (0: all of it), for so many `seconds` (None: what is left of
        `timeout http-request`). Returns False if they are there."""
        head, client = exchange.head, exchange.client
        assert head is not None
        come = exchange.sent_body
        gathering = Gathering(
            at_least, client.frontend.limits.buffer, ChunkedBody(framed=False) if head.length == CHUNKED else None
        )
        gathering.take(come)
        if exchange.complete or gathering.enough:
            return False
        if gathering.overframed:
            exchange.fail(400, f"P{RULES}")
            return True
        if seconds is None and (timeout := client.frontend.timeouts.http_request) is not None:
            seconds = max(0.0, exchange.began + timeout - client.deadlines.now())
        if head.expect_continue:
            if not come and exchange.framed:
                client.write(CONTINUE)
            # The proxy has answered it, so the server does not see it, and its own 100 does not reach the client.
            editing.remove(head, _EXPECT)
            editing.drop_wish(head, "expect")
            client.continue_came()
        exchange.wait_for_body(seconds, gathering, go_on)
        return True

    def _route_with_passwords(
        self, exchange: Exchange, body: bytes, ended: bool, stage: int, at: int, route: Route | None
    ) -> None:
        """Routes a request whose rules may ask for a password with a hash, and so be broken off."""
        exchange.may_wait = True
        try:
            self.route(exchange, body, ended, stage, at, route)
        finally:
            exchange.may_wait = False

    def _waits_for_password(
        self,
        exchange: Exchange,
        unverified: Unverified,
        body: bytes,
        ended: bool,
        stage: int,
        at: int,
        route: Route | None,
    ) -> None:
        """Has a password checked, and goes on then with what has asked for it. What came before that stays done."""
        frontend, host = self._frontend, exchange.source[0]
        exchange.complete = ended
        exchange.passwords += 1
        go_on = partial(self._go_on, exchange, body, stage, at, route)
        if exchange.passwords > CHECKS or not frontend.authentication.check(unverified, host, go_on):
            why = Unevaluated("too many clients wait until their passwords are checked")
            frontend.not_evaluated(why, exchange.client.listener)
            exchange.fail(503, "PR")

    def _go_on(self, exchange: Exchange, body: bytes, stage: int, at: int, route: Route | None) -> None:
        if exchange.state == ENDED:
            return
        try:
            self.route(exchange, body, exchange.complete, stage, at, route)
            if exchange.client.ended and exchange.state != ENDED and exchange.abandoned_with_the_client:
                exchange.client_left()
        except Exception:
            self._log.failure("a request failed after it had been held back")
            exchange.client.abort_exchange(exchange)

    def _note_cookie(self, exchange: Exchange) -> None:
        """Looks at the persistence cookie of a denied request for the log, which names the cookie's server, too, as in
        HAProxy."""
        backend = exchange.backend_name
        route = self.routes.get(backend) if backend is not None else None
        if route is not None and route.persistence is not None:
            route.persistence.receive(exchange)
            exchange.waited_for = None if exchange.cookie is None else exchange.cookie.named

    def _fails_to_persist(self, exchange: Exchange, route: Route) -> bool:
        """Notes what `force-persist` and `ignore-persist` say of this request: the first whose condition is true
        counts. Returns True if that could not be found out, and the request has been refused."""
        place = None
        try:
            for test, verb, place in route.persist_rules:  # noqa: B007 (it is used where one of them raises)
                if test is None or test(exchange):
                    exchange.persist = verb
                    break
        except Interruption:
            raise
        except Exception as error:
            not_evaluated(exchange, Unevaluated.by(error, place))
            return True
        return False

    def _fails_to_tell(self, exchange: Exchange, tells: Text) -> bool:
        """Adds the header of `option forwarded`. Returns True if what it says could not be evaluated: then the request
        has been answered."""
        assert exchange.head is not None
        try:
            editing.append(exchange.head, b"forwarded", tells(exchange))
        except Interruption:
            raise
        except Exception as error:
            assert exchange.backend is not None
            not_evaluated(exchange, Unevaluated.by(error, exchange.backend.settings.place))
            return True
        return False

    def _fails_to_identify(self, exchange: Exchange) -> bool:
        """Adds the header of `unique-id-header`. Returns True if the id could not be evaluated: then the request has
        been answered."""
        assert exchange.head is not None
        try:
            # As in HAProxy beside those of that name that the client has sent.
            editing.append(exchange.head, self.id_header, exchange.unique_id)
        except Interruption:
            raise
        except Exception as error:
            not_evaluated(exchange, Unevaluated.by(error, self._frontend.settings.place))
            return True
        return False

    def _fails_to_use_server(self, exchange: Exchange, route: Route) -> bool:
        """Binds the request to the server that a `use-server` names. Returns True if that could not be found out, and
        the request has been refused."""
        settings, forced = route.backend.settings, exchange.persist == "force"
        try:
            server = server_to_use(route.server_rules, route.backend, exchange, forced or settings.persist)
            if server is not None:
                exchange.binding = Binding.of(server, settings, forced=forced)
        except Unevaluated as unevaluated:
            not_evaluated(exchange, unevaluated)
            return True
        return False


def _led_to_streams(exchange: Exchange) -> None:
    """Ends a request that is led to a backend in mode tcp, as HAProxy does."""
    exchange.client.end_after("led to a backend in mode tcp")
    exchange.cut(False, flags="IR")


def _with_answers(
    guard: Callable[[Exchange], bool],
    own: Callable[[Exchange, bytes], bytes] | None,
    of_answers: Callable[[Exchange], tuple[int, bytes, str] | Held | None] | None,
) -> Callable[[Exchange], bool]:
    """Returns a guard that gives a request the rules for answers, as `Routing.route` does."""

    def may_apply(exchange: Exchange) -> bool:
        if guard(exchange):
            return True
        exchange.own_rules, exchange.answer_rules = own, of_answers
        return False

    return may_apply
