"""Parses the answers that the proxy gives in its own name: the words of `return` and `deny`, and of `http-error`.

They are the same words in all three. Files are named here and read later, by code that may open files.
"""

from __future__ import annotations

import re

from attrs import frozen

from reusedproxy.config.language.header_names import header_name
from reusedproxy.config.language.report import Wrong, did_you_mean
from reusedproxy.config.model.errors import ERROR_STATUSES, AnswerFile
from reusedproxy.config.model.rules import Action, Format
from reusedproxy.config.rules.formats import literal
from reusedproxy.config.rules.reading import FRAMING, HOP, Reading, printable
from reusedproxy.config.rules.samples import RESPONSE


@frozen
class Reply(Action):
    """Holds the answer of `return`, `deny` or `http-error`.

    Its body is `content`, or that of `file`, which is a log-format string if `formatted`. `whole` is the file of a
    whole answer (`errorfile`), which `group`, the name of an `http-errors` section, stands for until the sections are
    known. `standard`: the section's page for the status. Without any of these, there is no body. `tarpits`: it is sent
    late.
    """

    answers = True
    ends = True

    status: int
    denies: bool
    content_type: str = ""
    content: Format | None = None
    headers: tuple[tuple[str, Format], ...] = ()
    file: str = ""
    formatted: bool = False
    whole: AnswerFile | None = None
    group: str = ""
    standard: bool = False
    tarpits: bool = False


_TEXTS = ("string", "lf-string", "file", "lf-file")
_SOURCES = (*_TEXTS, "errorfile", "errorfiles", "default-errorfiles")
_KNOWN = ("status", "content-type", "hdr", *_SOURCES)


def read_reply(reading: Reading) -> Reply:
    """Parses `return`, `deny`, `tarpit` and `http-error`. Raises Wrong."""
    tarpits = reading.action == "tarpit"
    denies = tarpits or reading.action == "deny"
    known = (*_KNOWN, "deny_status") if denies or reading.action == "return" else _KNOWN
    status = 500 if tarpits else (502 if reading.where == RESPONSE else 403) if denies else 200
    said: dict[str, str] = {}
    headers: list[tuple[str, Format]] = []
    rest = list(reading.words)
    while rest:
        word = rest.pop(0)
        if word not in known:
            raise Wrong(f"{reading.what}: unknown word '{word}'{did_you_mean(word, known)}")
        if word in _SOURCES and (before := [each for each in said if each in _SOURCES]):
            raise Wrong(f"{reading.what}: '{before[0]}' stands already before '{word}': an answer has one body")
        if word == "default-errorfiles":
            said[word] = ""
            continue
        if len(rest) < 1 + (word == "hdr"):
            raise Wrong(f"{reading.what}: '{word}' needs {'a name and a value' if word == 'hdr' else 'a value'}")
        value = rest.pop(0)
        if word in ("status", "deny_status"):
            status = _status(reading, value)
            said["status"] = value
        elif word == "hdr":
            headers.append((_header(reading, value), reading.format(rest.pop(0))))
        else:
            said[word] = value
    source = next((word for word in _SOURCES if word in said), "")
    if reading.action == "http-error" and ("status" not in said or status not in ERROR_STATUSES):
        listed = ", ".join(map(str, ERROR_STATUSES))
        raise Wrong(f"{reading.what} needs 'status' and one of {listed}")
    _check(reading, status, source, said, bool(headers))
    return Reply(
        status,
        denies,
        printable(reading, said.get("content-type", "")) if source in _TEXTS else "",
        _content(reading, source, said),
        tuple(headers) if source in ("", *_TEXTS) else (),
        file=said[source] if source.endswith("file") and source in _TEXTS else "",
        formatted=source == "lf-file",
        whole=AnswerFile(reading.line.place, said[source]) if source == "errorfile" else None,
        group=said.get("errorfiles", ""),
        # As in HAProxy, a `deny` with headers, or with a status that has no page, has no body.
        standard=source == "default-errorfiles" or (denies and not source and not headers and status in ERROR_STATUSES),
        tarpits=tarpits,
    )


def _content(reading: Reading, source: str, said: dict[str, str]) -> Format | None:
    if source == "string":
        return literal(said[source])
    return reading.format(said[source]) if source == "lf-string" else None


def _check(reading: Reading, status: int, source: str, said: dict[str, str], headers: bool) -> None:
    typed = "content-type" in said
    if source in ("string", "lf-string") and not typed:
        raise Wrong(f"{reading.what}: a text needs its 'content-type', such as text/plain")
    if source in ("string", "lf-string") and status in (204, 304):
        raise Wrong(f"{reading.what}: an answer with status {status} has no body")
    if source == "default-errorfiles" and status not in ERROR_STATUSES:
        listed = ", ".join(map(str, ERROR_STATUSES))
        raise Wrong(f"{reading.what}: there is no page for status {status}, only for {listed}")
    if typed and source not in _TEXTS:
        why = f"beside '{source}'" if source else "without 'string', 'lf-string', 'file' or 'lf-file'"
        reading.report.warn(reading.line.place, f"{reading.what}: 'content-type' does nothing {why}")
    if headers and source not in ("", *_TEXTS):
        reading.report.warn(reading.line.place, f"{reading.what}: 'hdr' does nothing beside '{source}'")


def _status(reading: Reading, value: str) -> int:
    if not re.match(r"[2-9][0-9][0-9]\Z", value) or int(value) > 599:
        raise Wrong(f"{reading.what}: '{value}' is no status from 200 to 599")
    return int(value)


def _header(reading: Reading, name: str) -> str:
    header_name(name, reading.what)
    if name.lower() in FRAMING | HOP or name.lower() in ("content-type", "date"):
        raise Wrong(f"{reading.what}: 'hdr {name}' is not for rules to say")
    return name
