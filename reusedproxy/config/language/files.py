"""Finds the names of files in a line's words, so that `default-path` can say where relative ones begin.

Files of TLS are not among them: those have bases of their own (`config.tls.words`). Knows words, and opens nothing.
"""

from __future__ import annotations

import re

from attrs import frozen

#: Words behind `return` and its like that are followed by a file, and those that are followed by so many other words.
_FILES = ("file", "lf-file", "errorfile")
_OTHERS = {"status": 1, "code": 1, "deny_status": 1, "content-type": 1, "string": 1, "lf-string": 1, "errorfiles": 1}
_OTHERS["hdr"] = 2
_ANSWERING = ("http-request", "http-response", "http-after-response", "http-error", "stats")
#: Converters and actions that look something up in a file, up to its name.
_LOOKED_UP = re.compile(r"((?:,map(?:_\w+)?|\A(?:set-map|del-map|add-acl|del-acl))\(['\"]?)([^/,)'\"][^,)'\"]*)")


def based_path(path: str, base: str) -> str:
    """Returns the path, behind `base` if it is relative and there is one; those that begin with "@" are no paths."""
    return path if path.startswith(("/", "@")) or not base else f"{base}/{path}"


@frozen
class ListName:
    """Names a list of patterns, or a map (HAProxy's manual, 2.7): `name` is what tells it from others, `path` its file;
    None: it has none (`virt@`), and begins empty. `optional`: so it does where there is no file (`opt@`)."""

    name: str
    path: str | None
    optional: bool = False


def list_name(text: str) -> ListName:
    """Reads the name of a list of patterns, or of a map."""
    if text.startswith("virt@"):
        return ListName(text, None)
    optional = text.startswith("opt@")
    path = text.removeprefix("opt@" if optional else "file@")
    return ListName(path, path, optional)


def _based_list(text: str, base: str) -> str:
    if text.startswith("virt@"):
        return text
    before = next((each for each in ("opt@", "file@") if text.startswith(each)), "")
    return before + based_path(text.removeprefix(before), base)


def with_base(words: tuple[str, ...], base: str) -> tuple[str, ...]:
    """Returns the words of a line with the relative files that they name behind `base`."""
    places = {2} if words[0] == "errorfile" else _files_of_patterns(words) | _files_of_answers(words)
    made = [_based_list(word, base) if number in places else word for number, word in enumerate(words)]
    return tuple(_LOOKED_UP.sub(lambda found: found[1] + _based_list(found[2], base), word) for word in made)


def _files_of_patterns(words: tuple[str, ...]) -> set[int]:
    """Returns the places of files behind `-f`, which is in ACLs and in conditions only."""
    if words[0] == "acl":
        begin = 2
    else:
        begin = next((number for number, word in enumerate(words) if word in ("if", "unless")), len(words))
    return {number + 1 for number, word in enumerate(words) if word == "-f" and number >= begin}


def _files_of_answers(words: tuple[str, ...]) -> set[int]:
    if words[0] not in _ANSWERING:
        return set()
    places, number = set(), 1
    while number < len(words) and words[number] not in ("if", "unless"):
        if words[number] in _FILES:
            places.add(number + 1)
        number += 2 if words[number] in _FILES else 1 + _OTHERS.get(words[number], 0)
    return places
