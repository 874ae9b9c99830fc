"""Speaks a few words of other protocols: those of `option redis-check` and its like, byte for byte as HAProxy does."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import evolve

from reusedproxy.backends.checks.expects import Received, Verdict
from reusedproxy.backends.checks.facts import CheckFacts
from reusedproxy.backends.checks.run import CompiledStep, Expecting, Sending
from reusedproxy.config.model.checks import Hello


def hello_steps(hello: Hello) -> tuple[CompiledStep, ...]:
    """Returns the steps of a check of this protocol, after the connection."""
    steps = _PROTOCOLS[hello.protocol](hello.arguments)
    first = 2 if hello.protocol in LINGERING else 1
    return tuple(
        evolve(step, number=number) if isinstance(step, Expecting) else step for number, step in enumerate(steps, first)
    )


#: The protocols whose servers would log a reset: their connections are ended in order. HAProxy counts that as a step.
LINGERING = frozenset(("smtp", "mysql", "pgsql"))


def _say(data: bytes) -> Sending:
    return Sending(lambda facts: data)


def _line(data: bytes) -> str:
    """Returns the first line of what has come, as log lines show it."""
    return re.split(rb"[\r\n]", data, maxsplit=1)[0].decode("utf-8", "replace")


def _redis(arguments: tuple[str, ...]) -> tuple[CompiledStep, ...]:
    wanted = b"+PONG\r\n"

    def look(got: Received) -> Verdict | None:
        if not got.over and len(got.data) < len(wanted):
            return None
        if wanted in got.data:
            return Verdict(True, "L7OK", "Redis server is ok")
        return Verdict(False, "L7STS", _line(got.data)) if got.over else None

    return _say(b"*1\r\n$4\r\nPING\r\n"), Expecting(look, empty="L7STS")


def _smtp(arguments: tuple[str, ...]) -> tuple[CompiledStep, ...]:
    greeting = " ".join(arguments) if arguments else "HELO localhost"
    hello = greeting.encode() + b"\r\n"

    def code(got: Received) -> int | None:
        digits = got.data[:3]
        return int(digits) if digits.isdigit() else 0

    def rest(got: Received) -> str:
        return _line(got.data[4:].lstrip(b" "))

    def begins(got: Received) -> Verdict | None:
        if len(got.data) < 4 and not got.over:
            return None
        if re.match(rb"[0-9]{3}[ \r]", got.data):
            return Verdict(True, "L7OK")
        return Verdict(False, "L7RSP", _line(got.data))

    def welcomed(got: Received) -> Verdict | None:
        if len(got.data) < 4 and not got.over:
            return None
        well = re.match(rb"2[0-9]{2}[ \r]", got.data) is not None
        return Verdict(well, "L7OK" if well else "L7STS", rest(got), code(got))

    def answered(got: Received) -> Verdict | None:
        well = _SMTP_WELL.match(got.data) is not None
        if not well and not got.over:
            return None
        return Verdict(well, "L7OK" if well else "L7STS", rest(got), code(got))

    return (
        Expecting(begins),
        Expecting(welcomed, empty="L7STS"),
        _say(hello),
        Expecting(answered, empty="L7STS"),
        _say(b"QUIT\r\n"),
        Expecting(answered, empty="L7STS"),
    )


#: A positive answer of SMTP, of several lines perhaps (RFC 5321 section 4.2.1).
_SMTP_WELL = re.compile(rb"(?:2[0-9]{2}-[^\r]*\r\n)*2[0-9]{2}[ \r]")


def _ldap(arguments: tuple[str, ...]) -> tuple[CompiledStep, ...]:
    def look(got: Received) -> Verdict | None:
        data = got.data
        if len(data) < 14 and not got.over:
            return None
        if data[:1] != b"\x30":
            return Verdict(False, "L7RSP", "Not LDAPv3 protocol")
        # The length is one byte, or says how many bytes it has (X.690 section 8.1.3).
        lengths = 1 + (data[1] & 0x7F if len(data) > 1 and data[1] & 0x80 else 0)
        message = data[1 + lengths :]
        length = data[1] if lengths == 1 else int.from_bytes(data[2 : 1 + lengths], "big")
        if len(message) < length:
            return Verdict(False, "L7RSP", "Not LDAPv3 protocol") if got.over else None
        if message[:4] != b"\x02\x01\x01\x61":
            return Verdict(False, "L7RSP", "Not LDAPv3 protocol")
        inner = 1 + (message[4] & 0x7F if message[4] & 0x80 else 0)
        answer = message[4 + inner :]
        if len(answer) < 3 or answer[:2] != b"\x0a\x01":
            return Verdict(False, "L7RSP", "Not LDAPv3 protocol")
        if answer[2]:
            text = "See RFC: http://tools.ietf.org/html/rfc4511#section-4.1.9"
            return Verdict(False, "L7STS", text, answer[2])
        return Verdict(True, "L7OK", "Success")

    return _say(bytes.fromhex("300C020101600702010304008000")), Expecting(look)


def _pgsql(arguments: tuple[str, ...]) -> tuple[CompiledStep, ...]:
    user = arguments[0].encode()
    body = b"\x00\x03\x00\x00user\x00" + user + b"\x00\x00"
    startup = (len(body) + 4).to_bytes(4, "big") + body

    def look(got: Received) -> Verdict | None:
        data = got.data
        if len(data) < 5 and not got.over:
            return None
        if data[:1] == b"E":
            return Verdict(False, "L7RSP", _line(data[6:].partition(b"\x00")[0]))
        if len(data) < 9 and not got.over:
            return None
        if data[:4] == b"R\x00\x00\x00" and data[5:8] == b"\x00\x00\x00" and data[8:9] in _POSTGRES_KNOWN:
            return Verdict(True, "L7OK", "PostgreSQL server is ok")
        return Verdict(False, "L7STS", "PostgreSQL unknown error")

    return _say(startup), Expecting(look)


#: The kinds of authentication that a PostgreSQL server may ask for, as far as HAProxy knows them.
_POSTGRES_KNOWN = {bytes([kind]) for kind in (0, 2, 3, 4, 5, 6, 7, 9, 10)}


def _mysql(arguments: tuple[str, ...]) -> tuple[CompiledStep, ...]:
    if not arguments:
        return (Expecting(_mysql_first),)
    user, version = arguments[0].encode(), arguments[1] if len(arguments) > 1 else "post-41"
    if version == "pre-41":
        # Capabilities (long password, long flag, protocol 4.0), the largest packet, the name, and no password.
        login = b"\x00\x80\x00\x00\x01" + user + b"\x00\x00"
    else:
        login = b"\x00\x82\x00\x00\x00\x80\x00\x01\x21" + b"\x00" * 23 + user + b"\x00\x00"
    packet = len(login).to_bytes(3, "little") + b"\x01" + login
    leave = b"\x01\x00\x00\x00\x01"
    return (
        _say(packet + leave),
        Expecting(_mysql_first),
        Expecting(_mysql_second),
    )


def _mysql_length(data: bytes, at: int) -> int:
    """Returns the length of the packet at this place, with its header; 0 while that is not here."""
    return int.from_bytes(data[at : at + 3], "little") + 4 if len(data) >= at + 4 else 0


def _mysql_packet(got: Received, at: int) -> Verdict | None:
    """Looks at the packet at this place. One that is no error is well; the greeting names the server's version."""
    data, length = got.data, _mysql_length(got.data, at)
    if not length or len(data) < at + length:
        return Verdict(False, "L7RSP") if got.over else None
    packet = data[at + 4 : at + length]
    if packet[:1] == b"\xff":
        code = int.from_bytes(packet[1:3], "little")
        return Verdict(False, "L7STS", packet[3:].decode("utf-8", "replace"), code)
    return Verdict(True, "L7OK", data[5:].partition(b"\x00")[0].decode("utf-8", "replace"))


def _mysql_first(got: Received) -> Verdict | None:
    return _mysql_packet(got, 0)


def _mysql_second(got: Received) -> Verdict | None:
    return _mysql_packet(got, _mysql_length(got.data, 0))


def _ssl_hello(arguments: tuple[str, ...]) -> tuple[CompiledStep, ...]:
    def say(facts: CheckFacts) -> bytes:
        # The client's random bytes begin with the time (RFC 6101 section 5.6.1.2).
        random = int(facts.wall()).to_bytes(4, "big") + b"reusedproxy's health checks."
        hello = b"\x03\x00" + random + b"\x00" + len(_SUITES).to_bytes(2, "big") + _SUITES + b"\x01\x00"
        message = b"\x01" + len(hello).to_bytes(3, "big") + hello
        return b"\x16\x03\x00" + len(message).to_bytes(2, "big") + message

    def look(got: Received) -> Verdict | None:
        if len(got.data) < 5 and not got.over:
            return None
        if got.data[:1] in (b"\x15", b"\x16"):  # an alert, or a handshake
            return Verdict(True, "L6OK")
        return Verdict(False, "L6RSP")

    return Sending(say), Expecting(look, "L6TOUT", empty="L6RSP")


#: The cipher suites that HAProxy offers: all that SSL 3.0 and TLS 1.0 knew.
_SUITES = b"".join(bytes([0, number]) for number in (*range(1, 28), *range(47, 59)))


_PROTOCOLS: dict[str, Callable[[tuple[str, ...]], tuple[CompiledStep, ...]]] = {
    "redis": _redis,
    "smtp": _smtp,
    "ldap": _ldap,
    "pgsql": _pgsql,
    "mysql": _mysql,
    "ssl-hello": _ssl_hello,
}
