"""Implements the sample fetches that look at the bytes of a connection in `mode tcp` (manual, section 7.3.5).

Each raises Incomplete for what may still come, unless nothing more is waited for. In other places there are no bytes,
and no values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from reusedproxy.rules.facts import Binary, Facts, Inspected, Sample
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.waiting import wait_for_more
from reusedproxy.wire.client_hello import CLIENT_HELLO, BrokenHello, ClientHello, NotHello, read_version
from reusedproxy.wire.hello_lists import HelloLists, read_lists
from reusedproxy.wire.rdp import NoCookie, rdp_cookie

T = TypeVar("T")
Fetch = Callable[[Facts], Sample]
FetchAll = Callable[[Facts], Sequence[Sample]]
#: The bytes of one direction, so far.
Side = Callable[[Inspected], bytes]
#: How a record of a TLS handshake begins; servers may take any version behind it.
_TLS_HANDSHAKE = b"\x16"
#: Records that some servers drop before a hello, an alert and a change of the cipher, with the type of the one behind
#: them; and what may become such a beginning.
_BEFORE_HELLO = re.compile(rb"(?:\x15..\x00\x02[\x01\x02].|\x14..\x00\x01\x01)[\x14-\x16]", re.DOTALL)
_BEFORE_HELLO_BEGINS = re.compile(
    rb"(?:\x15(?:.(?:.(?:\x00(?:\x02(?:[\x01\x02].?)?)?)?)?)?|\x14(?:.(?:.(?:\x00(?:\x01\x01?)?)?)?)?)\Z", re.DOTALL
)


def _request(inspected: Inspected) -> bytes:
    return inspected.request_bytes


def _response(inspected: Inspected) -> bytes:
    return inspected.response_bytes


def _of(read: Callable[[Inspected], Sample]) -> Fetch:
    return lambda facts: None if facts.inspected is None else read(facts.inspected)


def _length(side: Side) -> Callable[[], Fetch]:
    def read(inspected: Inspected) -> Sample:
        inspected.changes = True
        return len(side(inspected))

    def fetch(facts: Facts) -> Sample:
        if facts.inspected is not None:
            return read(facts.inspected)
        # In mode http these rules wait for the head of a request.
        return None if facts.head is None else len(facts.head.head)

    return lambda: fetch


def _wait_end() -> Fetch:
    def read(inspected: Inspected) -> Sample:
        wait_for_more(inspected)
        return True

    return lambda facts: True if facts.inspected is None else read(facts.inspected)


def _payload(side: Side) -> Callable[[str, str], Fetch]:
    def make(offset: str, length: str) -> Fetch:
        begin, size = int(offset), int(length)

        def read(inspected: Inspected) -> Sample:
            data = side(inspected)
            if begin + size > inspected.most:
                return None  # so much is never held
            # Of a client that was waited for in vain, HAProxy has no buffer any more, which would be an empty payload.
            missing = not data and inspected.waited and side is _request
            if begin + size > len(data) or missing:
                wait_for_more(inspected)
                return None
            if not size:
                inspected.changes = True
            return Binary(data[begin : begin + size] if size else data[begin:])

        return _of(read)

    return make


def _payload_lv(side: Side) -> Callable[..., Fetch]:
    """Makes `payload_lv(offset1,length[,offset2])`: a length of so many bytes at the first offset, and as many bytes
    as that says, behind it, at the second offset, or so far from there where that has a sign."""

    def make(offset: str, length: str, second: str = "+0") -> Fetch:
        begin, size = int(offset), int(length)
        signed = second[:1] in ("+", "-")
        at = begin + size + int(second) if signed else int(second)

        def read(inspected: Inspected) -> Sample:
            data = side(inspected)
            if begin + size > len(data):
                wait_for_more(inspected)
                return None
            count = int.from_bytes(data[begin : begin + size], "big")
            if not count or at < 0 or at + count > inspected.most:
                return None
            if at + count > len(data):
                wait_for_more(inspected)
                return None
            return Binary(data[at : at + count])

        return _of(read)

    return make


def _first_type(side: Side) -> Callable[[Inspected], Sample]:
    def read(inspected: Inspected) -> Sample:
        """Reads the type of the first handshake message, once that is here as a whole (src/payload.c)."""
        data = side(inspected)
        if data and not (0x14 <= data[0] <= 0x17 or data[0] == 0xFF):
            return None
        if len(data) >= 5 and (data[1] < 3 or int.from_bytes(data[3:5], "big") < 4):
            return None
        if len(data) < 9 or len(data) < 9 + int.from_bytes(data[6:9], "big"):
            wait_for_more(inspected)
            return None
        return data[5]

    return read


def _of_hello(
    value: Callable[[ClientHello], Sample], other: Callable[[Inspected], Sample] = lambda inspected: None
) -> Callable[[], Fetch]:
    """Makes a fetch of a client's hello, with the value where `other` bytes came."""
    read = _reading(value, other)
    return lambda: _of(read)


def _reading(value: Callable[[ClientHello], T], other: Callable[[Inspected], T]) -> Callable[[Inspected], T | None]:
    """Returns a function that reads a value from a client's hello; None while that is incomplete.

    What begins as a hello and cannot be read, is longer than what is held, or has not come as a whole in time, raises
    Unevaluated: a server may read it all the same, and nobody is to get past a rule with it.
    """

    def read(inspected: Inspected) -> T | None:
        data = inspected.request_bytes
        try:
            hello = inspected.client_hello()
        except BrokenHello:
            raise Unevaluated("servers may read a TLS hello that cannot be read here") from None
        except NotHello:
            if _BEFORE_HELLO.match(data):
                raise Unevaluated("servers may read the TLS hello behind other records") from None
            if not _BEFORE_HELLO_BEGINS.match(data):
                return other(inspected)
            hello = None
        if hello is not None:
            return value(hello)
        wait_for_more(inspected)
        if data:
            late = (
                f"longer than {inspected.most} bytes" if len(data) >= inspected.most else "not here as a whole in time"
            )
            raise Unevaluated(f"servers may read a TLS hello that is {late}")
        return None

    return read


def _protocols() -> FetchAll:
    """Makes the fetch of all that a client offers by ALPN, of which an ACL tries each, as in HAProxy."""
    read = _reading(lambda hello: hello.protocols, lambda inspected: ())

    def fetch(facts: Facts) -> Sequence[Sample]:
        return () if facts.inspected is None else read(facts.inspected) or ()

    return fetch


def _numbered(version: int) -> int:
    """Returns the version as HAProxy's number: 3.1 (TLS 1.0) is 0x30001."""
    return (version >> 8) << 16 | version & 0xFF


def _other_version(inspected: Inspected) -> Sample:
    """Returns the version that is said by what is no hello of TLS, above all by one in SSLv2's form, which a server
    may answer with TLS."""
    data = inspected.request_bytes
    try:
        version = read_version(data, inspected.most)
    except NotHello:
        return None
    if version is not None:
        return _numbered(version)
    wait_for_more(inspected)
    if len(data) > 2 and data[0] >= 0x80:
        raise Unevaluated("servers may read a hello in SSLv2's form that is not here as a whole in time")
    return None


def _list(value: Callable[[HelloLists], bytes]) -> Callable[[], Fetch]:
    """Makes a fetch of a list in a client's hello, without a value where that is empty."""
    return _of_hello(lambda hello: Binary(value(read_lists(hello.message))) or None)


def _rdp_cookie(counted: bool) -> Callable[..., Fetch]:
    def make(name: str = "") -> Fetch:
        wanted = name.encode()

        def read(inspected: Inspected) -> Sample:
            try:
                found = rdp_cookie(inspected.request_bytes, wanted)
            except NoCookie:
                return 0 if counted else None
            if found is None:
                wait_for_more(inspected)
                return None
            return 1 if counted else found

        return _of(read)

    return make


BYTE_FETCHES: dict[str, Callable[..., Fetch]] = {
    "wait_end": _wait_end,
    "req.len": _length(_request),
    "req.payload": _payload(_request),
    "req.payload_lv": _payload_lv(_request),
    "req.rdp_cookie": _rdp_cookie(False),
    "req.rdp_cookie_cnt": _rdp_cookie(True),
    "req.ssl_hello_type": _of_hello(lambda hello: CLIENT_HELLO, _first_type(_request)),
    "req.ssl_sni": _of_hello(lambda hello: hello.server_name),
    "req.ssl_alpn": _of_hello(lambda hello: hello.protocols[0] if hello.protocols else None),
    "req.ssl_cipherlist": _list(lambda lists: lists.suites),
    "req.ssl_supported_groups": _list(lambda lists: lists.groups),
    "req.ssl_sigalgs": _list(lambda lists: lists.signatures),
    "req.ssl_keyshare_groups": _list(lambda lists: lists.key_shares),
    "req.ssl_ec_ext": _of_hello(lambda hello: read_lists(hello.message).has_groups or None),
    "req.ssl_st_ext": _of_hello(lambda hello: read_lists(hello.message).tickets),
    "req.ssl_ver": _of_hello(lambda hello: _numbered(hello.version), _other_version),
    "res.len": _length(_response),
    "res.payload": _payload(_response),
    "res.payload_lv": _payload_lv(_response),
    "res.ssl_hello_type": lambda: _of(_first_type(_response)),
}

#: Those of which an ACL tries every value.
ALL_BYTES: dict[str, Callable[..., FetchAll]] = {"req.ssl_alpn": _protocols}
