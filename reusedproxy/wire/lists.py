"""Splits the lists that fields have for values (RFC 9110 section 5.6.1). Pure."""

from __future__ import annotations

import re

#: A comma, or a quoted string.
_COMMA_OR_QUOTED = re.compile(rb',|"(?:\\.|[^"\\])*"?', re.DOTALL)


def members(value: bytes) -> list[bytes]:
    """Returns the members of a list with the blanks around them, empty ones, too.

    A comma within a quoted string does not separate members (RFC 9110 section 5.6.1), nor does one after a quote that
    stays open, as in HAProxy.
    """
    found, begin = [], 0
    for sign in _COMMA_OR_QUOTED.finditer(value):
        if sign[0] == b",":
            found.append(value[begin : sign.start()])
            begin = sign.end()
    return [*found, value[begin:]]
