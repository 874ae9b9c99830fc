"""Checks and reads packets of MQTT 3.1, 3.1.1 and 5.0 (manual, section 7.3.1: `mqtt_is_valid`, `mqtt_field_value`).

Only the first packet of either side can be read, CONNECT and CONNACK. The bytes come from a client, and may still be
coming: where rules wait for more, a packet that is not here as a whole is not judged before. It must never know what a
field means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reusedproxy.config.rules.messages import CONNACK, CONNECT, mqtt_field
from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.waiting import settle, wait_for_more

Convert = Callable[[Any, Facts], Sample]
#: By name, or by the number of a property: numbers, and texts as they are.
Fields = dict[str, int | bytes]

#: The type whose flags may be any, and those of others that are not 0 (MQTT 5.0, section 2.1.3).
_PUBLISH, _FLAGS = 3, {6: 2, 8: 2, 10: 2}
_NAMES = (b"mqtt", b"mqisdp")
_VERSIONS = (3, 4, 5)
_NEWEST = 5
#: Flags of a CONNECT (MQTT 5.0, section 3.1.2.3).
_RESERVED, _WILL, _WILL_QOS, _WILL_RETAIN, _PASSWORD, _USERNAME = 0x01, 0x04, 0x18, 0x20, 0x40, 0x80

#: How the value of a property is written (MQTT 5.0, section 2.2.2.2): bytes of its number, or a text behind its length.
#: A flag is 0 or 1; what has a + is not 0, or not empty.
_FLAG, _TWO, _FOUR, _TWO_AT_LEAST_1, _FOUR_AT_LEAST_1, _TEXT, _TEXT_AT_LEAST_1 = "1", "2", "4", "2+", "4+", "s", "s+"
_OF_CONNECT = {
    **{17: _FOUR, 33: _TWO_AT_LEAST_1, 39: _FOUR_AT_LEAST_1, 34: _TWO, 25: _FLAG, 23: _FLAG, 21: _TEXT, 22: _TEXT},
}
_OF_WILL = {24: _FOUR, 1: _FLAG, 2: _FOUR, 3: _TEXT, 8: _TEXT, 9: _TEXT}
_OF_CONNACK = {
    **{17: _FOUR, 33: _TWO_AT_LEAST_1, 36: _FLAG, 37: _FLAG, 39: _FOUR_AT_LEAST_1, 18: _TEXT_AT_LEAST_1, 34: _TWO},
    **{31: _TEXT, 40: _FLAG, 41: _FLAG, 42: _FLAG, 19: _TWO, 26: _TEXT, 28: _TEXT, 21: _TEXT, 22: _TEXT},
}
#: A name and a value of the user's, any number of times.
_OF_USERS = 38


class _Invalid(Exception):
    """Says that this is no packet that can be read."""


class _Incomplete(Exception):
    """Says that its end is not here."""


class _Reader:
    """Reads one packet, or its properties, from the front. Each method raises _Invalid beyond the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    @property
    def over(self) -> bool:
        return self.at == len(self._data)

    def take(self, size: int) -> bytes:
        taken = self._data[self.at : self.at + size]
        if len(taken) < size:
            raise _Invalid
        self.at += size
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self) -> bytes:
        return self.take(self.number(2))

    def varying(self) -> int:
        """Returns a number of variable length (MQTT 5.0, section 1.5.5)."""
        number = 0
        for count in range(4):
            byte = self.number(1)
            number |= (byte & 0x7F) << 7 * count
            if byte < 0x80:
                return number
        raise _Invalid

    def properties(self, kinds: Mapping[int, str]) -> Fields:
        """Returns the properties that follow, of these kinds, and 0 or b"" for each that is not there."""
        inner, found = _Reader(self.take(self.varying())), set()
        fields: Fields = {str(number): b"" if kind.startswith(_TEXT) else 0 for number, kind in kinds.items()}
        while not inner.over:
            number = inner.number(1)
            if number == _OF_USERS:
                inner.text()
                inner.text()
                continue
            kind = kinds.get(number)
            if kind is None or number in found:
                raise _Invalid
            found.add(number)
            value = inner.text() if kind.startswith(_TEXT) else inner.number(int(kind[0]))
            if (kind.endswith("+") and not value) or (kind == _FLAG and value not in (0, 1)):
                raise _Invalid
            fields[str(number)] = value
        return fields


def read_packet(data: bytes) -> tuple[int, Fields]:
    """Returns the type of the first packet, and its fields. Raises _Invalid, _Incomplete."""
    if len(data) < 2:
        raise _Incomplete
    kind, flags = data[0] >> 4, data[0] & 15
    if not kind or (kind != _PUBLISH and flags != _FLAGS.get(kind, 0)):
        raise _Invalid
    head = _Reader(data[1:5])
    try:
        size = head.varying()
    except _Invalid:
        if len(data) < 5 and data[-1] & 0x80:
            raise _Incomplete from None
        raise
    begin = 1 + head.at
    if len(data) < begin + size:
        raise _Incomplete
    if kind not in (CONNECT, CONNACK):
        raise _Invalid
    reader = _Reader(data[begin : begin + size])
    fields = _connect(reader) if kind == CONNECT else _connack(reader, size)
    if not reader.over:
        raise _Invalid
    return kind, fields


def _connect(reader: _Reader) -> Fields:
    name, version, flags = reader.text(), reader.number(1), reader.number(1)
    if name.lower() not in _NAMES or version not in _VERSIONS or flags & _RESERVED:
        raise _Invalid
    if flags & (_WILL | _WILL_QOS | _WILL_RETAIN) == _WILL_QOS:
        raise _Invalid
    fields: Fields = {"protocol_name": name, "protocol_version": version, "flags": flags, "keepalive": reader.number(2)}
    if version == _NEWEST:
        fields |= reader.properties(_OF_CONNECT)
        if fields["22"] and not fields["21"]:
            raise _Invalid  # data without a method
    fields["client_identifier"] = reader.text()
    if flags & _WILL:
        if version == _NEWEST:
            fields |= reader.properties(_OF_WILL)
        fields |= {"will_topic": reader.text(), "will_payload": reader.text()}
    if flags & _USERNAME:
        fields["username"] = reader.text()
    if flags & _PASSWORD:
        fields["password"] = reader.text()
    return fields


def _connack(reader: _Reader, size: int) -> Fields:
    flags, reason = reader.number(1), reader.number(1)
    if flags & 0xFE:
        raise _Invalid
    if size == 2:
        return {"flags": flags, "reason_code": reason, "protocol_version": 4}
    return {"flags": flags, "reason_code": reason, "protocol_version": 5, **reader.properties(_OF_CONNACK)}


def _is_valid() -> Convert:
    def convert(sample: bytes, facts: Facts) -> Sample:
        try:
            read_packet(sample)
            valid = True
        except _Incomplete:
            wait_for_more(facts.inspected)
            return None
        except _Invalid:
            valid = False
        settle(facts.inspected)
        return valid

    return convert


def _field_value(packet: str, field: str) -> Convert:
    wanted, name = mqtt_field(packet, field)

    def convert(sample: bytes, facts: Facts) -> Sample:
        try:
            kind, fields = read_packet(sample)
        except _Incomplete:
            wait_for_more(facts.inspected)
            return None
        except _Invalid:
            settle(facts.inspected)
            return None
        settle(facts.inspected)
        value = fields.get(name) if kind == wanted else None
        return b"%d" % value if isinstance(value, int) else value or None

    return convert


MQTT_CONVERTERS: dict[str, Callable[..., Convert]] = {"mqtt_is_valid": _is_valid, "mqtt_field_value": _field_value}
