"""Parses `option httpchk` and `http-check send`: the request of an HTTP check."""

from __future__ import annotations

import re

from attrs import evolve, frozen

from reusedproxy.config.checks.texts import read_check_format
from reusedproxy.config.language import haproxy_words
from reusedproxy.config.language.header_names import TOKEN, header_name
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean
from reusedproxy.config.model.checks import HTTPCheck
from reusedproxy.config.model.rules import Format

_VERSION = re.compile(r"HTTP/1\.[01]\Z")
_TARGET = re.compile(r"[!-~]+\Z")


@frozen
class Send:
    """Holds `http-check send`; None where it is silent, so that `option httpchk` applies. `values` are those of the
    headers, `uri_format` and `body_format` those of `uri-lf` and `body-lf`, where they depend on variables."""

    number: int = 0
    method: str | None = None
    uri: str | None = None
    version: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    values: tuple[Format | None, ...] = ()
    body: str | None = None
    uri_format: Format | None = None
    body_format: Format | None = None
    comment: str = ""


def read_httpchk(line: Line, report: Report) -> HTTPCheck:
    """Parses `option httpchk [method] [uri] [version] [host]`; `line.words` begins at `httpchk`. Raises Wrong."""
    if len(line.arguments) > 4:
        raise Wrong(f"'option httpchk' takes a method, a URI, a version and a host: '{line.arguments[4]}' is too much")
    if len(line.arguments) == 0:
        return HTTPCheck()
    if len(line.arguments) == 1:
        return HTTPCheck(uri=_uri(line.arguments[0]))
    method, uri, *rest = line.arguments
    version = rest[0] if rest else "HTTP/1.0"
    headers: tuple[tuple[str, str], ...] = ()
    body = ""
    if "\r" in version or "\n" in version:
        version, headers, body = _embedded(version, (method, uri), line, report)
    if len(rest) == 2:
        headers = (("Host", _header_value(rest[1])), *headers)
    return HTTPCheck(method=_method(method), uri=_uri(uri), version=_version(version), headers=headers, body=body)


def _embedded(
    text: str, start: tuple[str, str], line: Line, report: Report
) -> tuple[str, tuple[tuple[str, str], ...], str]:
    """Parses headers and body written after the version, the usual way before `http-check send`
    (HAProxy 2.2). Raises Wrong."""
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    version, *lines = head.split("\n")
    headers = []
    for header in filter(None, lines):
        name, colon, value = header.partition(":")
        if not colon:
            raise Wrong(f"'option httpchk': '{header}' behind the version is not a header")
        headers.append((header_name(name, "'option httpchk'"), _header_value(value.strip(" \t"))))
    report.warn(line.place, _better_httpchk(start, version.strip(), headers, body))
    return version.strip(), tuple(headers), body


def _better_httpchk(start: tuple[str, str], version: str, headers: list[tuple[str, str]], body: str) -> str:
    """Returns the warning with the same check in the syntax of today's HAProxy."""
    request = " ".join(_escaped(part) for part in (*start, version))
    sent = "".join(f" hdr {name} {_escaped(value)}" for name, value in headers)
    sent += f" body {_escaped(body)}" if body else ""
    instead = f"option httpchk {request}' and 'http-check send{sent}"
    return f"HAProxy >= 2.7 refuses headers behind the version of 'option httpchk'; write: '{instead}'"


def _escaped(word: str) -> str:
    """Returns the shortest way of writing `word` in a configuration, ready to be copied."""
    escapes = {" ": "\\ ", "\t": "\\t", "\r": "\\r", "\n": "\\n", "\\": "\\\\", "#": "\\#", "'": "\\'", '"': '\\"'}
    return "".join(escapes.get(character, character) for character in word)


def _method(text: str) -> str:
    if not TOKEN.match(text):
        raise Wrong(f"'{text}' is not an HTTP method")
    return text


def _uri(text: str) -> str:
    if not _TARGET.match(text):
        raise Wrong(f"'{text}' is not a URI to check")
    return text


def _version(text: str) -> str:
    if not _VERSION.match(text):
        raise Wrong(f"'{text}' is not a version that a check can speak: write HTTP/1.0 or HTTP/1.1")
    return text


def _header_value(text: str) -> str:
    if re.search(r"[\0-\x08\x0a-\x1f\x7f]", text):
        raise Wrong(f"the header value {text!r} has a control character in it")
    return text


def read_send(line: Line, number: int = 0) -> Send:
    """Parses `http-check send …`; `line.words` begins at `send`. Raises Wrong."""
    send = Send(number)
    words = line.arguments
    while words:
        word, values = words[0], words[1 : 3 if words[0] == "hdr" else 2]
        if word not in haproxy_words.HTTP_CHECK_SEND:
            known = haproxy_words.HTTP_CHECK_SEND
            raise Wrong(f"'http-check send': unknown word '{word}'{did_you_mean(word, known)}")
        if len(values) < (2 if word == "hdr" else 1):
            raise Wrong(f"'http-check send': '{word}' needs {'a name and a value' if word == 'hdr' else 'a value'}")
        send = _sent(send, word, values)
        words = words[1 + len(values) :]
    return send


def _sent(send: Send, word: str, values: tuple[str, ...]) -> Send:
    if word == "hdr":
        name = header_name(values[0], "'http-check send hdr'")
        made, text = read_check_format(values[1], f"'http-check send hdr {name}'")
        headers = (*send.headers, (name, _header_value(text)))
        return evolve(send, headers=headers, values=(*send.values, made))
    if word == "meth":
        return evolve(send, method=_method(values[0]))
    if word == "uri":
        return evolve(send, uri=_uri(values[0]), uri_format=None)
    if word == "uri-lf":
        made, text = read_check_format(values[0], "'http-check send uri-lf'")
        return evolve(send, uri_format=made, uri=_uri(text) if made is None else "/")
    if word == "ver":
        return evolve(send, version=_version(values[0]))
    if word == "body":
        return evolve(send, body=values[0], body_format=None)
    if word == "body-lf":
        made, text = read_check_format(values[0], "'http-check send body-lf'")
        return evolve(send, body=text, body_format=made)
    return evolve(send, comment=values[0])


def finished_request(httpchk: HTTPCheck, send: Send | None) -> HTTPCheck:
    """Merges `http-check send` into the request that `option httpchk` describes."""
    if send is None:
        return httpchk
    said_again = {name.lower() for name, _ in send.headers}
    kept = (header for header in httpchk.headers if header[0].lower() not in said_again)
    return evolve(
        httpchk,
        method=send.method or httpchk.method,
        uri=send.uri or httpchk.uri,
        version=send.version or httpchk.version,
        headers=(*kept, *send.headers),
        body=httpchk.body if send.body is None else send.body,
    )


def host_asked_for(check: HTTPCheck | None) -> str | None:
    """Returns the name in the Host of an HTTP check, without its port; None when there is none."""
    for name, value in check.headers if check is not None else ():
        if name.lower() == "host":
            return re.sub(r":[0-9]*\Z", "", value.strip()) or None
    return None
