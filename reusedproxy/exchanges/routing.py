"""Routes a request to its backend through the rules of both sections, and runs the rules for the answer.

In HAProxy's order: the frontend's `http-request`, its pages, its `redirect`; `use_backend`; then the same three of the
backend, and `use-server`; on the way back `http-response` of the backend, then of the frontend, and
`http-after-response` of both, which applies to the proxy's own answers, too. A `listen` is one section, and its rules
count once. A frontend without a rule, whose backend has none either, has no routing. It must never know how a request
is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from attrs import frozen
from twisted.logger import Logger

from reusedproxy.backends.binding import Binding
from reusedproxy.config import model
from reusedproxy.config.rules.actions import EditHeader
from reusedproxy.exchanges.attempt import HELD_MAX
from reusedproxy.exchanges.authentication import Unverified
from reusedproxy.exchanges.client import ClientFrontend
from reusedproxy.exchanges.counting import count_error
from reusedproxy.exchanges.error_pages import written
from reusedproxy.exchanges.exchange import CONTINUE, ENDED, Exchange
from reusedproxy.exchanges.noting import LogNotes
from reusedproxy.exchanges.persistence import Persistence
from reusedproxy.exchanges.route import Page, Route, server_to_use
from reusedproxy.exchanges.serving import Made
from reusedproxy.exchanges.waiting import TARPIT, Gathering, Wait
from reusedproxy.rules import editing, regular
from reusedproxy.rules.actions import Answer, concerned
from reusedproxy.rules.editing import Unusable
from reusedproxy.rules.facts import Noted, Sample
from reusedproxy.rules.matching import Test
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.rule_set import RuleSet, Steps, run
from reusedproxy.rules.samples.formats import Text
from reusedproxy.rules.steering import Dropped, Held
from reusedproxy.wire.bodies import ChunkedBody
from reusedproxy.wire.heads import CHUNKED, RequestHead, ResponseHead

#: Where the rules of a request are: those of its frontend, or of its backend.
FRONT, BACK = 0, 1
_EXPECT = editing.spellings("Expect")
#: The name of the pages in the log, in place of a server's.
STATISTICS = "<STATS>"
#: Runs rules for the answer of a service.
ServiceRules = Callable[[Exchange, bytes], tuple[int, bytes, bool]]
_NO_RULES: Mapping[str | None, ServiceRules | None] = {}
#: Passwords that are checked for one request, at most: one for each `userlist` that its rules ask.
CHECKS = 8


@frozen
class Choice:
    """Holds one `use_backend` line: its condition, and the name of the backend. `fixed` tells that the name is the same
    for all requests."""

    place: model.Place

    test: Test | None
    name: Text
    fixed: bool


#: What rules set of an exchange itself (`rules.steering.Steered`, and what is set here) and what does not change by
#: itself, so that it is enough to keep the value.
_SET = (
    "priority", "lenient", "own_source", "own_destination", "most_retries", "no_late_retries", "hints", "method",
    "persist", "binding", "applet", "line", "own_rules", "answer_rules",
)  # fmt: skip


@frozen
class Before:
    """Holds what rules may change of a request, of its client's session and of entries of stick tables, as it was
    before they ran. What they have begun to track stays tracked, so that who waits counts among those who are there:
    the rules find it tracked when they run again."""

    head: RequestHead
    variables: dict[str, Sample] | None
    of_session: dict[str, Sample]
    timeouts: dict[str, float] | None
    noted: Noted | None
    values: Sequence[object]

    @classmethod
    def of(cls, exchange: Exchange) -> Before:
        """Keeps all this. The tables note what is changed from now on, until `forget` is called."""
        head, variables, session = exchange.head, exchange.own_variables, exchange.client.session
        timeouts = exchange.own_timeouts
        assert head is not None
        for table in exchange.client.frontend.tables.values():
            table.remember()
        return cls(
            head.copy(),
            None if variables is None else dict(variables),
            {} if session is None else dict(session.variables),
            None if timeouts is None else dict(timeouts),
            None if exchange.noted is None else exchange.noted.copy(),
            [getattr(exchange, name) for name in _SET],
        )

    def restore(self, exchange: Exchange, stage: int) -> None:
        assert exchange.head is not None
        exchange.head.become(self.head)
        exchange.own_variables = self.variables
        if exchange.client.session is not None:
            exchange.client.session.variables = dict(self.of_session)
        exchange.own_timeouts = self.timeouts
        exchange.noted = self.noted
        for name, value in zip(_SET, self.values, strict=True):
            setattr(exchange, name, value)
        for table in exchange.client.frontend.tables.values():
            table.put_back()
        if stage == FRONT:
            exchange.withdraw()

    @staticmethod
    def forget(exchange: Exchange) -> None:
        for table in exchange.client.frontend.tables.values():
            table.forget()


class Routing:
    """Runs the rules of a frontend and of its backends, in their order. `routes` has all routes, by
    the name of their backend."""

    _log = Logger()

    def __init__(
        self,
        frontend: ClientFrontend,
        rule_set: RuleSet,
        choices: Iterable[Choice],
        routes: Mapping[str, Route],
        ours_alone: Iterable[str] = (),
        edited: Iterable[EditHeader] = (),
        disabled: frozenset[str] = frozenset(),
        hashing: Sequence[str] = (),
        notes: LogNotes | None = None,
        id_header: str = "",
    ) -> None:
        """Takes rules and routes. `ours_alone` are names of headers that clients cannot set at all; `edited` are the
        rules' changes to headers; `disabled` are backends that exist, but to which no route leads; `hashing` are the
        lists of users that rules ask, and that have hashes of passwords; `notes` are taken for the log; `id_header` is
        the name of the header that tells servers the id of a request, "" without one."""
        self._frontend = frontend
        self._notes = notes
        of_answers = notes if notes is not None and notes.looks_at_answers else None
        self.id_header = id_header.encode()
        self._rule_set = rule_set
        self.choices = list(choices)
        self.routes = dict(routes)
        self._disabled = disabled
        self._hashes = bool(hashing)
        if hashing:
            # In the place of `route`, so that a request whose rules ask for no hash never passes it.
            self.route = self._route_or_wait  # type: ignore[method-assign]
        self._ours = [editing.spellings(name) for name in sorted(ours_alone)]
        #: Whether the first line of a request may not stay as it was.
        self._runs = (
            bool(rule_set.request)
            or bool(rule_set.names)
            or any(route.rule_set is not None for route in self.routes.values())
        )
        self._own_rules = _own_rules(None, rule_set)
        self._backends_own_rules = {name: _own_rules(route.rule_set, rule_set) for name, route in self.routes.items()}
        self._of_services: dict[str | None, ServiceRules | None] = {None: _service_rules(None, rule_set)}
        for name, route in self.routes.items():
            self._of_services[name] = _service_rules(route.rule_set, rule_set)
        self._answer_rules = {
            name: _answer_rules(route.rule_set, rule_set, route.persistence, of_answers)
            for name, route in self.routes.items()
        }
        #: Whether rules have a say in the header of this name.
        self.edits = concerned(edited)

    def route(
        self,
        exchange: Exchange,
        body: bytes,
        ended: bool,
        stage: int = FRONT,
        at: int = 0,
        route: Route | None = None,
    ) -> None:
        """Begins `exchange` where the rules let it, or answers it. One that was held back goes on with the rule `at` of
        its stage; with BACK it has taken its `route`."""
        head = exchange.head
        assert head is not None
        regular.begin()
        frontend, rule_set = self._frontend, self._rule_set
        if stage == FRONT:
            if not at:
                exchange.early = body
                if self._runs:
                    exchange.line = head.head[: head.head.find(b"\r")]  # the log is to say what the client said
                for lines in self._ours:
                    editing.remove(head, lines)
                if self._notes is not None:
                    self._notes.request(exchange)
                exchange.own_rules = self._own_rules
                if rule_set.content and runs_into(rule_set.content, exchange, ended, self._note_cookie):
                    return
            while rule_set.request and (
                found := runs_into(rule_set.request, exchange, ended, self._note_cookie, at, self._of_services)
            ):
                if found is True or self._holds_back(exchange, found, body, ended, FRONT):
                    return
                at = found.next
            if rule_set.names and runs_into(rule_set.names, exchange, ended, self._note_cookie):
                return
            if frontend.pages and shows_page(frontend.pages, exchange, body, ended, self._note_cookie):
                return
            if rule_set.redirects and runs_into(rule_set.redirects, exchange, ended, self._note_cookie):
                return
            try:
                route = self._choose(exchange) if self.choices else frontend.default_route
            except Unevaluated as unevaluated:
                frontend.not_evaluated(unevaluated)
                exchange.fail(500, "PR")
                return
            if route is None:
                exchange.fail(503, "SC")
                return
            exchange.enter(route.backend)
            if route.persist_rules and self._fails_to_persist(exchange, route):
                return
            exchange.own_rules = self._backends_own_rules[route.backend.name]
            at = 0
        assert route is not None
        own = route.rule_set
        if own is not None and own.content and not at and runs_into(own.content, exchange, ended, self._note_cookie):
            return
        while (
            own is not None
            and own.request
            and (found := runs_into(own.request, exchange, ended, self._note_cookie, at, self._of_services))
        ):
            if found is True or self._holds_back(exchange, found, body, ended, BACK, route):
                return
            at = found.next
        if own is not None and own.names and runs_into(own.names, exchange, ended, self._note_cookie):
            return
        if route.pages and shows_page(route.pages, exchange, body, ended, self._note_cookie):
            return
        if own is not None and own.redirects and runs_into(own.redirects, exchange, ended, self._note_cookie):
            return
        if route.server_rules and self._fails_to_use_server(exchange, route):
            return
        exchange.answer_rules = self._answer_rules[route.backend.name]
        if self.id_header:
            # As in HAProxy beside those of that name that the client has sent.
            editing.append(head, self.id_header, exchange.unique_id)
        if route.tells is not None and self._fails_to_tell(exchange, route.tells):
            return
        exchange.may_wait = False
        if exchange.hints:
            exchange.send_hints()
        exchange.begin(route, body, ended)

    def _holds_back(
        self, exchange: Exchange, held: Held, body: bytes, ended: bool, stage: int, route: Route | None = None
    ) -> bool:
        """Holds the request back, and goes on later with the rules behind the one that says so. Returns False if what
        it is to wait for is there."""
        head, client = exchange.head, exchange.client
        assert head is not None
        exchange.complete = ended
        seconds, late, gathering = held.seconds, None, None
        if held.at_least is not None:
            come = exchange.sent_body
            reader = ChunkedBody(framed=False) if head.length == CHUNKED else None
            gathering = Gathering(held.at_least, HELD_MAX, reader)
            gathering.take(come)
            if ended or gathering.enough:
                return False
            late = exchange.client_slow
            if seconds is None:
                timeout = client.frontend.timeouts.http_request
                seconds = None if timeout is None else max(0.0, exchange.began + timeout - client.deadlines.now())
            if head.expect_continue and not come and exchange.framed:
                client.write(CONTINUE)
            if head.expect_continue:
                # The client will not hear of the server's.
                editing.remove(head, _EXPECT)
                editing.drop_wish(head, "expect")
                client.continue_came()
        elif seconds is not None and seconds <= 0:
            return False
        if held.begin is not None:
            wait = Wait(exchange, None, partial(self._go_on, exchange, body, 0, stage, held.next, route))
            wait.stop = held.begin(wait.end)
            return True
        go_on = partial(self._go_on, exchange, body, 0, stage, held.next, route)
        Wait(exchange, seconds, go_on, body=gathering, late=late)
        return True

    def _route_or_wait(
        self,
        exchange: Exchange,
        body: bytes,
        ended: bool,
        stage: int = FRONT,
        at: int = 0,
        route: Route | None = None,
        tries: int = 0,
    ) -> None:
        """Routes a request whose rules may ask for a password with a hash. One that does is put back to where it was,
        waits until the password has been checked, and takes its way from there."""
        before = Before.of(exchange)
        exchange.may_wait = True
        try:
            Routing.route(self, exchange, body, ended, stage, at, route)
        except Unverified as unverified:
            exchange.may_wait = False  # an error page that asks, too, is written without what is not known
            before.restore(exchange, stage)
            frontend, host = self._frontend, exchange.source[0]
            exchange.complete = ended
            go_on = partial(self._go_on, exchange, body, tries + 1, stage, at, route)
            if tries >= CHECKS or not frontend.authentication.check(unverified, host, go_on):
                frontend.not_evaluated(Unevaluated("too many clients wait until their passwords are checked"))
                exchange.fail(503, "PR")
        else:
            exchange.may_wait = False
        finally:
            before.forget(exchange)

    def _go_on(self, exchange: Exchange, body: bytes, tries: int, stage: int, at: int, route: Route | None) -> None:
        if exchange.state == ENDED:
            return
        try:
            if self._hashes:
                self._route_or_wait(exchange, body, exchange.complete, stage, at, route, tries)
            else:
                self.route(exchange, body, exchange.complete, stage, at, route)
            if exchange.client.ended and exchange.state != ENDED and exchange.abandoned_with_the_client:
                exchange.client_left()
        except Exception:
            self._log.failure("a request failed after it had been held back")
            exchange.client.abort_exchange(exchange)

    def _choose(self, exchange: Exchange) -> Route | None:
        """Chooses the route as HAProxy does: the first whose condition is true, or the default if its name is that of
        no backend. Returns None if the backend is disabled."""
        choice = None
        try:
            for choice in self.choices:
                if choice.test is None or choice.test(exchange):
                    name = choice.name(exchange).decode("utf-8", "replace")
                    if choice.fixed or name in self.routes or name in self._disabled:
                        return self.routes.get(name)
                    break
        except Unevaluated as unevaluated:
            unevaluated.place = choice.place if choice is not None else None
            raise
        return self._frontend.default_route

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
        except Unevaluated as unevaluated:
            unevaluated.place = place
            self._frontend.not_evaluated(unevaluated)
            exchange.fail(500, "PR")
            return True
        return False

    def _fails_to_tell(self, exchange: Exchange, tells: Text) -> bool:
        """Adds the header of `option forwarded`. Returns True if what it says could not be evaluated: then the request
        has been answered."""
        assert exchange.head is not None
        try:
            editing.append(exchange.head, b"forwarded", tells(exchange))
        except Unevaluated as unevaluated:
            self._frontend.not_evaluated(unevaluated)
            exchange.fail(500, "PR")
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
            self._frontend.not_evaluated(unevaluated)
            exchange.fail(500, "PR")
            return True
        return False


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
    admin = proven = False
    if page.rules or page.admin:
        regular.begin()
        if runs_into(page.rules, exchange, ended, denied):
            return True
        try:
            admin = any(test(exchange) for test in page.admin)
            if admin and head.method == b"POST":
                proven = exchange.client_tls is not None or any(exchange.member(name) for name in page.users)
        except Unevaluated as unevaluated:
            exchange.client.frontend.not_evaluated(unevaluated)
            exchange.fail(500, "PR")
            return True
    if admin and head.method == b"POST":
        exchange.collect(body, ended, partial(_obeys, page, exchange, proven))
    else:
        _serve(exchange, page.answer(head, admin), ended)
    return True


def _serve(exchange: Exchange, made: Made, ended: bool) -> None:
    """Answers with what is made here. `ended` tells that all of the request's body has come."""
    if not ended:
        exchange.client.end_after("answered by the proxy before its body")
    exchange.serve(made)


def _obeys(page: Page, exchange: Exchange, proven: bool, form: bytes | None) -> None:
    """Answers a request whose body has come; `form` None: it is too long."""
    assert exchange.head is not None
    exchange.answered_here(*page.obey(exchange.head, form, exchange.client.last or form is None, proven))


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
        # Whether it may pass is not known, so it does not; nor is it the client's fault for sure.
        frontend.not_evaluated(unevaluated)
        exchange.fail(500, "PR")
        return True
    if exchange.hints and (verdict is not None or not exchange.may_wait):
        exchange.send_hints()  # and once only, where rules may begin again
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
        made = service.answer(head)
        if made is None:
            exchange.fail(400, "PR")
        else:
            exchange.service_rules = of_services.get(exchange.backend_name)
            _serve(exchange, made, ended)
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
    if not exchange.complete:
        exchange.client.end_after("answered by a rule")
    data = _written(verdict, exchange)  # a page that asks for a password may make the rules begin again
    if verdict.denies:
        _count_denied(exchange, denied)
    if verdict.denies or verdict.challenge is not None:
        count_error(exchange)
    exchange.answered_here(verdict.status, data, flags)


def _count_denied(exchange: Exchange, denied: Callable[[Exchange], None]) -> None:
    client = exchange.client
    for counted in (client.frontend, exchange.backend, client.listener):
        if counted is not None and counted.traffic is not None:
            counted.traffic.dreq += 1
    denied(exchange)


def _answer_rules(
    backend: RuleSet | None, frontend: RuleSet, persistence: Persistence | None, notes: LogNotes | None
) -> Callable[[Exchange], tuple[int, bytes, str] | None] | None:
    """Returns a function that runs the rules for a response: the backend's, then the frontend's; before those of
    `http-after-response` the persistence cookie is looked after. Notes for the log are taken before and after all that.
    Returns None if there is nothing of it."""
    steps_of_both = [
        rule_set.response for rule_set in (backend, frontend) if rule_set is not None and rule_set.response
    ]
    after = [rule_set.after for rule_set in (backend, frontend) if rule_set is not None and rule_set.after]
    if not steps_of_both and not after and notes is None:
        return None if persistence is None else persistence.respond

    def look(exchange: Exchange) -> tuple[int, bytes, str] | None:
        regular.begin()
        if notes is not None:
            notes.response(exchange)
        try:
            for steps in steps_of_both:
                verdict = run(steps, exchange)
                if isinstance(verdict, Dropped):
                    return _dropped(exchange, verdict.silent)
                if isinstance(verdict, Answer):
                    return _instead(verdict, exchange)
            exchange.lenient = False
            if persistence is not None:
                persistence.respond(exchange)
            for steps in after:
                run(steps, exchange)
        except Unevaluated as unevaluated:
            exchange.client.frontend.not_evaluated(unevaluated)
            return _instead(Answer(500, content=None), exchange)[:2] + ("PH",)
        if notes is not None:
            notes.answered(exchange)
        return None

    return look


def _own_rules(backend: RuleSet | None, frontend: RuleSet) -> Callable[[Exchange, bytes], bytes] | None:
    """Returns a function that runs the rules for an answer of the proxy's own: only `http-after-response`. Returns None
    if there are none."""
    steps_of_both = [rule_set.after for rule_set in (backend, frontend) if rule_set is not None and rule_set.after]
    if not steps_of_both:
        return None

    def change(exchange: Exchange, data: bytes) -> bytes:
        head, body = _own_head(exchange, data)
        try:
            for steps in steps_of_both:
                run(steps, exchange)
        except Unevaluated as unevaluated:
            exchange.client.frontend.not_evaluated(unevaluated)
            return data  # nothing but our own words are in it
        exchange.status = head.status
        return head.block + b"\r\n" + body

    return change


def _service_rules(backend: RuleSet | None, frontend: RuleSet) -> ServiceRules | None:
    """Returns a function that runs the rules of `http-response` for an answer of a service, which HAProxy treats like a
    server's: the backend's, then the frontend's. Given the answer, or its head, it returns its status, what is sent of
    it, and whether that is an answer in its place. Returns None if there are no rules."""
    steps_of_both = [
        rule_set.response for rule_set in (backend, frontend) if rule_set is not None and rule_set.response
    ]
    if not steps_of_both:
        return None

    def look(exchange: Exchange, data: bytes) -> tuple[int, bytes, bool]:
        regular.begin()
        head, body = _own_head(exchange, data)
        try:
            for steps in steps_of_both:
                verdict = run(steps, exchange)
                if isinstance(verdict, Dropped):
                    return (*_dropped(exchange, verdict.silent)[:2], True)
                if isinstance(verdict, Answer):
                    return (*_instead(verdict, exchange)[:2], True)
        except Unevaluated as unevaluated:
            exchange.client.frontend.not_evaluated(unevaluated)
            return (*_instead(Answer(500, content=None), exchange)[:2], True)
        exchange.lenient = False
        return head.status, head.block + b"\r\n" + body, False

    return look


def _own_head(exchange: Exchange, data: bytes) -> tuple[ResponseHead, bytes]:
    """Has rules see the head of an answer of the proxy's own, and returns it with the rest of the answer."""
    end = data.index(b"\r\n\r\n") + 4
    exchange.answer = head = ResponseHead()
    head.status, head.reason, head.length, head.keep_alive = exchange.status, b"", 0, True
    head.block, head.head = data[: end - 2], data[:end]
    return head, data[end:]


def _dropped(exchange: Exchange, silent: bool) -> tuple[int, bytes, str]:
    """Returns what is in the place of an answer whose client hears nothing any more."""
    assert exchange.answer is not None
    if silent:
        exchange.client.hide()
    exchange.client.end_after("dropped by a rule")
    return exchange.answer.status, b"", "PR"


def _instead(verdict: Answer, exchange: Exchange) -> tuple[int, bytes, str]:
    client = exchange.client
    if verdict.denies:
        for counted in (client.frontend, exchange.backend, exchange.server, client.listener):
            if counted is not None and counted.traffic is not None:
                counted.traffic.dresp += 1
    if not client.may_ask_again:
        client.end_after("answered by a rule")
    return verdict.status, _written(verdict, exchange), "PH" if verdict.denies else "LH"


def _written(verdict: Answer, exchange: Exchange) -> bytes:
    """Writes the whole response; the connection ends if that says so."""
    client = exchange.client
    page = exchange.page_of(verdict.status) if verdict.content is None else None
    whole, keeps = written(verdict, page, exchange, not client.last)
    if not keeps:
        client.end_after("answered with an error page that ends it")
    return whole
