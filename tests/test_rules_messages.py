"""What converters find in messages of other protocols: Protocol Buffers, gRPC, FIX and MQTT."""

from __future__ import annotations

import struct
from time import process_time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.rules.facts import Binary, Sample
from reusedproxy.rules.samples.compile import compiled
from reusedproxy.rules.waiting import Incomplete
from tests.rulefakes import Seen

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def converted(call: str, data: bytes, inspected: Any = None) -> Sample:
    facts = Seen(HEAD)
    facts.variables["txn.x"] = Binary(data)
    facts.inspected = inspected
    return compiled(read_expression(f"var(txn.x),{call}", "here"))(facts)


class Coming:
    """Bytes that are still coming, or are all there."""

    def __init__(self, final: bool = False) -> None:
        self.final = final
        self.changes = True


def varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*made, number))


def field(number: int, kind: int, value: bytes) -> bytes:
    return varint(number << 3 | kind) + (varint(len(value)) if kind == 2 else b"") + value


POINT = field(1, 0, varint(7)) + field(2, 0, varint(2**64 - 3))
MESSAGE = (
    field(1, 2, b"text")
    + field(48, 2, field(59, 2, POINT))
    + field(5, 5, struct.pack("<f", -2.5))
    + field(6, 1, struct.pack("<q", -9))
    + field(7, 0, varint(5))
    + field(9, 5, struct.pack("<i", -1))
    + field(8, 1, struct.pack("<d", float("nan")))
)


class ProtobufTests(SynchronousTestCase):
    def test_fields_are_found(self) -> None:
        for arguments, value in (
            ("1", b"text"),
            ("48.59.1,int32", 7),
            ("48.59.2,int64", -3),
            ("48.59.2,uint64", -3),  # as in HAProxy, whose numbers have 64 bits with a sign
            ("48.59", POINT),
            ("48.59.3", None),
            ("48.60.1", None),
            ("5,float", -2),
            ("6,sfixed64", -9),
            ("6", struct.pack("<q", -9)),
            ("7,sint32", -3),
            ("7,bool", 5),
            ("7", b"\5"),
            ("7,fixed32", None),  # it is none
            ("1,int32", None),
            ("7.1", None),
            ("9,fixed32", 2**32 - 1),
            ("9,sfixed32", -1),
            ("8,double", None),  # it is no number
            ("10", None),
        ):
            found = converted(f"protobuf({arguments})", MESSAGE)
            self.assertEqual(found, value, arguments)

    def test_what_is_cut_off_has_no_value(self) -> None:
        for end in range(len(MESSAGE)):
            self.assertIn(converted("protobuf(48.59.1,int32)", MESSAGE[:end]), (7, None), end)
        self.assertIsNone(converted("protobuf(7)", b"\x38" + b"\xff" * 11))
        self.assertIsNone(converted("protobuf(7)", b"\x3b\0"))  # a group

    def test_messages_of_grpc(self) -> None:
        """Each behind its head; the first that has the field counts."""
        one, two = field(2, 0, b"\1"), field(1, 0, b"\2") + field(1, 0, b"\3")
        framed = b"".join(b"\0" + len(each).to_bytes(4, "big") + each for each in (one, two))
        self.assertEqual(converted("ungrpc(1,int32)", framed), 2)
        self.assertEqual(converted("ungrpc(2,int32)", framed), 1)
        self.assertIsNone(converted("ungrpc(1,int32)", framed[:-1]))
        self.assertIsNone(converted("ungrpc(3)", framed))

    @given(st.binary(max_size=60))
    def test_no_bytes_break_it(self, data: bytes) -> None:
        for call in ("protobuf(1.2)", "protobuf(1,double)", "protobuf(1,int32)", "ungrpc(1)"):
            converted(call, data)


def fix(
    *fields: tuple[int, str], version: str = "FIX.4.2", length: int | None = None, total: int | None = None
) -> bytes:
    body = "".join(f"{tag}={value}\1" for tag, value in fields)
    text = f"8={version}\1" + f"9={len(body) if length is None else length}\1{body}"
    return f"{text}10={sum(text.encode()) % 256 if total is None else total:03d}\1".encode()


ORDER = fix((35, "D"), (49, "ME"), (56, "YOU"), (10001, "own"))


class FixTests(SynchronousTestCase):
    def test_valid_and_invalid_messages(self) -> None:
        for message, valid in (
            (ORDER, True),
            (ORDER + b"more", True),
            (fix((35, "D"), (1600, "x")), False),  # no tag of FIX 4.2
            (fix((35, "D"), (1600, "x"), version="FIXT.1.1"), True),
            (fix((35, "D"), version="FIX.9.9"), False),
            (fix((49, "ME"), (35, "D")), False),
            (fix((35, "D"), (49, "ME"), length=3), False),
            (fix((35, "D"), (49, "ME"), total=7), False),
            (fix((35, "D"), (49, "")), False),
            (b"9=5\1" + ORDER, False),
            (b"x=5\1" + ORDER, False),
            (ORDER.replace(b"35=D", b"00=D"), False),
            (ORDER[:-1], None),
            (ORDER[:40], None),
            (ORDER[:10], None),
            (b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", None),
        ):
            self.assertIs(converted("fix_is_valid", message), valid, message)

    def test_values(self) -> None:
        for tag, value in (("35", b"D"), ("msgtype", b"D"), ("49", b"ME"), ("TargetCompID", b"YOU"), ("50", None)):
            self.assertEqual(converted(f"fix_tag_value({tag})", ORDER), value, tag)
        self.assertIsNone(converted("fix_tag_value(11)", ORDER + b"11=late\1"))
        with self.assertRaisesRegex(Wrong, "unknown tag 'Msg': did you mean 'MsgType'"):
            read_expression("str(x),fix_tag_value(Msg)", "here")

    def test_what_is_not_here_as_a_whole_is_waited_for(self) -> None:
        """Until nothing more comes; what is complete is not looked at again."""
        for call in ("fix_is_valid", "fix_tag_value(50)"):
            with self.assertRaises(Incomplete):
                converted(call, ORDER[:-1], Coming())
            self.assertIsNone(converted(call, ORDER[:-1], Coming(final=True)))
            coming = Coming()
            converted(call, ORDER, coming)
            self.assertFalse(coming.changes, call)

    def test_no_look_at_a_long_message_that_comes_byte_by_byte_takes_long(self) -> None:
        """The fields before are not gone through again one by one."""
        long = b"8=FIX.4.2\x019=30000\x0135=D\x01" + b"1=1\x01" * 4000
        for call in ("fix_is_valid", "fix_tag_value(50)"):
            began = process_time()
            for size in range(len(long) - 400, len(long)):
                with self.assertRaises(Incomplete):
                    converted(call, long[:size], Coming())
            self.assertLess((process_time() - began) / 400, 0.002, call)


def text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def packet(kind: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((kind << 4,)) + varint(len(body)) + body


OLD = packet(1, text(b"MQTT"), b"\4\xc6\0\x3c", text(b"me"), text(b"will/t"), text(b"bye"), text(b"user"), text(b"pw"))
PROPERTIES = (
    b"\x11\0\0\0\x05" + b"\x21\0\x09" + b"\x19\1" + b"\x26" + text(b"k") + text(b"v") + b"\x15" + text(b"scram")
)
WILL = b"\x18\0\0\0\x07" + b"\x03" + text(b"plain")
NEW = packet(
    1, text(b"MQTT"), b"\5\x06\0\x3c", varint(len(PROPERTIES)), PROPERTIES, text(b"me"), varint(len(WILL)), WILL,
    text(b"will/t"), text(b"bye"),
)  # fmt: skip
ANSWER = packet(2, b"\1\0", varint(8), b"\x13\0\x1e" + b"\x12" + text(b"id"))


class MqttTests(SynchronousTestCase):
    def test_valid_and_invalid_packets(self) -> None:
        for data, valid in (
            (OLD, True),
            (NEW, True),
            (ANSWER, True),
            (packet(2, b"\0\0"), True),
            (packet(1, text(b"MQIsdp"), b"\3\2\0\x3c", text(b"me")), True),
            (OLD + b"more", True),
            (packet(1, text(b"HTTP"), b"\4\2\0\x3c", text(b"me")), False),
            (packet(1, text(b"MQTT"), b"\6\2\0\x3c", text(b"me")), False),
            (packet(1, text(b"MQTT"), b"\4\3\0\x3c", text(b"me")), False),
            (packet(1, text(b"MQTT"), b"\4\x18\0\x3c", text(b"me")), False),  # the quality of no will
            (packet(1, text(b"MQTT"), b"\4\2\0\x3c", text(b"me"), b"x"), False),
            (packet(1, text(b"MQTT"), b"\4\x80\0\x3c", text(b"me")), False),  # the name is missing
            (packet(1, text(b"MQTT"), b"\5\2\0\x3c\3\x21\0\0", text(b"me")), False),  # which is never 0
            (packet(1, text(b"MQTT"), b"\5\2\0\x3c\4\x19\1\x19\1", text(b"me")), False),  # twice
            (packet(1, text(b"MQTT"), b"\5\2\0\x3c\2\x19\2", text(b"me")), False),
            (packet(1, text(b"MQTT"), b"\5\2\0\x3c\5\x16" + text(b"xx"), text(b"me")), False),  # without a method
            (packet(1, text(b"MQTT"), b"\5\2\0\x3c\2\x7f\0", text(b"me")), False),
            (packet(2, b"\2\0"), False),
            (packet(3, b"\0\0"), False),
            (b"\x11" + OLD[1:], False),
            (b"\x10\xff\xff\xff\xff\x01", False),
            (OLD[:-1], None),
            (b"\x31\x05", None),  # which is none of the first, but says so only at its end
            (b"\x10\xff", None),
            (b"\x10", None),
        ):
            self.assertIs(converted("mqtt_is_valid", data), valid, data)

    def test_fields(self) -> None:
        for data, arguments, value in (
            (OLD, "connect,protocol_name", b"MQTT"),
            (OLD, "1,PROTOCOL_VERSION", b"4"),
            (OLD, "CONNECT,flags", b"198"),
            (OLD, "connect,keepalive", b"60"),
            (OLD, "connect,client_identifier", b"me"),
            (OLD, "connect,will_topic", b"will/t"),
            (OLD, "connect,will_payload", b"bye"),
            (OLD, "connect,username", b"user"),
            (OLD, "connect,password", b"pw"),
            (OLD, "connect,17", None),
            (OLD, "connack,flags", None),
            (NEW, "connect,17", b"5"),
            (NEW, "connect,33", b"9"),
            (NEW, "connect,39", b"0"),
            (NEW, "connect,25", b"1"),
            (NEW, "connect,21", b"scram"),
            (NEW, "connect,22", None),
            (NEW, "connect,24", b"7"),
            (NEW, "connect,18", b"7"),
            (NEW, "connect,3", b"plain"),
            (NEW, "connect,username", None),
            (ANSWER, "connack,flags", b"1"),
            (ANSWER, "2,reason_code", b"0"),
            (ANSWER, "connack,19", b"30"),
            (ANSWER, "connack,18", b"id"),
            (ANSWER, "connack,protocol_version", b"5"),
        ):
            self.assertEqual(converted(f"mqtt_field_value({arguments})", data), value, arguments)
        for arguments, why in (
            ("connect,topic", "unknown field 'topic' of connect"),
            ("publish,flags", "'publish' is no packet that can be asked for its fields"),
            ("99,flags", "'99' is no packet"),
        ):
            with self.assertRaisesRegex(Wrong, why):
                read_expression(f"str(x),mqtt_field_value({arguments})", "here")

    def test_what_is_not_here_as_a_whole_is_waited_for(self) -> None:
        for call in ("mqtt_is_valid", "mqtt_field_value(connect,username)"):
            with self.assertRaises(Incomplete):
                converted(call, OLD[:-1], Coming())
            self.assertIsNone(converted(call, OLD[:-1], Coming(final=True)))
            for data in (OLD, b"\x30\0"):
                coming = Coming()
                converted(call, data, coming)
                self.assertFalse(coming.changes, call)

    @given(st.binary(max_size=60), st.integers(0, len(NEW)))
    def test_no_bytes_break_it(self, data: bytes, at: int) -> None:
        for whole in (data, NEW[:at] + data + NEW[at + len(data) :]):
            converted("mqtt_is_valid", whole)
            converted("mqtt_field_value(connect,21)", whole)
