"""Sample expressions (manual, section 7.3): `fetch(arguments),converter(arguments),…`, read into values and judged.

Knows which fetches and converters there are and how many arguments each takes; what they do is `reusedproxy.rules`' affair,
and a test holds that both know the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from reusedproxy.config.haproxy_samples import CONVERTERS as HAPROXY_CONVERTERS
from reusedproxy.config.haproxy_samples import FETCHES as HAPROXY_FETCHES
from reusedproxy.config.model import Call, Expression
from reusedproxy.config.regular import read_regular
from reusedproxy.config.report import Wrong, did_you_mean, not_done
from reusedproxy.config.sample_table import CASTS, CONVERTERS, FETCHES, SAME, Signature

_NAME = re.compile(r"[A-Za-z0-9_.-]*")
#: What `digest` knows.
DIGESTS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
_NUMBER = re.compile(r"-?[0-9]+\Z")
_VARIABLE = re.compile(r"(proc|sess|txn|req|res)\.([A-Za-z0-9_.]+)\Z")


def read_expression(text: str, what: str) -> Expression:
    """The expression that all of `text` is; `what` begins each message. Raises Wrong."""
    expression, at = expression_at(text, 0, what)
    if at < len(text):
        raise Wrong(f"{what}: '{text[at:]}' in the expression '{text}' is too much: converters follow a ','")
    return expression


def expression_at(text: str, at: int, what: str) -> tuple[Expression, int]:
    """The expression that begins there, and where it ends. Raises Wrong."""
    calls: list[Call] = []
    while True:
        name = _NAME.match(text, at)
        assert name is not None
        at = name.end()
        arguments: tuple[str, ...] = ()
        if text[at : at + 1] == "(":
            arguments, at = _arguments(text, at + 1, what)
        calls.append(_judged(name[0], arguments, first=not calls, what=what))
        if text[at : at + 1] != ",":
            break
        at += 1
    expression = Expression(calls[0], tuple(calls[1:]))
    type_of(expression, what)
    return expression, at


def type_of(expression: Expression, what: str = "") -> str:
    """The type of what it gives. Raises Wrong where a converter cannot take what stands before it."""
    name, given = expression.fetch.name, FETCHES[expression.fetch.name].gives
    for call in expression.converters:
        converter = CONVERTERS[call.name]
        if converter.takes not in CASTS[given]:
            raise Wrong(
                f"{what}: converter '{call.name}' cannot be applied to '{name}': it takes {converter.takes}, not {given}"
            )
        name, given = call.name, converter.gives
    return given


def where_of(expression: Expression) -> str:
    """In whose rules it has something to say."""
    return FETCHES[expression.fetch.name].where


def _arguments(text: str, at: int, what: str) -> tuple[tuple[str, ...], int]:
    """What stands between parentheses, from behind the opening one, and where it ends. Quotes and \\ work as in HAProxy."""
    arguments, argument, quote = [], "", ""
    while at < len(text):
        character = text[at]
        at += 1
        if character == quote:
            quote = ""
        elif character == "\\" and quote != "'" and at < len(text):
            argument += text[at]
            at += 1
        elif quote:
            argument += character
        elif character in "'\"":
            quote = character
        elif character in ",)":
            arguments.append(argument)
            argument = ""
            if character == ")":
                return (() if arguments == [""] else tuple(arguments)), at
        else:
            argument += character
    raise Wrong(f"{what}: in the expression '{text}' a '{quote or ')'}' is missing")


def _judged(name: str, arguments: tuple[str, ...], *, first: bool, what: str) -> Call:
    kind, known = ("sample fetch", HAPROXY_FETCHES) if first else ("converter", HAPROXY_CONVERTERS)
    done: dict[str, Signature] = FETCHES if first else CONVERTERS
    signature = done.get(SAME.get(name, name) if first else name)
    if signature is None:
        if name in known or re.match(r"sc[0-2]_", name):
            raise Wrong(f"{what}: {not_done(name, kind)}")
        if not name:
            raise Wrong(f"{what}: a {kind} is missing in the expression")
        raise Wrong(f"{what}: unknown {kind} '{name}'{did_you_mean(name, {*done, *known})}")
    least, most = signature.least, signature.most
    if not least <= len(arguments) <= most:
        takes = f"{least} to {most}" if least != most else f"{least}" if least else "no"
        raise Wrong(f"{what}: '{name}' takes {takes} argument{'' if most == 1 else 's'}, not {len(arguments)}")
    for place in signature.numbers:
        if place < len(arguments) and not _NUMBER.match(arguments[place]):
            raise Wrong(f"{what}: '{name}' takes a number in place {place + 1}, not '{arguments[place]}'")
    if name in _ARGUMENTS and arguments:
        _ARGUMENTS[name](name, arguments, what)
    return Call(SAME.get(name, name) if first else name, arguments)


# Arguments of which more must be said than how many there are.


def variable(name: str, what: str) -> str:
    """The name of a variable, with its scope. Raises Wrong."""
    if name.startswith("proc."):
        raise Wrong(f"{what}: variables of the scope 'proc' are HAProxy's; reusedproxy does not do them yet")
    if not _VARIABLE.match(name):
        raise Wrong(
            f"{what}: '{name}' is no variable: write sess, txn, req or res, a dot, and a name of letters, digits, _ and ."
        )
    return name


def _is_variable(name: str, arguments: tuple[str, ...], what: str) -> None:
    variable(arguments[0], what)


def _number_or_variable(name: str, arguments: tuple[str, ...], what: str) -> None:
    for argument in arguments:
        if not _NUMBER.match(argument):
            variable(argument, f"{what}: '{name}' takes a number or a variable")


def _concat(name: str, arguments: tuple[str, ...], what: str) -> None:
    if len(arguments) > 1 and arguments[1]:
        variable(arguments[1], what)


def _regular(name: str, arguments: tuple[str, ...], what: str) -> None:
    read_regular(arguments[0], what)
    if set("".join(arguments[2:])) - set("gi"):
        raise Wrong(f"{what}: the flags of 'regsub' are g and i, not '{arguments[2]}'")


def _digest(name: str, arguments: tuple[str, ...], what: str) -> None:
    if arguments[0].lower() not in DIGESTS:
        raise Wrong(f"{what}: '{name}': unknown algorithm '{arguments[0]}'{did_you_mean(arguments[0], DIGESTS)}")


def _sha2(name: str, arguments: tuple[str, ...], what: str) -> None:
    if arguments and arguments[0] not in ("224", "256", "384", "512"):
        raise Wrong(f"{what}: 'sha2' is of 224, 256, 384 or 512 bits, not '{arguments[0]}'")


def _hexadecimal(name: str, arguments: tuple[str, ...], what: str) -> None:
    if not re.match(r"(?:[0-9A-Fa-f]{2})*\Z", arguments[0]):
        raise Wrong(f"{what}: '{name}' takes pairs of hexadecimal digits, not '{arguments[0]}'")


def _address(name: str, arguments: tuple[str, ...], what: str) -> None:
    try:
        (IPv4Address if name == "ipv4" else IPv6Address)(arguments[0])
    except ValueError:
        raise Wrong(f"{what}: '{arguments[0]}' is no {'IPv4' if name == 'ipv4' else 'IPv6'} address") from None


def _mask(name: str, arguments: tuple[str, ...], what: str) -> None:
    for argument, bits in zip(arguments, (32, 128), strict=False):
        if not (argument.isdigit() and int(argument) <= bits) and not (bits == 32 and re.match(r"[0-9.]+\Z", argument)):
            raise Wrong(f"{what}: 'ipmask' takes a number of bits up to {bits}, not '{argument}'")


def _truth(name: str, arguments: tuple[str, ...], what: str) -> None:
    if arguments[0].lower() not in ("true", "false", "1", "0"):
        raise Wrong(f"{what}: 'bool' takes true or false, not '{arguments[0]}'")


def _dn(name: str, arguments: tuple[str, ...], what: str) -> None:
    if len(arguments) > 2 and arguments[2] != "rfc2253":
        raise Wrong(f"{what}: the format of '{name}' is rfc2253, not '{arguments[2]}'")


_ARGUMENTS: dict[str, Callable[[str, tuple[str, ...], str], None]] = {
    "var": _is_variable,
    "strcmp": _is_variable,
    "secure_memcmp": _is_variable,
    "concat": _concat,
    "regsub": _regular,
    "digest": _digest,
    "sha2": _sha2,
    "bin": _hexadecimal,
    "ipv4": _address,
    "ipv6": _address,
    "ipmask": _mask,
    "bool": _truth,
    **dict.fromkeys(("add", "sub", "mul", "div", "mod", "and", "or", "xor", "bytes"), _number_or_variable),
    **dict.fromkeys(("ssl_c_s_dn", "ssl_c_i_dn", "ssl_s_s_dn", "ssl_s_i_dn"), _dn),
}
