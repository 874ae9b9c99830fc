"""Compiles the steps of a backend's checks for one server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reusedproxy.backends.checks.expects import compiled_expect
from reusedproxy.backends.checks.facts import CheckFacts
from reusedproxy.backends.checks.hellos import LINGERING, hello_steps
from reusedproxy.backends.checks.requests import Request, compiled_request
from reusedproxy.backends.checks.run import CompiledStep, Connecting, Expecting, Plan, Sending, Setting
from reusedproxy.config.model.checks import (
    CheckPlan,
    Connect,
    Expect,
    HTTPCheck,
    SendBytes,
    SendRequest,
    Step,
)
from reusedproxy.config.model.rules import Format
from reusedproxy.config.rules.samples import RESPONSE
from reusedproxy.net.dial import Dialer
from reusedproxy.rules.samples.compile import compiled
from reusedproxy.rules.samples.formats import text_of_body
from reusedproxy.rules.variables import met
from reusedproxy.wire.heads import Limits

#: Returns how to connect for one step. The function that it returns gives None where there is no such port.
DialerFor = Callable[[Connect], Callable[[CheckFacts], Dialer | None]]

#: The step that HAProxy adds where a check does not begin with one.
IMPLICIT = Connect()


def compiled_plan(
    check: HTTPCheck | CheckPlan | None,
    dialer_for: DialerFor,
    limits: Limits,
    most: int,
    *,
    serving: Callable[[], bool],
    state: Callable[[], str],
) -> Plan:
    """Compiles a check; None is one that only connects. `serving` tells whether the server is in use, for
    `disable-on-404`; `state` returns the text of `send-state`."""
    if check is None:
        return Plan((Connecting(dialer_for(IMPLICIT)),), limits, most)
    if isinstance(check, HTTPCheck):
        check = CheckPlan(
            "http",
            (
                SendRequest(0, check),
                Expect(0, "status", ranges=check.expect, negated=check.expect_not),
            ),
        )
    if check.external is not None:
        return Plan((), limits, most)  # a program is run instead
    if check.hello is not None:
        linger = check.hello.protocol in LINGERING
        return Plan((Connecting(dialer_for(IMPLICIT), linger=linger), *hello_steps(check.hello)), limits, most)
    steps: list[Step] = [*check.steps]
    if not any(isinstance(step, Connect) for step in _until_talk(steps)):
        steps.insert(0, IMPLICIT)
    compiler = _Compiler(check, dialer_for, serving if check.disable_on_404 else None, state)
    return Plan([compiler.step(each) for each in steps], limits, most)


def _until_talk(steps: Sequence[Step]) -> list[Step]:
    """Returns the steps before the first that needs a connection."""
    for at, step in enumerate(steps):
        if isinstance(step, SendRequest | SendBytes | Expect):
            return [*steps[:at]]
    return [*steps]


class _Compiler:
    def __init__(
        self,
        plan: CheckPlan,
        dialer_for: DialerFor,
        serving: Callable[[], bool] | None,
        state: Callable[[], str],
    ) -> None:
        self._http = plan.protocol == "http"
        self._dialer_for = dialer_for
        self._serving = serving
        self._state = state if plan.send_state else None

    def step(self, step: Step) -> CompiledStep:
        if isinstance(step, Connect):
            return Connecting(self._dialer_for(step), self._hint(step), step.linger)
        if isinstance(step, SendRequest):
            return Sending(compiled_request(step, self._state), step.request.method.encode())
        if isinstance(step, SendBytes):
            return Sending(_bytes(step), None, self._hint(step))
        if isinstance(step, Expect):
            look = compiled_expect(step, http=self._http, wanted404=self._serving)
            return Expecting(
                look, step.tout_status or "L7TOUT", self._hint(step), step.error_status or "L7RSP", step.number
            )
        value, allows = step.value, met(step.conditions, step.name) if step.conditions else None
        if isinstance(value, Format):
            text = text_of_body(value, RESPONSE)
            return Setting(step.name, lambda facts: text(facts), allows)
        return Setting(step.name, None if value is None else compiled(value, RESPONSE), allows)

    def _hint(self, step: Connect | SendBytes | Expect) -> str:
        """Says in HAProxy's words at which step a TCP check is."""
        if self._http:
            return ""
        if not step.number:
            return " at initial connection step of tcp-check"
        if isinstance(step, Connect):
            what = f"connect port {step.port}" if isinstance(step.port, int) else "connect"
        elif isinstance(step, SendBytes):
            what = "send"
        else:
            what = {
                "string": f"expect string '{step.pattern}'",
                "binary": f"expect binary '{_readable(step.pattern) if step.what == 'binary' else ''}'",
                "rstring": "expect regex",
                "rbinary": "expect binary regex",
                "string-lf": "expect log-format string",
                "binary-lf": "expect log-format binary",
            }[step.what]
        comment = f" comment: '{step.comment}'" if step.comment else ""
        return f" at step {step.number} of tcp-check ({what}){comment}"


def _readable(digits: str) -> str:
    """Returns the text that these hexadecimal digits stand for, if it can be shown."""
    text = bytes.fromhex(digits).decode("latin-1")
    return text if text.isascii() and text.isprintable() else digits


def _bytes(step: SendBytes) -> Request:
    if step.data is None:
        constant = step.constant
        return lambda facts: constant
    make = text_of_body(step.data, RESPONSE)
    if not step.binary:
        return make

    def of_digits(facts: CheckFacts) -> bytes:
        try:
            return bytes.fromhex(make(facts).decode("ascii"))
        except ValueError:
            return b""

    return of_digits
