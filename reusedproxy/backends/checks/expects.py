"""Compiles `expect` lines: each to a function that looks at what has come from the server, and says whether it is as
expected, is not, or cannot be said yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from attrs import frozen

from reusedproxy.backends.checks.facts import CheckFacts
from reusedproxy.backends.checks.requests import Answer
from reusedproxy.config.model.checks import Expect, Name
from reusedproxy.config.model.rules import Format
from reusedproxy.config.rules.samples import RESPONSE
from reusedproxy.rules import regular
from reusedproxy.rules.regular import searching
from reusedproxy.rules.samples.casts import CASTS
from reusedproxy.rules.samples.compile import compiled
from reusedproxy.rules.samples.formats import text_of, text_of_body
from reusedproxy.wire.heads import ResponseHead
from reusedproxy.wire.lists import members


class Received(Protocol):
    """What a check has received since it last sent something. `over`: no more is to come."""

    data: bytes
    over: bool
    answer: Answer | None
    facts: CheckFacts


@frozen
class Verdict:
    """Says how an expectation has ended. `status` is the check's if it failed, or if this was its last step; `info` and
    `code` go with that."""

    met: bool
    status: str
    info: str = ""
    code: int | None = None


#: Returns None while more has to come.
Look = Callable[[Received], Verdict | None]


def compiled_expect(expect: Expect, *, http: bool, wanted404: Callable[[], bool] | None = None) -> Look:
    """Compiles one line. `wanted404` tells whether a 404 means, just now, that the server is to get no new clients
    (`disable-on-404`)."""
    if not http:
        return _Raw(expect)
    return _HTTP.get(expect.what, _Body)(expect, wanted404)


class _Expected:
    """What all expectations have in common: their words for success and failure."""

    usual_failure = "L7RSP"
    kind = ""
    http = False

    def __init__(self, expect: Expect) -> None:
        self.expect = expect
        self.error = expect.error_status or self.usual_failure
        self.ok = expect.ok_status or "L7OK"
        self._on_success = None if expect.on_success is None else text_of_body(expect.on_success, RESPONSE)
        self._on_error = None if expect.on_error is None else text_of_body(expect.on_error, RESPONSE)
        self._code = None if expect.status_code is None else compiled(expect.status_code, RESPONSE)

    def met(self, got: Received) -> Verdict:
        info = "" if self.http else "(tcp-check)"
        if self._on_success is not None:
            info = _shown(self._on_success(got.facts))
        return Verdict(True, self.ok, info, self._status_code(got))

    def unmet(self, got: Received, info: str, matched: bool) -> Verdict:
        """Returns the verdict with HAProxy's text: `info`, if the step has none of its own."""
        if self._on_error is not None:
            info = _shown(self._on_error(got.facts))
        elif not info and not self.http:
            begins = "TCPCHK matched unwanted content" if matched else "TCPCHK did not match content"
            info = f"{begins}{self.kind} at step {self.expect.number}"
        if self.expect.comment:
            info = f"{info} comment: {self.expect.comment}"
        return Verdict(False, self.error, info.strip() if self.http else info, self._status_code(got))

    def _status_code(self, got: Received) -> int | None:
        code = None
        if self._code is not None:
            value = CASTS["int"](self._code(got.facts))
            code = value if isinstance(value, int) else None
        if code is None and got.answer is not None and got.answer.head is not None:
            code = got.answer.head.status
        return code


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "replace")


class _Raw(_Expected):
    """`tcp-check expect`: on all bytes since the last step that sent some."""

    def __init__(self, expect: Expect) -> None:
        super().__init__(expect)
        self.kind = {
            "string": f" '{expect.pattern}'",
            "binary": " (binary)",
            "rstring": " (regex)",
            "rbinary": " (binary regex)",
            "string-lf": " (log-format string)",
            "binary-lf": " (log-format binary)",
        }[expect.what]
        self._found, self._least = matcher(expect)

    def __call__(self, got: Received) -> Verdict | None:
        data, expect = got.data, self.expect
        least = self._least if expect.least < 0 else min(self._least or expect.least, expect.least)
        if not got.over and len(data) < least:
            return None
        matched = evaluated(self._found, data, got.facts)
        if not matched and not got.over and expect.least < 0:
            return None
        return self.met(got) if matched != expect.negated else self.unmet(got, "", matched)


Found = Callable[[bytes, CheckFacts], bool]


def matcher(expect: Expect) -> tuple[Found, int]:
    """Returns the function that looks for the pattern, and the least number of bytes that can hold it."""
    what, pattern = expect.what, expect.pattern
    if what in ("rstring", "rbinary"):
        search = searching(pattern)
        if what == "rstring":
            return lambda data, facts: search(data) is not None, 0
        return lambda data, facts: search(data.hex().upper().encode()) is not None, 0
    if expect.made is not None:
        make = text_of_body(expect.made, RESPONSE)
        if what == "binary-lf":
            return lambda data, facts: _bytes_of(make(facts)) in data, 0
        return lambda data, facts: make(facts) in data, 0
    wanted = bytes.fromhex(pattern) if what.startswith("binary") else pattern.encode()
    return lambda data, facts: wanted in data, len(wanted)


def _bytes_of(digits: bytes) -> bytes:
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return b"\xff" * (1 << 15)  # more than an answer has, so never found


def evaluated(found: Found, data: bytes, facts: CheckFacts) -> bool:
    """Calls the function. Raises Unevaluated where an expression exceeds its bounds: neither it nor its opposite (`!`)
    is found then."""
    regular.begin()
    return found(data, facts)


# HTTP.


class _Answered(_Expected):
    """`http-check expect`: on the answer's head, or on its body."""

    http = True
    usual_failure = "L7STS"

    def __init__(self, expect: Expect, wanted404: Callable[[], bool] | None) -> None:
        super().__init__(expect)
        self._wanted404 = wanted404

    def __call__(self, got: Received) -> Verdict | None:
        answer = got.answer
        assert answer is not None
        head = answer.head
        if head is None or answer.fault:
            if answer.fault:
                return Verdict(False, "L7RSP", answer.fault)
            return (
                Verdict(False, "L7RSP", "connection closed before the end of the response head") if got.over else None
            )
        got.facts.answer, got.facts.answer_body = head, answer.body
        if head.status == 404 and self._wanted404 is not None and self._wanted404():
            return Verdict(True, "L7OKC", "", 404)
        return self.look(got, answer, head)

    def look(self, got: Received, answer: Answer, head: ResponseHead) -> Verdict | None:
        """Looks at an answer whose head is here."""
        raise NotImplementedError


class _Status(_Answered):
    def look(self, got: Received, answer: Answer, head: ResponseHead) -> Verdict | None:
        matched = self.matches(head)
        if matched != self.expect.negated:
            return self.met(got)
        return self.unmet(got, head.reason.decode("latin-1"), matched)

    def matches(self, head: ResponseHead) -> bool:
        status = head.status
        return any(low <= status <= high for low, high in self.expect.ranges)


class _StatusLike(_Status):
    def __init__(self, expect: Expect, wanted404: Callable[[], bool] | None) -> None:
        super().__init__(expect, wanted404)
        self._search = searching(expect.pattern)

    def matches(self, head: ResponseHead) -> bool:
        return self._search(b"%d" % head.status) is not None


class _Header(_Answered):
    def __init__(self, expect: Expect, wanted404: Callable[[], bool] | None) -> None:
        super().__init__(expect, wanted404)
        assert expect.name is not None
        self._name = _comparison(expect.name, ignore_case=True)
        self._value = None if expect.value is None else _comparison(expect.value, ignore_case=False)
        self._full = expect.what == "fhdr"

    def look(self, got: Received, answer: Answer, head: ResponseHead) -> Verdict | None:
        matched = evaluated(lambda data, facts: self._found(head, facts), b"", got.facts)
        if matched != self.expect.negated:
            return self.met(got)
        return self.unmet(got, head.reason.decode("latin-1"), matched)

    def _found(self, head: ResponseHead, facts: CheckFacts) -> bool:
        for name, value in head.fields():
            if not self._name(name, facts):
                continue
            if self._value is None:
                return True
            if any(self._value(each, facts) for each in ([value] if self._full else _parts(value))):
                return True
        return False


def _parts(value: bytes) -> Iterable[bytes]:
    return [part.strip(b" \t") for part in members(value)]


def _comparison(name: Name, *, ignore_case: bool) -> Callable[[bytes, CheckFacts], bool]:
    if name.method == "reg":
        search = searching(name.pattern, ignore_case)
        return lambda text, facts: search(text) is not None
    make = _pattern(name.made, name.pattern)
    compare = _COMPARISONS[name.method]
    if ignore_case:
        return lambda text, facts: compare(text.lower(), make(facts).lower())
    return lambda text, facts: compare(text, make(facts))


def _pattern(made: Format | None, constant: str) -> Callable[[CheckFacts], bytes]:
    if made is not None:
        return text_of(made, RESPONSE)
    text = constant.encode()
    return lambda facts: text


_COMPARISONS: dict[str, Callable[[bytes, bytes], bool]] = {
    "str": lambda text, pattern: text == pattern,
    "beg": lambda text, pattern: text.startswith(pattern),
    "end": lambda text, pattern: text.endswith(pattern),
    "sub": lambda text, pattern: pattern in text,
}


class _Body(_Answered):
    usual_failure = "L7RSP"

    def __init__(self, expect: Expect, wanted404: Callable[[], bool] | None) -> None:
        super().__init__(expect, wanted404)
        self._found, self._least = matcher(expect)

    def look(self, got: Received, answer: Answer, head: ResponseHead) -> Verdict | None:
        body, expect, over = answer.body, self.expect, got.over or answer.complete
        if not body:
            if not over:
                return None
            return self.unmet(got, "HTTP content check could not find a response body", False)
        if not over and len(body) < max(self._least, expect.least):
            return None
        matched = evaluated(self._found, body, got.facts)
        if not matched and not over and expect.least < 0:
            return None
        if matched != expect.negated:
            return self.met(got)
        text = "HTTP check matched unwanted content" if expect.negated else "HTTP content check did not match"
        return self.unmet(got, text, matched)


_HTTP: dict[str, Callable[[Expect, Callable[[], bool] | None], Look]] = {
    "status": _Status,
    "rstatus": _StatusLike,
    "hdr": _Header,
    "fhdr": _Header,
}
