"""Checks and reads messages of FIX, Financial Information eXchange (manual, section 7.3.1: `fix_is_valid`,
`fix_tag_value`): fields `tag=value`, each with an SOH behind it.

The bytes come from a client, and may still be coming: where rules wait for more, a message that is not here as a whole
is not judged before. They are looked at again whenever more comes, so that no look may take long. It must never know
what a field means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen

from reusedproxy.config.rules.messages import FIX_TAGS, fix_tag
from reusedproxy.rules.facts import Binary, Facts, Sample
from reusedproxy.rules.waiting import settle, wait_for_more

Convert = Callable[[Any, Facts], Sample]

_END = b"\x01"
#: The fewest bytes of a message.
_LEAST = 26
_BEGIN_STRING, _BODY_LENGTH, _MSG_TYPE = (FIX_TAGS[each] for each in ("BeginString", "BodyLength", "MsgType"))
_CHECKSUM = FIX_TAGS["CheckSum"]
#: The largest tag of each version.
_VERSIONS = {
    **{b"FIX.4.0": 140, b"FIX.4.1": 211, b"FIX.4.2": 446, b"FIX.4.3": 659, b"FIX.4.4": 956},
    b"FIXT.1.1": 1621,
}
#: Tags that users define, in every version.
_OF_USERS = range(10000, 20000)
#: More digits are no tag, and Python would take long to read them.
_LONGEST_TAG = 9
#: Of the field of the check sum, which is the last one.
_LENGTH_OF_CHECKSUM = len(b"10=000\1")
#: The fields that are here as a whole, and what may become one.
_WHOLE_FIELDS = re.compile(rb"(?:(?!0+=)[0-9]{1,9}=[^\x01]+\x01)*")
_BEGINNING = re.compile(rb"(?:[0-9]{0,9}|(?!0+=)[0-9]{1,9}=[^\x01]*)\Z")


class _Invalid(Exception):
    """Says that this is no message."""


class _Incomplete(Exception):
    """Says that its end is not here."""


@frozen
class _Field:
    tag: int
    value: bytes
    begin: int
    end: int


def _fields(data: bytes) -> Iterator[_Field]:
    """Yields the fields, with where each begins and ends. Raises _Invalid, and _Incomplete at the end of the bytes."""
    at = 0
    while at < len(data):
        sign = data.find(b"=", at)
        end = data.find(_END, sign) if sign >= 0 else -1
        if end < 0:
            raise _Incomplete
        tag = data[at:sign]
        if not (tag.isdigit() and len(tag) <= _LONGEST_TAG and int(tag)) or end == sign + 1:
            raise _Invalid
        yield _Field(int(tag), data[sign + 1 : end], at, end + 1)
        at = end + 1
    raise _Incomplete


def is_valid(data: bytes) -> bool | None:
    """Tells whether a message begins here; None: it is not here as a whole."""
    if len(data) < _LEAST:
        return None
    largest = length = body = 0
    try:
        for number, field in enumerate(_fields(data)):
            if number == 0:
                if field.tag != _BEGIN_STRING or field.value not in _VERSIONS:
                    return False
                largest = _VERSIONS[field.value]
            elif field.tag > largest and field.tag not in _OF_USERS:
                return False
            elif number == 1:
                if field.tag != _BODY_LENGTH or not field.value.isdigit() or len(field.value) > _LONGEST_TAG:
                    return False
                length, body = int(field.value), field.end
                if not length:
                    return False
                if len(data) < body + length + _LENGTH_OF_CHECKSUM:
                    return None
            elif number == 2:
                if field.tag != _MSG_TYPE:
                    return False
            elif field.tag == _CHECKSUM:
                total = sum(data[: field.begin]) % 256
                return length == field.begin - body and field.value == b"%03d" % total
    except _Invalid:
        return False
    except _Incomplete:
        return None
    raise AssertionError("the fields end with an exception")


def tag_value(data: bytes, tag: int) -> bytes | None:
    """Returns the value of the first field of this tag, before the check sum; None: there is none, or it is no message.
    Raises _Incomplete where it may still come."""
    whole = _whole_fields(data)
    found = re.compile(rb"(?:\A|(?<=\x01))0*(?:%d=([^\x01]+)|%d=)" % (tag, _CHECKSUM)).search(data, 0, whole)
    if found is not None:
        return found[1]
    if _BEGINNING.match(data, whole):
        raise _Incomplete
    return None


def _whole_fields(data: bytes) -> int:
    """Returns the length of the fields with which it begins."""
    found = _WHOLE_FIELDS.match(data)
    assert found is not None
    return found.end()


def _is_valid() -> Convert:
    def convert(sample: bytes, facts: Facts) -> Sample:
        found = is_valid(sample)
        if found is None:
            wait_for_more(facts.inspected)
        else:
            settle(facts.inspected)
        return found

    return convert


def _tag_value(tag: str) -> Convert:
    number = fix_tag(tag)

    def convert(sample: bytes, facts: Facts) -> Sample:
        try:
            found = tag_value(sample, number)
        except _Incomplete:
            wait_for_more(facts.inspected)
            return None
        settle(facts.inspected)
        return None if found is None else Binary(found)

    return convert


FIX_CONVERTERS: dict[str, Callable[..., Convert]] = {"fix_is_valid": _is_valid, "fix_tag_value": _tag_value}
