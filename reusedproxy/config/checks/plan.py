"""Makes the plan of a section's checks of the lines that it has, with the steps that HAProxy adds by itself."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from reusedproxy.config.checks.requests import Send, finished_request
from reusedproxy.config.checks.steps import Drafted
from reusedproxy.config.model.checks import (
    CheckPlan,
    Connect,
    Expect,
    Hello,
    HTTPCheck,
    SendBytes,
    SendRequest,
    SetVariable,
    Step,
)

_USUAL = Expect(0, "status", ranges=HTTPCheck().expect)


def http_plan(
    option: HTTPCheck, drafted: Sequence[Drafted], *, disable_on_404: bool = False, send_state: bool = False
) -> HTTPCheck | CheckPlan:
    """Returns the check of `option httpchk` with these `http-check` lines; in the short form, if that can hold it."""
    lines = _commented(drafted)
    acting = [line for line in lines if not isinstance(line, SetVariable)]
    first = next((line for line in acting if isinstance(line, Send)), None)
    begins = acting[0] if acting else None
    if not isinstance(begins, Send) and not (isinstance(begins, Connect) and acting[1:2] and acting[1] is first):
        first = Send()  # the option's own request
        lines.insert(lines.index(begins) + 1 if isinstance(begins, Connect) else 0, first)
    steps: list[Step] = []
    for line in lines:
        steps.append(_request(line, option if line is first else HTTPCheck()) if isinstance(line, Send) else line)
    if isinstance(next(step for step in reversed(steps) if not isinstance(step, SetVariable)), SendRequest):
        steps.append(_USUAL)
    if not disable_on_404 and not send_state:
        short = _short(steps)
        if short is not None:
            return short
    return CheckPlan("http", tuple(steps), disable_on_404=disable_on_404, send_state=send_state)


def _request(send: Send, option: HTTPCheck) -> SendRequest:
    request = finished_request(option, send)
    values = (*[None] * (len(request.headers) - len(send.headers)), *send.values)
    return SendRequest(send.number, request, send.uri_format, values, send.body_format, send.comment)


def _short(steps: Sequence[Step]) -> HTTPCheck | None:
    """Returns the short form of a check with one constant request and one list of statuses."""
    if len(steps) != 2:
        return None
    send, expect = steps
    if not isinstance(send, SendRequest) or not isinstance(expect, Expect) or expect.what != "status":
        return None
    plain = Expect(expect.number, "status", ranges=expect.ranges, negated=expect.negated)
    if evolve(expect, least=-1, comment="") != plain or expect.comment or CheckPlan("", (send,)).first_request is None:
        return None
    return evolve(send.request, expect=expect.ranges, expect_not=expect.negated)


def tcp_plan(drafted: Sequence[Drafted]) -> CheckPlan | None:
    """Returns the check of `option tcp-check` with these `tcp-check` lines; None where a connection is all of it."""
    steps = [line for line in _commented(drafted) if not isinstance(line, Send)]
    return CheckPlan("tcp", tuple(steps)) if steps else None


def hello_plan(hello: Hello) -> CheckPlan:
    """Returns the check of one of the other protocols."""
    return CheckPlan(hello.protocol, hello=hello)


def _commented(drafted: Sequence[Drafted]) -> list[Connect | Send | SendBytes | Expect | SetVariable]:
    """Gives each step without a comment that of the `comment` line before it, as HAProxy does."""
    made: list[Connect | Send | SendBytes | Expect | SetVariable] = []
    comment = ""
    for line in drafted:
        if isinstance(line, str):
            comment = line
            continue
        if comment and not isinstance(line, SetVariable) and not line.comment:
            line = evolve(line, comment=comment)
        if isinstance(line, Connect | SetVariable):
            comment = ""
        made.append(line)
    return made
