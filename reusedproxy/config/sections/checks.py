"""Parses `option httpchk` and `http-check`: the request that an HTTP check sends and the response that it expects."""

from __future__ import annotations

import re

from attrs import evolve, frozen

from reusedproxy.config.language import haproxy_words, units
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done
from reusedproxy.config.model.proxies import HTTPCheck
from reusedproxy.config.model.values import Place

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VERSION = re.compile(r"HTTP/1\.[01]\Z")
_TARGET = re.compile(r"[!-~]+\Z")


@frozen
class Send:
    """Holds `http-check send`; None where it is silent, so that `option httpchk` applies."""

    place: Place
    method: str | None = None
    uri: str | None = None
    version: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None


@frozen
class Expect:
    """Holds `http-check expect [!] status …`."""

    place: Place
    ranges: tuple[tuple[int, int], ...]
    negated: bool


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
        headers.append((_header_name(name), _header_value(value.strip(" \t"))))
    report.warn(line.place, _better_httpchk(start, version.strip(), headers, body))
    return version.strip(), tuple(headers), body


def _better_httpchk(start: tuple[str, str], version: str, headers: list[tuple[str, str]], body: str) -> str:
    """Returns the warning with the same check in the syntax of today's HAProxy."""
    request = " ".join(_escaped(part) for part in (*start, version))
    if len(headers) == 1 and headers[0][0].lower() == "host" and not body:
        instead = f"option httpchk {request} {_escaped(headers[0][1])}"
    else:
        sent = "".join(f" hdr {name} {_escaped(value)}" for name, value in headers)
        sent += f" body {_escaped(body)}" if body else ""
        instead = f"option httpchk {request}' and 'http-check send{sent}"
    return f"HAProxy >= 2.7 refuses headers behind the version of 'option httpchk'; write: '{instead}'"


def _escaped(word: str) -> str:
    """Returns the shortest way of writing `word` in a configuration, ready to be copied."""
    escapes = {" ": "\\ ", "\t": "\\t", "\r": "\\r", "\n": "\\n", "\\": "\\\\", "#": "\\#", "'": "\\'", '"': '\\"'}
    return "".join(escapes.get(character, character) for character in word)


def _method(text: str) -> str:
    if not _TOKEN.match(text):
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


def _header_name(text: str) -> str:
    if not _TOKEN.match(text):
        raise Wrong(f"'{text}' is not the name of a header")
    return text


def _header_value(text: str) -> str:
    if re.search(r"[\0-\x08\x0a-\x1f\x7f]", text):
        raise Wrong(f"the header value {text!r} has a control character in it")
    return text


def read_send(line: Line) -> Send:
    """Parses `http-check send …`; `line.words` begins at `send`. Raises Wrong."""
    send = Send(line.place)
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
        if "%[" in values[1]:
            raise Wrong("'http-check send': expressions (%[…]) in a value are HAProxy's; reusedproxy does them not yet")
        return evolve(send, headers=(*send.headers, (_header_name(values[0]), _header_value(values[1]))))
    if word == "meth":
        return evolve(send, method=_method(values[0]))
    if word == "uri":
        return evolve(send, uri=_uri(values[0]))
    if word == "ver":
        return evolve(send, version=_version(values[0]))
    if word == "body":
        return evolve(send, body=values[0])
    if word == "comment":
        return send
    raise Wrong(not_done(word, "'http-check send' word", f"write '{word.removesuffix('-lf')}' with a plain text"))


def read_expect(line: Line) -> Expect:
    """Parses `http-check expect [comment <text>] [!] status <codes>`; `line.words` begins at `expect`. Raises Wrong."""
    words = line.arguments
    while words[:1] == ("comment",):
        words = words[2:]
    negated = words[:1] == ("!",)
    words = words[1:] if negated else words
    if words and words[0].startswith("!"):
        negated, words = True, (words[0][1:], *words[1:])
    if not words:
        raise Wrong("'http-check expect' needs what to expect: http-check expect status 200-399, say")
    if words[0] not in haproxy_words.HTTP_CHECK_EXPECT:
        known = haproxy_words.HTTP_CHECK_EXPECT
        raise Wrong(f"'http-check expect': unknown word '{words[0]}'{did_you_mean(words[0], known)}")
    if words[0] != "status":
        raise Wrong(not_done(f"http-check expect {words[0]}", hint="'http-check expect status' is done"))
    if len(words) != 2:
        raise Wrong("'http-check expect status' needs one list of codes: 200,204,300-399, say")
    return Expect(line.place, tuple(_code_range(part) for part in words[1].split(",")), negated)


def _code_range(text: str) -> tuple[int, int]:
    what = "'http-check expect status'"
    first_text, dash, last_text = text.partition("-")
    first = units.integer(first_text, what, least=100, most=999)
    last = units.integer(last_text, what, least=100, most=999) if dash else first
    if last < first:
        raise Wrong(f"{what}: the range '{text}' goes backwards")
    return first, last


def finished_check(httpchk: HTTPCheck, send: Send | None, expect: Expect | None) -> HTTPCheck:
    """Merges `http-check` lines into the check that `option httpchk` describes."""
    if send is not None:
        said_again = {name.lower() for name, _ in send.headers}
        kept = (header for header in httpchk.headers if header[0].lower() not in said_again)
        httpchk = evolve(
            httpchk,
            method=send.method or httpchk.method,
            uri=send.uri or httpchk.uri,
            version=send.version or httpchk.version,
            headers=(*kept, *send.headers),
            body=httpchk.body if send.body is None else send.body,
        )
    if expect is not None:
        httpchk = evolve(httpchk, expect=expect.ranges, expect_not=expect.negated)
    return httpchk


def host_asked_for(check: HTTPCheck | None) -> str | None:
    """Returns the name in the Host of an HTTP check, without its port; None when there is none."""
    for name, value in check.headers if check is not None else ():
        if name.lower() == "host":
            return re.sub(r":[0-9]*\Z", "", value.strip()) or None
    return None
