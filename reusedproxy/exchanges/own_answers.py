"""Writes the answers that the proxy gives in its own name, with HAProxy's texts; pure bytes."""

from __future__ import annotations

from reusedproxy.wire.reason_phrases import reason_phrase

#: HAProxy's explanations (its errors' bodies), because people's monitoring knows them.
_EXPLANATIONS = {
    200: "Service ready.",
    401: "You need a valid user and password to access this content.",
    403: "Request forbidden by administrative rules.",
    404: "The resource could not be found.",
    405: "A request was made of a resource using a request method not supported by that resource",
    407: "You need a valid user and password to access this content.",
    410: "The resource is no longer available and will not be available again.",
    421: "Request sent to a non-authoritative server.",
    422: "The server cannot process the contained instructions.",
    425: "Your browser sent early data.",
    429: "You have sent too many requests in a given amount of time.",
    400: "Your browser sent an invalid request.",
    408: "Your browser didn't send a complete request in time.",
    413: "The request entity exceeds the maximum allowed.",
    414: "The request target is too long.",
    417: "The expectation given in the request cannot be met.",
    431: "The request header fields are too large.",
    500: "An internal server error occurred.",
    501: ".The server does not support the functionality required to fulfill the request.",
    502: "The server returned an invalid or incomplete response.",
    503: "No server is available to handle this request.",
    504: "The server didn't respond in time.",
    505: "The HTTP version is not supported.",
}


#: HAProxy's reasons where they are not those of Python's table, or of some versions of it: in its pages,
_REASONS = {
    400: "Bad request",
    407: "Unauthorized",
    408: "Request Time-out",
    413: "Payload Too Large",
    422: "Unprocessable Content",
    504: "Gateway Time-out",
}
#: and in answers of rules.
_REASONS_OF_RULES = {
    408: "Request Time-out",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    416: "Requested range unsatisfiable",
    418: "I'm a teapot",
    422: "Unprocessable Content",
    502: "Bad Gateway or Proxy Error",
    504: "Gateway Time-out",
}


def _reason(status: int) -> str:
    return _REASONS.get(status) or reason_phrase(status)


def answer(status: int, body: bytes, content_type: str, *, extra: bytes = b"", close: bool = True) -> bytes:
    """Writes a whole response. `extra` are further header lines, each with its CRLF."""
    length = b"content-length: %d\r\n" % len(body)
    return head_of(status, content_type, first=length, extra=extra, close=close) + body


def head_of(status: int, content_type: str, *, first: bytes = b"", extra: bytes = b"", close: bool = True) -> bytes:
    """Writes the head of a response. `first` and `extra` are header lines that say how long it is, and what else there
    is to say, each with its CRLF."""
    connection = b"connection: close\r\n" if close else b""
    lines = (
        f"HTTP/1.1 {status} {_reason(status)}\r\n".encode("latin-1"),
        first,
        b"cache-control: no-cache\r\n",
        f"content-type: {content_type}\r\n".encode("latin-1"),
        extra,
        connection,
        b"\r\n",
    )
    return b"".join(lines)


def error_page(status: int) -> bytes:
    """Returns the content of the error response with this status."""
    return f"<html><body><h1>{status} {_reason(status)}</h1>\n{_EXPLANATIONS[status]}\n</body></html>\n".encode()


def _error(status: int, *, close: bool) -> bytes:
    return answer(status, error_page(status), "text/html", close=close)


#: Each error whole, connection closing; made once.
ERRORS = {status: _error(status, close=True) for status in _EXPLANATIONS}
#: Those that say nothing about the client, whose next request is as welcome as ever, when it has sent all of this one.
KEEPING = {status: _error(status, close=False) for status in (502, 503, 504)}


def error_answer(status: int, method: bytes, *, close: bool = True) -> bytes:
    """Returns the error response to a request of this method; for HEAD without its body (RFC 9110 section 9.3.2)."""
    whole = ERRORS[status] if close else KEEPING.get(status) or _error(status, close=False)
    return whole[: whole.index(b"\r\n\r\n") + 4] if method == b"HEAD" else whole


def kept_alive(whole: bytes) -> bytes:
    """Returns the answer with the field that tells a client of HTTP/1.0 that its connection goes on (RFC 9112 appendix
    C.2.2)."""
    end = whole.find(b"\r\n\r\n") + 2
    if end < 2 or b"\r\nconnection:" in whole[:end].lower():
        return whole
    return b"%bconnection: keep-alive\r\n%b" % (whole[:end], whole[end:])


def reply(status: int, fields: bytes, body: bytes | None, content_type: bytes, *, close: bool) -> bytes:
    """Writes the whole answer of a rule. `fields` are its own header lines, each with its CRLF. `body` None means the
    page of that status."""
    if body is None:
        page = _error(status, close=close)
        end = page.index(b"\r\n") + 2
        return page[:end] + fields + page[end:]
    reason = _REASONS_OF_RULES.get(status) or reason_phrase(status)
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason.encode()), fields]
    if status not in (204, 304):
        lines.append(b"content-length: %d\r\n" % len(body))
    if content_type:
        lines.append(b"content-type: %b\r\n" % content_type)
    if close:
        lines.append(b"connection: close\r\n")
    return b"".join((*lines, b"\r\n", body))
