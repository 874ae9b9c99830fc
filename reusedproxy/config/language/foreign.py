"""Recognizes text that is no configuration: a PEM file or a program named by mistake, a key that was pasted.

What a message repeats of a file ends in logs and tickets, so nothing of a key may be in one. Knows no section and no
keyword but those that begin a section.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from reusedproxy.config.language import haproxy_words

_SECTIONS = "|".join(sorted(haproxy_words.SECTIONS | haproxy_words.SECTIONS_NOT_DONE))
_SECTION = re.compile(rf"^[ \t]*(?:{_SECTIONS})(?=[ \t\r]|$)", re.M)
_BEGIN = re.compile(r"^[ \t]*-----BEGIN ([A-Z0-9 #.]+)", re.M)
_END = re.compile(r"[ \t]*-----END ")
#: How many characters at the beginning of a file are searched for bytes that no text has.
_BEGINNING = 4096
#: A line of base64, as a key has them: OpenSSL writes 64 characters, the last line is shorter.
_BASE64 = re.compile(r"[ \t]*[A-Za-z0-9+/]{40,}={0,2}[ \t\r]*\Z")
_REST_OF_BASE64 = re.compile(r"[ \t]*(?=[^ \t\r])[A-Za-z0-9+/]*={0,2}[ \t\r]*\Z")
#: What a message may quote of a key: a line of it is at least this long. Names of files this long have few capitals.
_SECRET = re.compile(r"[A-Za-z0-9+/]{60,}={0,2}")
_CAPITALS = 10


def what_it_is(text: str) -> str:
    """Says what a file is that is no configuration, as "this is a PEM file (PRIVATE KEY)"; "" if it may be one."""
    if text.startswith("\x7fELF"):
        return "this is a program"
    if _SECTION.search(text):
        return ""
    if "\0" in text[:_BEGINNING]:
        return "this is a binary file"
    if blocks := dict.fromkeys(_BEGIN.findall(text)):
        return f"this is a PEM file ({', '.join(name.strip() for name in blocks)})"
    return ""


def key_at(lines: Sequence[str], start: int) -> tuple[str, int]:
    """Returns what block of a key or certificate begins with line `start`, and the index of the first line behind it.

    Without such a block, returns ("", start). One whose end is missing ends where its lines are not base64 any more.
    """
    if begin := _BEGIN.match(lines[start]):
        # RFC 1421 has headers in it, and no block is longer than a few thousand lines.
        for end in range(start + 1, min(len(lines), start + 5000)):
            if _END.match(lines[end]):
                return f"a PEM block ({begin[1].strip()})", end + 1
            if _BEGIN.match(lines[end]) or _SECTION.match(lines[end]):
                break
        return f"a PEM block without its end ({begin[1].strip()})", _behind_base64(lines, start + 1)
    if _BASE64.match(lines[start]):
        return "base64, as of a key or certificate", _behind_base64(lines, start + 1)
    return "", start


def _behind_base64(lines: Sequence[str], start: int) -> int:
    while start < len(lines) and _BASE64.match(lines[start]):
        start += 1
    if start < len(lines) and _REST_OF_BASE64.match(lines[start]) and not _SECTION.match(lines[start]):
        start += 1
    if start < len(lines) and _END.match(lines[start]):
        start += 1
    return start


def without_keys(text: str) -> str:
    """Returns the text of a message with nothing in it that looks like a line of a key."""
    return _SECRET.sub(_in_place_of, text) if len(text) >= 60 else text


def _in_place_of(found: re.Match[str]) -> str:
    run = found[0]
    if sum(map(str.isupper, run)) < _CAPITALS or not any(map(str.isdigit, run)):
        return run
    return f"… ({len(run)} characters, as of a key)"
