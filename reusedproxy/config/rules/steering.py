"""Defines the actions that change how a request is carried, and not what it says: their values, and their readers.

They end a connection, hold a request back, say how long one may wait and how often it is repeated, from where it came
and where it goes. `config.rules.actions` has the other actions; `rules.steering` compiles these.
"""

from __future__ import annotations

import re

from attrs import frozen

from reusedproxy.config.language import units
from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.files import list_name
from reusedproxy.config.language.header_names import TOKEN, header_name
from reusedproxy.config.language.report import Wrong, did_you_mean, not_done, one_of
from reusedproxy.config.model.rules import Action, Format
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.expressions import type_of
from reusedproxy.config.rules.reading import FRAMING, HOP, Reading
from reusedproxy.config.rules.samples import CASTS, RESPONSE
from reusedproxy.config.rules.variables import variable


@frozen
class Drop(Action):
    """Holds `reject` and `silent-drop`: the client's connection ends without an answer. `silent`: the client is not
    told so."""

    answers = True
    ends = True

    silent: bool


@frozen
class SetMethod(Action):
    """Holds `set-method`."""

    value: Format


@frozen
class SetAddress(Action):
    """Holds `set-src`, `set-src-port`, `set-dst` or `set-dst-port`: `part` is "src" or "dst"."""

    part: str
    port: bool
    value: Expression


@frozen
class SetTimeout(Action):
    """Holds `set-timeout`: `which` is HAProxy's word, `value` seconds, or an expression of milliseconds."""

    which: str
    value: float | Expression


@frozen
class SetRetries(Action):
    """Holds `set-retries`, or `disable-l7-retry`, whose `value` is None."""

    value: int | Expression | None


@frozen
class MarkPackets(Action):
    """Holds `set-mark` or `set-tos` (`what` is "mark" or "tos"): of packets to the client."""

    what: str
    value: int | Expression


@frozen
class NormalizeURI(Action):
    """Holds `normalize-uri`; `option` is "strict", "full" or ""."""

    normalizer: str
    option: str = ""


@frozen
class SetStrictness(Action):
    """Holds `strict-mode`."""

    strict: bool


@frozen
class Hint(Action):
    """Holds `early-hint`: a field of a 103 answer."""

    name: str
    value: Format


@frozen
class WaitForBody(Action):
    """Holds `wait-for-body`; `at_least` 0: all of it."""

    seconds: float
    at_least: int = 0


@frozen
class Pause(Action):
    """Holds `pause`: seconds, or an expression of milliseconds."""

    value: float | Expression


@frozen
class EditMap(Action):
    """Holds `set-map`, or `del-map`, whose `value` is None: `path` is the file that the map was read from."""

    path: str
    key: Format
    value: Format | None


@frozen
class EditList(Action):
    """Holds `add-acl`, or `del-acl` (`adds` False): `path` is the file that conditions have read patterns from."""

    path: str
    key: Format
    adds: bool


@frozen
class Resolve(Action):
    """Holds `do-resolve`: the variable that gets an address, the `resolvers` section that is asked, the family to
    `prefer` ("ipv4", "ipv6"), and the name."""

    variable: str
    resolvers: str
    prefer: str
    name: Expression


@frozen
class Nothing(Action):
    """Holds an action that asks for what is done anyhow, or for nothing that could be seen."""


NORMALIZERS = {
    "fragment-encode": "",
    "fragment-strip": "",
    "path-merge-slashes": "",
    "path-strip-dot": "",
    "path-strip-dotdot": "full",
    "percent-decode-unreserved": "strict",
    "percent-to-uppercase": "strict",
    "query-sort-by-name": "",
}
TIMEOUTS = ("server", "tunnel", "client", "connect", "queue", "tarpit")
#: Those that can be set when an answer has come.
_OF_ANSWERS = ("server", "tunnel", "client")
#: As in HAProxy, only a section with servers may set these.
OF_SERVERS = ("server", "tunnel")


def read_drop(reading: Reading) -> Action:
    reading.exactly()
    return Drop(reading.action == "silent-drop")


def read_method(reading: Reading) -> Action:
    (text,) = reading.exactly("a method")
    value = reading.format(text)
    if value.constant is not None and not TOKEN.match(value.constant):
        raise Wrong(f"{reading.what}: '{value.constant}' cannot be a method")
    return SetMethod(value)


def read_address(reading: Reading) -> Action:
    """Reads `set-src` and its like. Raises Wrong."""
    _, part, *rest = reading.action.split("-")
    wanted = "int" if rest else "ip"
    return SetAddress(part, bool(rest), _typed(reading, wanted, "a port" if rest else "an address"))


def _typed(reading: Reading, wanted: str, what: str) -> Expression:
    (text,) = reading.exactly(f"an expression for {what}")
    return _castable(reading, reading.expression(text), wanted, what)


def _castable(reading: Reading, value: Expression, wanted: str, what: str) -> Expression:
    if wanted not in CASTS[type_of(value)]:
        raise Wrong(f"{reading.what}: '{value}' is not {what} and cannot become one")
    return value


def read_timeout(reading: Reading) -> Action:
    known = _OF_ANSWERS if reading.where == RESPONSE else TIMEOUTS
    which, text = reading.exactly(f"one of {', '.join(known)}", "a time or an expression")
    return SetTimeout(one_of(which, known, reading.what), _time(reading, text))


def _time(reading: Reading, text: str) -> float | Expression:
    if re.match(r"[0-9]", text):
        return units.positive_seconds(text, reading.what)
    return _castable(reading, reading.expression(text), "int", "a number of milliseconds")


def read_retries(reading: Reading) -> Action:
    (text,) = reading.exactly("a number or an expression")
    if re.match(r"[0-9]+\Z", text):
        return SetRetries(units.integer(text, reading.what, 0, 100))
    return SetRetries(_castable(reading, reading.expression(text), "int", "a number"))


def read_no_retries(reading: Reading) -> Action:
    reading.exactly()
    return SetRetries(None)


def read_mark(reading: Reading) -> Action:
    """Reads `set-mark`, `set-tos` and their newer names. Raises Wrong."""
    (text,) = reading.exactly("a number")
    what = reading.action.rpartition("-")[2]
    most = 0xFF if what == "tos" else 0xFFFFFFFF
    if re.match(r"[0-9]", text):
        if not re.match(r"(0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,10})\Z", text) or (number := int(text, 0)) > most:
            raise Wrong(f"{reading.what}: '{text}' is no number up to {most}")
        return MarkPackets(what, number)
    return MarkPackets(what, _castable(reading, reading.expression(text), "int", "a number"))


def read_nice(reading: Reading) -> Action:
    (text,) = reading.exactly("a number from -1024 to 1024")
    units.integer(text, reading.what, -(2**31), 2**31 - 1)
    return _without_effect(reading)


def read_handshake(reading: Reading) -> Action:
    """Reads `wait-for-handshake`: no request is ever taken before its handshake is complete. Raises Wrong."""
    reading.exactly()
    return _without_effect(reading)


def _without_effect(reading: Reading) -> Action:
    keyword = reading.place_words.split("'")[1]
    reading.report.without_effect(f"{keyword} {reading.action}", reading.line.place)
    return Nothing()


def read_normalizer(reading: Reading) -> Action:
    if not reading.words:
        raise Wrong(f"{reading.what} needs a normalizer: {', '.join(NORMALIZERS)}")
    normalizer, *rest = reading.words
    if normalizer not in NORMALIZERS:
        raise Wrong(f"{reading.what}: unknown normalizer '{normalizer}'{did_you_mean(normalizer, NORMALIZERS)}")
    option = NORMALIZERS[normalizer]
    if rest and (len(rest) > 1 or rest[0] != option):
        takes = f"'{option}'" if option else "nothing"
        raise Wrong(f"{reading.what}: {takes} can follow '{normalizer}', not '{' '.join(rest)}'")
    return NormalizeURI(normalizer, option if rest else "")


def read_strictness(reading: Reading) -> Action:
    (word,) = reading.exactly("'on' or 'off'")
    return SetStrictness(one_of(word, ("on", "off"), reading.what) == "on")


def read_hint(reading: Reading) -> Action:
    name, value = reading.exactly("the name of a header", "its value")
    header_name(name, reading.what)
    if name.lower() in FRAMING | HOP:
        raise Wrong(f"{reading.what}: '{name}' cannot stand in an answer that another one follows")
    return Hint(name, reading.format(value))


def read_body_wait(reading: Reading) -> Action:
    said: dict[str, str] = {}
    rest = list(reading.words)
    while rest:
        word = rest.pop(0)
        if word == "use-large-buffer":
            raise Wrong(f"{reading.what}: {not_done(word, 'word', HINTS[word])}")
        if word not in ("time", "at-least"):
            raise Wrong(f"{reading.what}: unknown word '{word}'{did_you_mean(word, ('time', 'at-least'))}")
        if not rest:
            raise Wrong(f"{reading.what}: '{word}' needs a value")
        said[word] = rest.pop(0)
    if "time" not in said:
        raise Wrong(f"{reading.what} needs 'time' and for how long: wait-for-body time 1s, say")
    at_least = units.size(said["at-least"], f"{reading.what}: 'at-least'") if "at-least" in said else 0
    return WaitForBody(units.positive_seconds(said["time"], f"{reading.what}: 'time'"), at_least)


def read_pause(reading: Reading) -> Action:
    (text,) = reading.exactly("a time or an expression")
    return Pause(_time(reading, text))


def read_map(reading: Reading) -> Action:
    """Reads `set-map(FILE) KEY VALUE` and `del-map(FILE) KEY`. Raises Wrong."""
    sets = reading.action == "set-map"
    names = ("the name of a file: (/etc/maps/a.map)", "a key", *(("a value",) if sets else ()))
    path, key, *value = reading.exactly(*names)
    if not re.match(r"\(.+\)\Z", path):
        raise Wrong(f"{reading.what} needs the name of a file: {reading.action}(/etc/maps/a.map)")
    return EditMap(list_name(path[1:-1]).name, reading.format(key), reading.format(value[0]) if sets else None)


def read_list(reading: Reading) -> Action:
    """Reads `add-acl(FILE) KEY` and `del-acl(FILE) KEY`. Raises Wrong."""
    path, key = reading.exactly("the name of a file: (/etc/lists/a.lst)", "a pattern")
    if not re.match(r"\(.+\)\Z", path):
        raise Wrong(f"{reading.what} needs the name of a file: {reading.action}(/etc/lists/a.lst)")
    return EditList(list_name(path[1:-1]).name, reading.format(key), reading.action == "add-acl")


def read_resolve(reading: Reading) -> Action:
    """Reads `do-resolve(VARIABLE,RESOLVERS[,ipv4|ipv6]) EXPRESSION`. Raises Wrong."""
    said, text = reading.exactly("a variable and a 'resolvers' section: (txn.ip,mydns)", "an expression for a name")
    parts = said[1:-1].split(",") if said.startswith("(") and said.endswith(")") else []
    if not 2 <= len(parts) <= 3:
        raise Wrong(f"{reading.what} is followed by a variable and a 'resolvers' section: (txn.ip,mydns)")
    prefer = one_of(parts[2], ("ipv4", "ipv6"), reading.what) if len(parts) == 3 else "ipv6"
    name = _castable(reading, reading.expression(text), "str", "a name")
    return Resolve(variable(parts[0], reading.what), parts[1], prefer, name)


#: Of `http-request`; those of several places are in `EVERYWHERE`, too.
STEERING = {
    **dict.fromkeys(("reject", "silent-drop"), read_drop),
    "set-method": read_method,
    **dict.fromkeys(("set-src", "set-src-port", "set-dst", "set-dst-port"), read_address),
    "set-timeout": read_timeout,
    "set-retries": read_retries,
    "disable-l7-retry": read_no_retries,
    **dict.fromkeys(("set-mark", "set-tos", "set-fc-mark", "set-fc-tos"), read_mark),
    "set-nice": read_nice,
    "wait-for-handshake": read_handshake,
    "normalize-uri": read_normalizer,
    "strict-mode": read_strictness,
    "early-hint": read_hint,
    "wait-for-body": read_body_wait,
    "pause": read_pause,
    **dict.fromkeys(("set-map", "del-map"), read_map),
    **dict.fromkeys(("add-acl", "del-acl"), read_list),
    "do-resolve": read_resolve,
}
#: Of `http-response`, too.
EVERYWHERE = {
    word: STEERING[word]
    for word in (
        "silent-drop",
        "set-mark",
        "set-tos",
        "set-fc-mark",
        "set-fc-tos",
        "set-nice",
        "strict-mode",
        "set-map",
        "del-map",
        "add-acl",
        "del-acl",
        "set-timeout",
        "wait-for-body",
        "pause",
    )
}
