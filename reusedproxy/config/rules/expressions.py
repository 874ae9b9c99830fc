"""Parses sample expressions (manual, section 7.3), `fetch(arguments),converter(arguments),…`, and checks them.

Knows the names of fetches and converters and the number of their arguments. Must never evaluate them: that is
`reusedproxy.rules`' task, and a test compares the two lists of names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address, ip_address

from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.arguments import Unfinished, arguments_at
from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.language.regular import read_regular, shortened
from reusedproxy.config.language.report import Wrong, did_you_mean, not_done, one_of
from reusedproxy.config.language.units import within_64_bits
from reusedproxy.config.model.values import Call, Expression
from reusedproxy.config.rules.announced import type_number
from reusedproxy.config.rules.haproxy_samples import CONVERTERS as HAPROXY_CONVERTERS
from reusedproxy.config.rules.haproxy_samples import FETCHES as HAPROXY_FETCHES
from reusedproxy.config.rules.json_paths import read_path
from reusedproxy.config.rules.messages import fix_tag, mqtt_field
from reusedproxy.config.rules.outcomes import read_outcome, read_sink
from reusedproxy.config.rules.protobufs import TYPES, field_numbers
from reusedproxy.config.rules.samples import CASTS, CONVERTERS, FETCHES, LOGGED, MAPS, SAME, Signature
from reusedproxy.config.rules.token_keys import ALGORITHMS, read_jwk, read_key, read_private_key
from reusedproxy.config.rules.variables import is_variable, variable, variable_conditions

#: Fetches to whose names an ACL may append a method: path_beg is path with -m beg.
BASES = words("base path url hdr shdr cook scook urlp")
ACL_METHODS = words("beg dir dom end len reg str sub")
ACL_ONLY = (
    frozenset(f"{base}_{method}" for base in BASES for method in ACL_METHODS)
    | frozenset(("ssl_fc_sni_end", "ssl_fc_sni_reg"))
) - FETCHES.keys()
_NAME = re.compile(r"[A-Za-z0-9_.+-]*")
#: The usual algorithms of `digest`, for suggestions; it takes any that OpenSSL knows.
DIGESTS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
_NUMBER = re.compile(r"[-+]?[0-9]+\Z")

_CHECKS_VARIABLE = re.compile(r"check\.[A-Za-z0-9_.]+\Z")


def read_expression(text: str, what: str, others: Collection[str] = ()) -> Expression:
    """Parses `text` as one expression; `what` begins each message. Raises Wrong.

    `others` are further names that the caller accepts in this place; they serve as suggestions for an unknown name.
    """
    expression, at = expression_at(text, 0, what, others)
    if at < len(text):
        raise Wrong(f"{what}: '{text[at:]}' in the expression '{text}' is too much: converters follow a ','")
    return expression


def expression_at(text: str, at: int, what: str, others: Collection[str] = ()) -> tuple[Expression, int]:
    """Parses the expression that begins at `at`; returns it and its end. Raises Wrong."""
    calls: list[Call] = []
    while True:
        name = _NAME.match(text, at)
        assert name is not None
        at = name.end()
        arguments: tuple[str, ...] = ()
        if text[at : at + 1] == "(":
            try:
                arguments, at = arguments_at(text, at + 1)
            except Unfinished as end:
                raise Wrong(f"{what}: in the expression '{text}' a '{end.missing}' is missing") from None
        calls.append(_judged(name[0], arguments, first=not calls, what=what, others=others))
        if text[at : at + 1] != ",":
            break
        at += 1
    expression = Expression(calls[0], tuple(calls[1:]))
    type_of(expression, what)
    return expression, at


def type_of(expression: Expression, what: str = "") -> str:
    """Returns the type of the expression's result. Raises Wrong where a converter cannot take its input's type."""
    name, given = expression.fetch.name, FETCHES[expression.fetch.name].gives
    for call in expression.converters:
        converter = CONVERTERS[call.name]
        if converter.takes not in CASTS[given]:
            raise Wrong(
                f"{what}: converter '{call.name}' cannot be applied to '{name}': it takes {converter.takes},"
                f" not {given}"
            )
        name, given = call.name, converter.gives
    return given


def where_of(expression: Expression) -> str:
    """Tells in which rules the fetch has a value: those of requests, of responses, or both ("")."""
    name = expression.fetch.name
    return (FETCHES.get(name) or LOGGED[name]).where


def _given(name: str, signature: Signature, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Drops arguments that do not count. Empty parentheses are one empty text where an argument is required, and
    nothing elsewhere; an empty optional number at the end is dropped."""
    if arguments == ("",) and (not signature.least or 0 in signature.numbers):
        return ()
    last = len(arguments) - 1
    if last in signature.numbers and last >= signature.least and not arguments[last]:
        # An empty count of fields is 0, which means all, and not the default.
        return (*arguments[:last], "0") if name in ("field", "word") else arguments[:last]
    return arguments


def _judged(name: str, arguments: tuple[str, ...], *, first: bool, what: str, others: Collection[str]) -> Call:
    kind, known = ("sample fetch", HAPROXY_FETCHES) if first else ("converter", HAPROXY_CONVERTERS)
    done: dict[str, Signature] = FETCHES if first else CONVERTERS
    signature = done.get(SAME.get(name, name) if first else name)
    if signature is None:
        numbered = re.match(r"sc[0-2]_", name) if first else None
        if name in known or (numbered is not None and f"sc_{name[4:]}" in known):
            raise Wrong(f"{what}: {not_done(name, kind, HINTS.get(name, ''))}")
        if not name:
            blank = "" if first else ", in which no blank can stand"
            raise Wrong(f"{what}: a {kind} is missing in the expression{blank}")
        if first and name in ACL_ONLY:
            raise Wrong(f"{what}: '{name}' can stand in an 'acl' or a condition only, it is no sample fetch")
        also = {*others} if first else set()
        if numbered is not None:
            also |= {f"{name[:4]}{each[3:]}" for each in known if each.startswith("sc_")}
        raise Wrong(f"{what}: unknown {kind} '{name}'{did_you_mean(name, {*done, *known, *also})}")
    arguments = _given(name, signature, arguments)
    least, most = signature.least, signature.most
    if not least <= len(arguments) <= most:
        takes = f"{least} to {most}" if least != most else f"{least}" if least else "no"
        raise Wrong(f"{what}: '{name}' takes {takes} argument{'' if most == 1 else 's'}, not {len(arguments)}")
    for place in signature.numbers:
        if place < len(arguments):
            if not _NUMBER.match(arguments[place]):
                raise Wrong(f"{what}: '{name}' takes a number in place {place + 1}, not '{arguments[place]}'")
            _check_size(name, arguments[place], what)
    own = SAME.get(name, name) if first else name
    if own in _ARGUMENTS and arguments:
        _ARGUMENTS[own](name, arguments, what)
    return Call(own, arguments)


def _check_size(name: str, number: str, what: str) -> None:
    if within_64_bits(number) is None:
        raise Wrong(f"{what}: '{name}': '{shortened(number)}' is more than 64 bits hold")


# Checks of arguments beyond their number.


def _variable_to_set(name: str, arguments: tuple[str, ...], what: str) -> None:
    _is_variable(name, arguments[:1], what)
    variable_conditions(arguments[1:], f"{what}: '{name}'")


def _is_variable(name: str, arguments: tuple[str, ...], what: str) -> None:
    # Those of the scope `check` are set in health checks; elsewhere they have no value, as in HAProxy.
    if not _CHECKS_VARIABLE.match(arguments[0]):
        variable(arguments[0], what)


def _number_or_variable(name: str, arguments: tuple[str, ...], what: str) -> None:
    for argument in arguments:
        if _NUMBER.match(argument):
            _check_size(name, argument, what)
        else:
            variable(argument, f"{what}: '{name}' takes a number or a variable")


def _concat(name: str, arguments: tuple[str, ...], what: str) -> None:
    if len(arguments) > 1 and arguments[1]:
        variable(arguments[1], what)


def _regular(name: str, arguments: tuple[str, ...], what: str) -> None:
    if not arguments[0]:
        raise Wrong(f"{what}: 'regsub' needs a regular expression: an empty one is found everywhere")
    read_regular(arguments[0], what)
    if re.search(r"(?<!\\)(?:\\\\)*\\\Z", arguments[1]):
        raise Wrong(f"{what}: 'regsub': '{arguments[1]}' ends with a backslash that nothing follows")
    if set("".join(arguments[2:])) - set("gi"):
        raise Wrong(f"{what}: the flags of 'regsub' are g and i, not '{arguments[2]}'")


def _map(name: str, arguments: tuple[str, ...], what: str) -> None:
    gives = MAPS[name][1]
    if not arguments[0]:
        raise Wrong(f"{what}: '{name}' needs the name of a file")
    for default in arguments[1:]:
        if gives == "int" and not _NUMBER.match(default):
            raise Wrong(f"{what}: '{name}' gives a number, and '{default}' is none")
        if gives == "ip" and not is_address(default):
            raise Wrong(f"{what}: '{name}' gives an address, and '{default}' is none")


def is_address(text: str) -> bool:
    """Tells whether a text is an address. With a zone it is none: the bytes behind the % may be any."""
    if "%" in text:
        return False
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _cut(name: str, arguments: tuple[str, ...], what: str) -> None:
    if int(arguments[0]) == 0:
        raise Wrong(f"{what}: '{name}' counts from 1, or from -1 at the end: there is no number 0")
    if not arguments[1]:
        raise Wrong(f"{what}: '{name}' needs the characters that part the text")


def _header(name: str, arguments: tuple[str, ...], what: str) -> None:
    if not arguments[0]:
        raise Wrong(f"{what}: '{name}' needs the name of a header")
    if len(arguments) > 1 and int(arguments[1]) < -10:
        raise Wrong(f"{what}: '{name}' looks no further than 10 values back (-10), not '{arguments[1]}'")


def _encoding(name: str, arguments: tuple[str, ...], what: str) -> None:
    if arguments[0] not in ("", "query"):
        raise Wrong(f"{what}: '{name}' encodes for the query, not for '{arguments[0]}'")


def _code(name: str, arguments: tuple[str, ...], what: str) -> None:
    codes = ("", "ascii", "utf8", "utf8s", "utf8p", "utf8ps")
    if arguments[0] not in codes:
        raise Wrong(f"{what}: '{name}' reads {', '.join(codes[1:])}, not '{arguments[0]}'")


def _question_mark(name: str, arguments: tuple[str, ...], what: str) -> None:
    if arguments[0] not in ("", "with_qm"):
        raise Wrong(f"{what}: '{name}' takes with_qm or nothing, not '{arguments[0]}'")


def _unit(name: str, arguments: tuple[str, ...], what: str) -> None:
    if len(arguments) > 1 and arguments[1] not in ("", "s", "ms", "us"):
        raise Wrong(f"{what}: the unit of '{name}' is s, ms or us, not '{arguments[1]}'")


def _fine_unit(name: str, arguments: tuple[str, ...], what: str) -> None:
    if arguments[0] not in ("", "ms", "us"):
        raise Wrong(f"{what}: the unit of '{name}' is ms or us, not '{arguments[0]}'")


def _time_unit(name: str, arguments: tuple[str, ...], what: str) -> None:
    _unit(name, ("", *arguments), what)


def _method(name: str, arguments: tuple[str, ...], what: str) -> None:
    if not re.match(r"[!#$%&'*+.^_`|~0-9A-Za-z-]*\Z", arguments[0]):
        raise Wrong(f"{what}: '{arguments[0]}' cannot be a method (RFC 9110 section 9.1)")


def _hmac(name: str, arguments: tuple[str, ...], what: str) -> None:
    _digest(name, arguments[:1], what)
    if not is_variable(arguments[1]) and not re.match(r"[A-Za-z0-9+/]+={0,2}\Z", arguments[1]):
        raise Wrong(f"{what}: 'hmac' takes a key in base64, or a variable, not '{arguments[1]}'")


def _uuid(name: str, arguments: tuple[str, ...], what: str) -> None:
    if arguments[0] not in ("", "4"):
        raise Wrong(f"{what}: 'uuid' makes version 4 only")


def _digest(name: str, arguments: tuple[str, ...], what: str) -> None:
    try:
        size = hashlib.new(arguments[0].lower(), usedforsecurity=False).digest_size
    except ValueError:
        size = 0
    if not size:  # 0, too, for algorithms with an output of any length
        raise Wrong(f"{what}: '{name}': unknown algorithm '{arguments[0]}'{did_you_mean(arguments[0], DIGESTS)}")


def _sha2(name: str, arguments: tuple[str, ...], what: str) -> None:
    if arguments and arguments[0] not in ("224", "256", "384", "512"):
        raise Wrong(f"{what}: 'sha2' is of 224, 256, 384 or 512 bits, not '{arguments[0]}'")


def _hexadecimal(name: str, arguments: tuple[str, ...], what: str) -> None:
    if not re.match(r"(?:[0-9A-Fa-f]{2})+\Z", arguments[0]):
        raise Wrong(f"{what}: '{name}' takes pairs of hexadecimal digits, not '{arguments[0]}'")


def _address(name: str, arguments: tuple[str, ...], what: str) -> None:
    _read_address(arguments[0], 4 if name == "ipv4" else 6, f"{what}: '{arguments[0]}'")


def _read_address(text: str, version: int, what: str) -> None:
    try:
        if "%" in text:
            raise ValueError
        (IPv4Address if version == 4 else IPv6Address)(text)
    except ValueError:
        raise Wrong(f"{what} is no IPv{version} address") from None


def _mask(name: str, arguments: tuple[str, ...], what: str) -> None:
    for argument, version, bits, sign in zip(arguments, (4, 6), (32, 128), ".:", strict=False):
        if sign in argument:
            _read_address(argument, version, f"{what}: the mask '{argument}' of 'ipmask'")
        elif not re.match(r"[0-9]{1,3}\Z", argument) or int(argument) > bits:
            raise Wrong(f"{what}: 'ipmask' takes a number of bits up to {bits}, or a mask, not '{shortened(argument)}'")


def _truth(name: str, arguments: tuple[str, ...], what: str) -> None:
    if arguments[0].lower() not in ("true", "false", "1", "0"):
        raise Wrong(f"{what}: 'bool' takes true or false, not '{arguments[0]}'")


def _dn(name: str, arguments: tuple[str, ...], what: str) -> None:
    if len(arguments) > 2 and arguments[2] != "rfc2253":
        raise Wrong(f"{what}: the format of '{name}' is rfc2253, not '{arguments[2]}'")


def _json_path(name: str, arguments: tuple[str, ...], what: str) -> None:
    if not arguments[0] and name != "json_query":
        return  # without a path it is the whole
    try:
        read_path(arguments[0])
    except Wrong as wrong:
        raise Wrong(f"{what}: '{name}': {wrong}") from None
    if len(arguments) > 1 and arguments[1] not in ("", "int"):
        raise Wrong(f"{what}: '{name}' gives a number with 'int', and else what is there: not '{arguments[1]}'")


def _token(name: str, arguments: tuple[str, ...], what: str) -> None:
    algorithm, key = arguments
    if not is_variable(algorithm) and algorithm not in ALGORITHMS:
        raise Wrong(f"{what}: '{name}': unknown algorithm '{algorithm}'{did_you_mean(algorithm, ALGORITHMS)}")
    if algorithm == "none":
        raise Wrong(f"{what}: '{name}': with 'none' whoever sends a token without a signature is let in")
    if is_variable(algorithm) or algorithm.startswith("HS") or is_variable(key):
        return  # perhaps a secret
    try:
        read_key(key)
    except Wrong as wrong:
        raise Wrong(f"{what}: '{name}': {wrong}") from None


def _chunks(name: str, arguments: tuple[str, ...], what: str) -> None:
    separator, size, truncate = (*arguments, "", "", "")[:3]
    if name != "be2hex" and not 1 <= int(size or 0) <= 8:
        raise Wrong(f"{what}: '{name}' reads 1 to 8 bytes at a time, not '{size}'")
    if name == "be2hex" and int(size or 0) <= 0 and (separator or truncate not in ("", "0")):
        raise Wrong(f"{what}: '{name}' needs the number of bytes that stand together, above 0, not '{size}'")
    if truncate not in ("", "0", "1"):
        raise Wrong(f"{what}: '{name}' leaves out what is no whole group with 1, not with '{truncate}'")


def _controls(name: str, arguments: tuple[str, ...], what: str) -> None:
    text = arguments[0]
    if text in ("", "any", "http"):
        return
    if (
        not re.match(r"(?:0[xX][0-9a-fA-F]{1,9}|[0-9]{1,10})\Z", text)
        or int(text, 16 if "x" in text.lower() else 10) >= 2**33
    ):
        raise Wrong(f"{what}: '{name}' takes any, http, or a mask of 33 bits such as 0x2401, not '{text}'")


def _sealed(name: str, arguments: tuple[str, ...], what: str) -> None:
    if arguments[0] not in ("128", "192", "256"):
        raise Wrong(f"{what}: '{name}' has keys of 128, 192 or 256 bits, not '{arguments[0]}'")
    for argument in arguments[1:]:
        if not is_variable(argument) and not re.match(r"[A-Za-z0-9+/]*={0,2}\Z", argument):
            raise Wrong(f"{what}: '{name}' takes base64 or variables, not '{argument}'")
    if name == "aes_gcm_enc" and not is_variable(arguments[3]):
        variable(arguments[3], f"{what}: '{name}' sets a variable to the tag")


def _asked(read: Callable[..., object]) -> Callable[[str, tuple[str, ...], str], None]:
    """Returns a check of arguments that `read` reads, which raises Wrong."""

    def check(name: str, arguments: tuple[str, ...], what: str) -> None:
        try:
            read(*arguments)
        except Wrong as wrong:
            raise Wrong(f"{what}: '{name}': {wrong}") from None

    return check


def _number_of_field(numbers: str, kind: str = "") -> None:
    field_numbers(numbers)
    if kind:
        one_of(kind, TYPES, "the type of a number")


def _secret(secret: str) -> None:
    if not is_variable(secret) and not re.match(r"[A-Za-z0-9+/]+={0,2}\Z", secret):
        raise Wrong("it takes a secret in base64, or a variable")


def _jwk(key: str) -> None:
    if not is_variable(key):
        read_jwk(key.encode("utf-8", "surrogateescape"))


def _forwarded(name: str, arguments: tuple[str, ...], what: str) -> None:
    if arguments[0] not in ("proto", "host", "for", "by"):
        raise Wrong(f"{what}: '{name}' is of proto, host, for or by, not of '{arguments[0]}'")


def _item(name: str, arguments: tuple[str, ...], what: str) -> None:
    if len(arguments) < 2 or not "".join(arguments[1:]):
        raise Wrong(f"{what}: '{name}' needs a variable or a text that is added")
    if arguments[1]:
        variable(arguments[1], what)


def _parameter(name: str, arguments: tuple[str, ...], what: str) -> None:
    if not arguments[0]:
        raise Wrong(f"{what}: '{name}' needs the name of a parameter")
    if len(arguments) > 1 and not re.match(r"(?:0x[0-9a-fA-F]{2}|[\x00-\x7f])\Z", arguments[1]):
        raise Wrong(f"{what}: '{name}' takes one character, or its number such as 0x26, not '{arguments[1]}'")


def _languages(name: str, arguments: tuple[str, ...], what: str) -> None:
    if not arguments[0].strip(";"):
        raise Wrong(f"{what}: '{name}' needs languages, with ';' between them")


_ARGUMENTS: dict[str, Callable[[str, tuple[str, ...], str], None]] = {
    "var": _is_variable,
    **dict.fromkeys(MAPS, _map),
    "strcmp": _is_variable,
    "set-var": _variable_to_set,
    "unset-var": _is_variable,
    "hmac": _hmac,
    "uuid": _uuid,
    "secure_memcmp": _is_variable,
    "concat": _concat,
    "field": _cut,
    "word": _cut,
    "url_enc": _encoding,
    "query": _question_mark,
    "json": _code,
    "meth": _method,
    "date": _unit,
    **dict.fromkeys(("accept_date", "request_date"), _time_unit),
    **dict.fromkeys(("bc_rtt", "bc_rttvar", "fc_rtt", "fc_rttvar"), _fine_unit),
    "http_date": _unit,
    "regsub": _regular,
    "digest": _digest,
    "sha2": _sha2,
    "bin": _hexadecimal,
    "ipv4": _address,
    "ipv6": _address,
    "ipmask": _mask,
    **dict.fromkeys(("json_query", "jwt_header_query", "jwt_payload_query"), _json_path),
    **dict.fromkeys(("jwt_verify", "jwt_verify_cert"), _token),
    **dict.fromkeys(("be2dec", "le2dec", "be2hex"), _chunks),
    **dict.fromkeys(("aes_gcm_dec", "aes_gcm_enc", "aes_cbc_dec", "aes_cbc_enc"), _sealed),
    **dict.fromkeys(("protobuf", "ungrpc"), _asked(_number_of_field)),
    "fc_pp_tlv": _asked(type_number),
    "fix_tag_value": _asked(fix_tag),
    "mqtt_field_value": _asked(mqtt_field),
    "jwt_decrypt_secret": _asked(_secret),
    "jwt_decrypt_jwk": _asked(_jwk),
    "jwt_decrypt_cert": _asked(read_private_key),
    "when": _asked(lambda *arguments: read_outcome(arguments)),
    "debug": _asked(lambda *arguments: read_sink(arguments)),
    "has_ctl": _controls,
    "rfc7239_field": _forwarded,
    "add_item": _item,
    "param": _parameter,
    "language": _languages,
    "bool": _truth,
    **dict.fromkeys(("add", "sub", "mul", "div", "mod", "and", "or", "xor", "bytes"), _number_or_variable),
    **dict.fromkeys(
        (
            f"{prefix}{kind}hdr{what}"
            for prefix in ("", "req.", "res.")
            for kind in ("", "f")
            for what in ("", "_val", "_ip")
        ),
        _header,
    ),
    **dict.fromkeys([f"ssl_{each}_dn" for each in ("c_s", "c_i", "c_r", "f_s", "f_i", "s_s", "s_i")], _dn),
}
