"""Lists what can be asked of messages of FIX and MQTT: tags, types of packets and their fields, by their names in
HAProxy. Data and syntax only; messages are read by `reusedproxy.rules.samples`."""

from __future__ import annotations

import re

from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.language.report import Wrong, did_you_mean

#: Tags of FIX that have a name in HAProxy.
FIX_TAGS = {
    **{"BeginString": 8, "BodyLength": 9, "CheckSum": 10},
    **{"MsgType": 35, "SenderCompID": 49, "TargetCompID": 56},
}
#: The types of packets of MQTT that can be read: those that come first, from a client and from a server.
CONNECT, CONNACK = 1, 2
MQTT_TYPES = {
    **{"connect": CONNECT, "connack": CONNACK, "publish": 3, "puback": 4, "pubrec": 5, "pubrel": 6, "pubcomp": 7},
    **{"subscribe": 8, "suback": 9, "unsubscribe": 10, "unsuback": 11, "pingreq": 12, "pingresp": 13},
    **{"disconnect": 14, "auth": 15},
}
#: Fields by name, and properties of MQTT 5.0 by number.
MQTT_FIELDS = {
    CONNECT: words(
        """
        flags protocol_name protocol_version client_identifier will_topic will_payload username password keepalive
        17 33 39 34 25 23 21 22 24 1 2 3 8 9
        """
    ),
    CONNACK: words("flags protocol_version reason_code 17 33 36 37 39 18 34 31 40 41 42 19 26 28 21 22"),
}
_NUMBER = re.compile(r"[0-9]{1,9}\Z")
#: The manual's number of the delay of a will, beside that of the specification (MQTT 5.0, section 3.1.3.2.2).
_ALIKE = {"18": "24"}


def fix_tag(text: str) -> int:
    """Returns the number of a tag of FIX. Raises Wrong."""
    if _NUMBER.match(text) and int(text):
        return int(text)
    for name, number in FIX_TAGS.items():
        if name.lower() == text.lower():
            return number
    raise Wrong(f"unknown tag '{text}'{did_you_mean(text, FIX_TAGS)}: a number, or one of {', '.join(FIX_TAGS)}")


def mqtt_field(kind: str, field: str) -> tuple[int, str]:
    """Returns the number of a packet's type, and the field's name, or number. Raises Wrong."""
    number = int(kind) if _NUMBER.match(kind) else MQTT_TYPES.get(kind.lower(), 0)
    fields = MQTT_FIELDS.get(number)
    if fields is None:
        raise Wrong(f"'{kind}' is no packet that can be asked for its fields: connect and connack are")
    name = field.lower()
    if number == CONNECT:
        name = _ALIKE.get(name, name)
    if name not in fields:
        raise Wrong(
            f"unknown field '{field}' of {'connect' if number == CONNECT else 'connack'}{did_you_mean(name, fields)}"
        )
    return number, name
