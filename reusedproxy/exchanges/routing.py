"""Routes a request to its backend through the rules of both sections, and runs the rules for the answer.

In HAProxy's order: the frontend's `http-request`, its pages, its `redirect`; `use_backend`; then the same three of the
backend, and `use-server`; on the way back `http-response` of the backend, then of the frontend, and
`http-after-response` of both, which applies to the proxy's own answers, too. A `listen` is one section, and its rules
count once. A frontend without a rule, whose backend has none either, has no routing. It must never know how a request
is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from attrs import frozen

from reusedproxy.backends.binding import Binding
from reusedproxy.config import model
from reusedproxy.config.rules.actions import EditHeader
from reusedproxy.exchanges.client import ClientFrontend
from reusedproxy.exchanges.error_pages import written
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.exchanges.persistence import Persistence
from reusedproxy.exchanges.route import Page, Route
from reusedproxy.rules import editing, regular
from reusedproxy.rules.actions import Answer, concerned
from reusedproxy.rules.editing import Unusable
from reusedproxy.rules.matching import Test
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.rule_set import RuleSet, Steps, run
from reusedproxy.rules.samples.formats import Text
from reusedproxy.wire.heads import ResponseHead


@frozen
class Choice:
    """Holds one `use_backend` line: its condition, and the name of the backend. `fixed` tells that the name is the same
    for all requests."""

    place: model.Place

    test: Test | None
    name: Text
    fixed: bool


class Routing:
    """Runs the rules of a frontend and of its backends, in their order. `routes` has all routes, by
    the name of their backend."""

    def __init__(
        self,
        frontend: ClientFrontend,
        rule_set: RuleSet,
        choices: Iterable[Choice],
        routes: Mapping[str, Route],
        ours_alone: Iterable[str] = (),
        edited: Iterable[EditHeader] = (),
        disabled: frozenset[str] = frozenset(),
    ) -> None:
        """Takes rules and routes. `ours_alone` are names of headers that clients cannot set at all; `edited` are the
        rules' changes to headers; `disabled` are backends that exist, but to which no route leads."""
        self._frontend = frontend
        self._rule_set = rule_set
        self.choices = list(choices)
        self.routes = dict(routes)
        self._disabled = disabled
        self._ours = [editing.spellings(name) for name in sorted(ours_alone)]
        #: Whether the first line of a request may not stay as it was.
        self._runs = bool(rule_set.request) or any(route.rule_set is not None for route in self.routes.values())
        self._own_rules = _own_rules(None, rule_set)
        self._backends_own_rules = {name: _own_rules(route.rule_set, rule_set) for name, route in self.routes.items()}
        self._answer_rules = {
            name: _answer_rules(route.rule_set, rule_set, route.persistence) for name, route in self.routes.items()
        }
        #: Whether rules have a say in the header of this name.
        self.edits = concerned(edited)

    def route(self, exchange: Exchange, body: bytes, ended: bool) -> None:
        """Begins `exchange` where the rules let it, or answers it."""
        head = exchange.head
        assert head is not None
        regular.begin()
        if self._runs:
            exchange.line = head.head[: head.head.find(b"\r")]  # the log is to say what the client said
        for lines in self._ours:
            editing.remove(head, lines)
        frontend, rule_set = self._frontend, self._rule_set
        exchange.own_rules = self._own_rules
        if rule_set.request and self._ends(exchange, rule_set.request, ended):
            return
        if frontend.pages and shows_page(frontend.pages, exchange, ended):
            return
        if rule_set.redirects and self._ends(exchange, rule_set.redirects, ended):
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
        own = route.rule_set
        if own is not None and own.request and self._ends(exchange, own.request, ended):
            return
        if route.pages and shows_page(route.pages, exchange, ended):
            return
        if own is not None and own.redirects and self._ends(exchange, own.redirects, ended):
            return
        if route.server_rules and self._fails_to_use_server(exchange, route):
            return
        exchange.answer_rules = self._answer_rules[route.backend.name]
        exchange.begin(route, body, ended)

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

    def _fails_to_use_server(self, exchange: Exchange, route: Route) -> bool:
        """Binds the request to the server of the first `use-server` whose condition is true and whose server is in
        service, or need not be; a name of no server ends the search. Returns True if that could not be found out, and
        the request has been refused."""
        backend, forced = route.backend, exchange.persist == "force"
        place = None
        try:
            for test, name, place in route.server_rules:  # noqa: B007 (it is used where one of them raises)
                if not test(exchange):
                    continue
                server = backend.named.get(name(exchange).decode("utf-8", "replace"))
                if server is None:
                    break
                if server.serving or forced or backend.settings.persist:
                    exchange.binding = Binding.of(server, backend.settings, forced=forced)
                    break
        except Unevaluated as unevaluated:
            unevaluated.place = place
            self._frontend.not_evaluated(unevaluated)
            exchange.fail(500, "PR")
            return True
        return False

    def _ends(self, exchange: Exchange, steps: Steps, ended: bool) -> bool:
        """Runs these rules, and tells whether one has answered."""
        try:
            verdict = run(steps, exchange)
        except Unusable:
            exchange.fail(400, "PR")
            return True
        except Unevaluated as unevaluated:
            # Whether it may pass is not known, so it does not; nor is it the client's fault for sure.
            self._frontend.not_evaluated(unevaluated)
            exchange.fail(500, "PR")
            return True
        if verdict is None:
            return False
        if verdict.denies:
            for counted in (self._frontend, exchange.backend):
                if counted is not None:
                    counted.traffic.dreq += 1
            self._note_cookie(exchange)
        if not ended or not exchange.framed:
            exchange.client.end_after("answered by a rule")
        exchange.answered_here(verdict.status, _written(verdict, exchange), "PR" if verdict.denies else "LR")
        return True


def shows_page(pages: Iterable[Page], exchange: Exchange, ended: bool) -> bool:
    """Answers a request for one of these pages. Returns False if it was for none. `ended` tells that
    all of its body has come."""
    head = exchange.head
    assert head is not None
    for page in pages:
        if page.wants(head.target):
            if not exchange.framed:
                exchange.client.end_after("HTTP/1.0 client")
            exchange.by_page = True
            exchange.answered_here(*page.answer(head, exchange.client.last or not ended))
            return True
    return False


def _answer_rules(
    backend: RuleSet | None, frontend: RuleSet, persistence: Persistence | None
) -> Callable[[Exchange], tuple[int, bytes, str] | None] | None:
    """Returns a function that runs the rules for a response: the backend's, then the frontend's; before those of
    `http-after-response` the persistence cookie is looked after. Returns None if there is nothing of all that."""
    steps_of_both = [
        rule_set.response for rule_set in (backend, frontend) if rule_set is not None and rule_set.response
    ]
    after = [rule_set.after for rule_set in (backend, frontend) if rule_set is not None and rule_set.after]
    if not steps_of_both and not after:
        return None if persistence is None else persistence.respond

    def look(exchange: Exchange) -> tuple[int, bytes, str] | None:
        regular.begin()
        try:
            for steps in steps_of_both:
                verdict = run(steps, exchange)
                if verdict is not None:
                    return _instead(verdict, exchange)
            if persistence is not None:
                persistence.respond(exchange)
            for steps in after:
                run(steps, exchange)
        except Unevaluated as unevaluated:
            exchange.client.frontend.not_evaluated(unevaluated)
            return _instead(Answer(500, content=None), exchange)[:2] + ("PH",)
        return None

    return look


def _own_rules(backend: RuleSet | None, frontend: RuleSet) -> Callable[[Exchange, bytes], bytes] | None:
    """Returns a function that runs the rules for an answer of the proxy's own: only `http-after-response`. Returns None
    if there are none."""
    steps_of_both = [rule_set.after for rule_set in (backend, frontend) if rule_set is not None and rule_set.after]
    if not steps_of_both:
        return None

    def change(exchange: Exchange, data: bytes) -> bytes:
        end = data.index(b"\r\n\r\n") + 4
        head = ResponseHead()
        head.status, head.reason, head.length, head.keep_alive = exchange.status, b"", 0, True
        head.block, head.head = data[: end - 2], data[:end]
        exchange.answer = head
        try:
            for steps in steps_of_both:
                run(steps, exchange)
        except Unevaluated as unevaluated:
            exchange.client.frontend.not_evaluated(unevaluated)
            return data  # nothing but our own words are in it
        exchange.status = head.status
        return head.block + b"\r\n" + data[end:]

    return change


def _instead(verdict: Answer, exchange: Exchange) -> tuple[int, bytes, str]:
    client = exchange.client
    if verdict.denies:
        for counted in (client.frontend, exchange.backend, exchange.server):
            if counted is not None:
                counted.traffic.dresp += 1
    if not client.may_ask_again or not exchange.framed:
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
