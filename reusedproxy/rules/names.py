"""Judges the names of request headers (`option http-restrict-req-hdr-names`), behind the rules of a section."""

from __future__ import annotations

import re

from reusedproxy.rules import editing
from reusedproxy.rules.actions import Act, Answer, Verdict
from reusedproxy.rules.facts import Facts

#: A line whose name has something else than letters, digits and hyphens.
_ODD_LINE = re.compile(rb"\r\n(?![0-9A-Za-z-]+:)[^:\r]+:")
_PLAIN = re.compile(rb"[0-9A-Za-z-]+\Z")
_REFUSED = Answer(403, denies=True, content=None)


def _odd(name: bytes) -> bool:
    return not _PLAIN.match(name)


def _reject(facts: Facts) -> Verdict:
    assert facts.head is not None
    return _REFUSED if _ODD_LINE.search(facts.head.block) else None


def _delete(facts: Facts) -> Verdict:
    assert facts.head is not None
    if _ODD_LINE.search(facts.head.block):
        editing.remove_matching(facts.head, _odd)
    return None


#: What is done with such headers, by HAProxy's word.
NAMES: dict[str, Act] = {"delete": _delete, "reject": _reject}
