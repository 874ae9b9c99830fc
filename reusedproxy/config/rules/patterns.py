"""Defines the matching methods of `-m` (manual, section 7.1), and parses patterns into values.

Knows only what may be written; `reusedproxy.rules` decides whether a sample matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from reusedproxy.config.language.regular import read_regular, shortened
from reusedproxy.config.language.report import Wrong
from reusedproxy.config.language.units import within_64_bits

#: Implemented methods, and the type that each compares.
METHODS = {
    "found": "any",
    "bool": "bool",
    "int": "int",
    "ip": "ip",
    "bin": "bin",
    "len": "str",
    "str": "str",
    "sub": "str",
    "beg": "str",
    "end": "str",
    "dir": "str",
    "dom": "str",
    "reg": "str",
}
#: The default method for a sample's type; types bin and any have none and need `-m`.
#: How the patterns of `http_auth_group` are compared without a method: each is a group. It has no word for `-m`.
GROUP = "group"
DEFAULT = {"bool": "bool", "int": "int", "ip": "ip", "ipv4": "ip", "ipv6": "ip", "str": "str", "meth": "str"}
#: What stands on either side of a pattern of these methods (manual, section 7.1.3).
DELIMITERS = {"dir": "/?", "dom": "/?.:"}
OPERATORS = ("eq", "ge", "gt", "le", "lt")
#: A range that ends at 0 to HAProxy, whatever operator stands before it; people mean the end of flags.
ALL_UP_TO_0 = "--"

#: First and last number, both included; None: no limit.
Range = tuple[int | None, int | None]
Network = IPv4Network | IPv6Network

_INTEGER = re.compile(r"-?[0-9]+\Z")
#: A dash separates the two numbers as well. HAProxy takes "-5" for a range that ends at 5, people for a negative
#: number.
_RANGE = re.compile(r"(-?[0-9]*):(-?[0-9]*)\Z|([0-9]+)-([0-9]*)\Z")


def ranges(texts: Iterable[str], what: str, *, operators: bool = True) -> list[Range]:
    """Parses numbers, ranges `a:b`, and operators where there may be some, each of which applies to all numbers after
    it; ranges stay what they are, as in HAProxy. Raises Wrong."""
    found: list[Range] = []
    operator = ""
    for text in texts:
        if operators and text in OPERATORS:
            operator = text
            continue
        if text == ALL_UP_TO_0:
            found.append((None, 0))
            continue
        if between := _RANGE.match(text):
            first, last = between.group(1, 2) if between[3] is None else between.group(3, 4)
            low, high = (_number(each, text, what) if each not in ("", "-") else None for each in (first, last))
            if low is None and high is None:
                raise Wrong(f"{what}: '{text}' is a range without a beginning and without an end")
            if low is not None and high is not None and low > high:
                raise Wrong(f"{what}: the range '{text}' ends before it begins, so nothing is in it")
        elif text.startswith("-") and _INTEGER.match(text):
            low, high = _compared(operator, _number(text, text, what))
            meant = ":".join("" if end is None else str(end) for end in (low, high))
            raise Wrong(
                f"{what}: '{text}' means all numbers up to {text[1:]} to HAProxy, whatever operator it has. For"
                f" '{operator or 'eq'} {text}' write '{meant}' without an operator; for those up to"
                f" {text[1:]} ':{text[1:]}'"
            )
        elif _INTEGER.match(text):
            number = _number(text, text, what)
            low, high = _compared(operator, number)
        else:
            others = f", nor one of {', '.join(OPERATORS)}" if operators else ""
            raise Wrong(f"{what}: '{text}' is no number, nor a range such as 1024:65535{others}")
        found.append((low, high))
    return found


def _number(digits: str, text: str, what: str) -> int:
    number = within_64_bits(digits)
    if number is None:
        raise Wrong(f"{what}: '{shortened(text)}' is more than 64 bits hold")
    return number


def _compared(operator: str, number: int) -> Range:
    if operator in ("", "eq"):
        return number, number
    if operator in ("ge", "gt"):
        return number + (operator == "gt"), None
    return None, number - (operator == "lt")


def network(text: str, what: str) -> Network:
    """Parses an address or a network. IPv4 may leave out zero bytes before the last one, as
    in 127.1/8. Raises Wrong."""
    address, slash, mask = text.partition("/")
    if "%" in address:
        without = f"{address.partition('%')[0]}{slash}{mask}"
        raise Wrong(
            f"{what}: '{text}' names an interface, which is not compared: write '{without}', which is the same address"
            " on any interface"
        )
    if ":" not in address:
        parts = address.split(".")
        if 1 < len(parts) < 4 or address == "0":
            address = ".".join([*parts[:-1], *["0"] * (4 - len(parts)), parts[-1]])
    try:
        return ip_network(f"{address}{slash}{mask}", strict=False)
    except ValueError:
        raise Wrong(
            f"{what}: '{text}' is no address, nor a network such as 10.0.0.0/8 (host names are not looked up)"
        ) from None


def block(text: str, what: str) -> bytes:
    """Parses hexadecimal digits into bytes. Raises Wrong."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise Wrong(f"{what}: '{text}' is not made of pairs of hexadecimal digits") from None


def without_word(method: str, texts: Iterable[str]) -> list[str]:
    """Returns the patterns of `dir` and `dom` that have nothing but delimiters."""
    delimiters = DELIMITERS.get(method)
    return [] if delimiters is None else [text for text in texts if not text.strip(delimiters)]


def check_lines(method: str, lines: Iterable[str], what: str) -> None:
    """Checks that each line of a file can be parsed as a pattern. An operator is none: it would count for the lines
    behind it. Raises Wrong."""
    if method in ("int", "len"):
        ranges(lines, what, operators=False)
    else:
        check_patterns(method, lines, what)


def check_patterns(method: str, texts: Iterable[str], what: str) -> None:
    """Checks that each pattern can be parsed. Raises Wrong."""
    if method in ("int", "len"):
        ranges(texts, what)
    for text in texts:
        if method == "ip":
            network(text, what)
        elif method == "bin":
            block(text, what)
        elif method == "reg":
            read_regular(text, what)
