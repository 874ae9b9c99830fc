"""Names the fault of a head that the readers did not accept, and the status to answer it with.

This is the slow and careful half of reading: it walks the lines again and stops at the first fault. It runs only when a
head was refused or is still incomplete, and it knows syntax, not framing. Its texts are for the log and for the
client's author. heads.py has decided already that the head is refused, so a head whose fault is not found here is
refused all the same.
"""

import re
from typing import Final, NoReturn

from attrs import field, frozen

from reusedproxy.wire.grammar import CRLF, TEXT, TOKEN


class RequestFault(Exception):
    """Says that the client's message cannot be accepted; `status` is what to answer before closing."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class ResponseFault(Exception):
    """Says that the server's message cannot be accepted.

    The client gets 502, whatever `status` the same fault has in a request.
    """

    def __init__(self, reason: str, status: int = 502) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = 502


Fault = type[RequestFault] | type[ResponseFault]


@frozen
class Limits:
    """Bounds a head: `max_head` bytes with its empty line, `max_headers` field lines. `buffer` bounds what is held of a
    message, or of a connection in mode tcp: while rules look at it, or so that it can be sent again. With
    `upgrade_with_body` a request with a body may offer another protocol (option http-upgrade-with-body); with
    `any_method_with_body` a GET, HEAD or DELETE of HTTP/1.0 may have one (h1-accept-payload-with-any-method).

    The defaults are HAProxy's tune.bufsize less tune.maxrewrite, tune.http.maxhdr less the first line, and
    tune.bufsize.
    """

    max_head: int = 15360
    max_headers: int = 100
    buffer: int = 16384
    upgrade_with_body: bool = False
    any_method_with_body: bool = False
    #: The bytes up to which a head is surely within both: each field line has four at least, with colon and line end.
    enough: int = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "enough", min(self.max_head, 4 * self.max_headers))

    def exceeded_by(self, head: bytes) -> bool:
        """Tells whether a whole head is too large, or has too many field lines."""
        # Start line and empty line are none.
        return len(head) > self.max_head or head.count(CRLF) > self.max_headers + 2


_CONTROL: Final = re.compile(rb"[\x00-\x08\n-\x1f\x7f]")
_VERSION_SO_FAR: Final = re.compile(rb"H(?:T(?:T(?:P(?:/(?:([0-9])(?:\.(?:([0-9]))?)?)?)?)?)?)?\Z")
_STATUS_SO_FAR: Final = re.compile(rb"[1-9](?:[0-9](?:[0-9])?)?\Z")
_CONTROL_NAMES: Final = {0: "NUL", 10: "bare LF", 13: "bare CR"}


def refuse(head: bytes, limits: Limits, fault: Fault) -> NoReturn:
    """Raises the fault of a complete head that was not accepted."""
    check = check_request_lines if fault is RequestFault else check_response_lines
    check(head, limits, 0)
    raise fault("malformed head")


def check_request_lines(data: bytes, limits: Limits, searched: int) -> None:
    """Raises RequestFault if these bytes cannot be the beginning of a request head.

    The first `searched` bytes were checked before.
    """
    if data[:1] in (b"\x16", b"\x80") and not searched:
        # 0x16 begins a handshake record of TLS (RFC 8446 5.1), 0x80 an SSLv2-style ClientHello.
        raise RequestFault("TLS on a port that speaks plain HTTP")
    lines, first, whole = _lines(data[: limits.max_head], searched)
    if first:
        line = lines.pop(0)
        if line or data != b"\r":  # half of an empty line, which RFC 9112 2.2 allows to skip
            _check_request_line(line, whole or bool(lines), bool(lines))
    _check_fields(lines, whole, RequestFault)
    _check_size(data, limits, RequestFault)


def check_response_lines(data: bytes, limits: Limits, searched: int) -> None:
    """Raises ResponseFault if these bytes cannot be the beginning of a response head.

    The first `searched` bytes were checked before.
    """
    lines, first, whole = _lines(data[: limits.max_head], searched)
    if first:
        _check_status_line(lines.pop(0), whole or bool(lines))
    _check_fields(lines, whole, ResponseFault)
    _check_size(data, limits, ResponseFault)


def _lines(data: bytes, searched: int) -> tuple[list[bytes], bool, bool]:
    """Splits the data into lines, from the one in which the position `searched` is.

    Returns the lines, whether the start line is among them, and whether the last one is complete. A CR at the end of
    the data can only be followed by LF, so it completes a line as well.
    """
    start = data.rfind(CRLF, 0, searched)
    lines = data[start + 2 if start >= 0 else 0 :].split(CRLF)
    whole = lines[-1][-1:] == b"\r"
    if whole:
        lines[-1] = lines[-1][:-1]
    return lines, start < 0, whole


def _check_size(data: bytes, limits: Limits, fault: Fault) -> None:
    if len(data) > limits.max_head:
        line_end = data.find(CRLF, 0, limits.max_head)
        if line_end < 0 and fault is RequestFault and b" " not in data[: limits.max_head]:
            raise fault("the method is too long", 501)  # RFC 9112 3: one that no server implements
        if line_end < 0:
            raise fault("the start line is too long", 414)  # RFC 9110 15.5.15
        raise fault("the head is too large", 431)  # RFC 6585 5
    # The line ends of the start line and of the empty line are not counted as fields.
    end = data.find(b"\r\n\r\n")
    if data.count(CRLF, 0, end if end >= 0 else len(data)) > limits.max_headers + (end < 0):
        raise fault("too many header fields", 431)


def _check_request_line(line: bytes, whole: bool, ended: bool) -> None:
    """Checks a request line (RFC 9112 3): method SP request-target SP HTTP-version, one space each, nothing else.

    It checks in this order, so that the first fault decides the status however the line is split into pieces. `whole`
    tells that its CR has come, `ended` that its LF has, too: another byte in its place would be the first fault.
    """
    if not line and not whole:
        return
    parts = line.split(b" ", 3)
    _check_controls(b" ".join(parts[:2]), RequestFault)
    if not TOKEN.match(parts[0]):
        raise RequestFault("the method is not a token")
    if len(parts) > 1:
        target = parts[1]
        if b"#" in target:
            raise RequestFault("a fragment in the request target")  # RFC 9112 3.2: no form of it has one
        if not target.isascii():
            raise RequestFault("a byte beyond ASCII in the request target")
        if b"\t" in target:
            raise RequestFault("a tab in the request line")
        if not target and (whole or len(parts) > 2):
            raise RequestFault("an empty request target")
    if len(parts) > 2:
        if len(parts) > 3:
            raise RequestFault("more than two spaces in the request line")
        _check_version(parts[2], whole, RequestFault)
        if ended and parts[2][5:6] != b"1":
            raise RequestFault("not HTTP/1", 505)  # RFC 9110 15.6.6; the HTTP/2 preface too (RFC 9113 3.4)
    elif whole:
        raise RequestFault("no HTTP version in the request line (HTTP/0.9?)")


def _check_version(version: bytes, whole: bool, fault: Fault) -> None:
    """Checks the version (RFC 9112 2.3): HTTP/DIGIT.DIGIT, exactly, upper case.

    Higher minor versions of 1 count as 1.1 (RFC 9110 2.5).
    """
    _check_controls(version, fault)
    found = _VERSION_SO_FAR.match(version)
    if (version or whole) and (not found or (whole and found[2] is None)):
        raise fault("malformed HTTP version")
    if fault is ResponseFault and found and found[1] not in (None, b"1"):
        raise fault("not HTTP/1")


def _check_status_line(line: bytes, whole: bool) -> None:
    """Checks a status line (RFC 9112 4): HTTP-version SP status-code SP [reason-phrase]."""
    _check_controls(line, ResponseFault)
    parts = line.split(b" ", 2)
    _check_version(parts[0], whole or len(parts) > 1, ResponseFault)
    if len(parts) == 1:
        if whole:
            raise ResponseFault("no status in the status line")
        return
    complete = whole or len(parts) > 2
    if ((parts[1] or complete) and not _STATUS_SO_FAR.match(parts[1])) or (complete and len(parts[1]) != 3):
        raise ResponseFault("the status is not a number from 100 to 999")


def _check_fields(lines: list[bytes], whole: bool, fault: Fault) -> None:
    last = len(lines) - 1
    for index, line in enumerate(lines):
        if line:
            _check_field(line, whole or index < last, fault)
        elif index < last - 1:
            raise fault("an empty line inside the head")


def _check_field(line: bytes, whole: bool, fault: Fault) -> None:
    """Checks a field line (RFC 9112 5): field-name ":" OWS field-value OWS."""
    if line[0] in b" \t":
        raise fault("a folded header line")  # RFC 9112 5.2: reject with 400, or 502 for a response
    _check_controls(line, fault)
    name, colon, _ = line.partition(b":")
    if not colon and whole:
        raise fault("a header line without a colon")
    if not name:
        raise fault("an empty header name")
    if name[-1] in b" \t" and colon:
        raise fault("a space before the colon of a header")  # RFC 9112 5.1: MUST reject
    if not TOKEN.match(name):
        raise fault("a header name that is not a token")


def _check_controls(line: bytes, fault: Fault) -> None:
    if line.translate(None, TEXT):
        found = _CONTROL.search(line)
        octet = found[0][0] if found else 0
        raise fault(f"{_CONTROL_NAMES.get(octet, f'control character 0x{octet:02x}')} in the head")  # RFC 9110 5.5
