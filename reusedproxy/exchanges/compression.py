"""Compresses the answers of servers for clients that accept it (`compression`; RFC 9110 sections 8.4 and 12.5.3).

Decides by both heads whether an answer is compressed, makes the encoder through which its body passes, and edits its
head behind all rules. Each piece goes on as the server has sent it. It must never know connections.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

from reusedproxy.config.model.compression import CODINGS, Compression
from reusedproxy.exchanges.withheld import Verdict
from reusedproxy.measures.traffic import Traffic
from reusedproxy.rules.facts import Noted
from reusedproxy.wire.bodies import ChunkedBody, chunk, payload
from reusedproxy.wire.grammar import OWS
from reusedproxy.wire.heads import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead

#: Level of zlib: as HAProxy's; further ones cost more time than they save bytes (1: 10 ms a megabyte of HTML, 6: 35).
_LEVEL = 1
#: An encoder takes 64 KB with this window and memory, 256 KB with zlib's own defaults; HTML becomes 3 % larger.
_WINDOW, _MEMORY = 13, 6
#: What zlib is told for a coding (zlib.h, deflateInit2): gzip, zlib's own format, or none.
_FORMATS = {"gzip": 16 + _WINDOW, "deflate": _WINDOW, "raw-deflate": -_WINDOW}
#: As in HAProxy, no other answers.
_STATUSES = (200, 201, 202, 203)
_ACCEPT = re.compile(rb"\r\n(?i:accept-encoding):[^\r]*")
_LENGTH = re.compile(rb"\r\n(?i:content-length|transfer-encoding|trailer):[^\r]*")
_ETAG = re.compile(rb"\r\n(?i:etag):([^\r]*)")
_STRONG = re.compile(rb'"[^"]*"\Z')
_WEAK = re.compile(rb'W/"[^"]*"\Z')
#: What says something of the bytes that another coding would make untrue.
_OF_BYTES = re.compile(rb"\r\n(?i:content-encoding|content-md5|(?:content-|repr-)?digest|content-range):")
_QUALITY = re.compile(rb"(?i)q[ \t]*=[ \t]*([01](?:\.[0-9]{0,3})?)\Z")


class Compressed(Protocol):
    """Defines the exchange as this module knows it."""

    head: RequestHead | None
    answer: ResponseHead | None
    framed: bool
    method: bytes
    answer_rules: Callable[..., Verdict] | None
    encoder: Encoder | None

    def note(self) -> Noted:
        """Returns what is noted of it, and begins with that if nothing is yet."""

    @property
    def traffic_of_sections(self) -> Sequence[Traffic]:
        """Returns the counters of its frontend and its backend."""


class Encoder:
    """Encodes one body, which comes as it would have gone to the client; returns chunks (RFC 9112 section 7.1)."""

    __slots__ = ("_coding", "_compress", "_counted", "_reader")

    def __init__(self, algorithm: str, chunked: bool, counted: Sequence[Traffic] = ()) -> None:
        """Takes what counts, as it goes."""
        self._counted = counted
        self._coding = CODINGS[algorithm].encode()
        self._compress = zlib.compressobj(_LEVEL, zlib.DEFLATED, _FORMATS[algorithm], _MEMORY)
        self._reader = ChunkedBody(framed=False) if chunked else None

    def announce(self, answer: ResponseHead) -> None:
        """Edits the head of the answer, as in HAProxy behind all rules for it: none can take out what says how the
        body is encoded."""
        block = _LENGTH.sub(b"", answer.block)
        block = _ETAG.sub(_weakened, block)
        block += b"content-encoding: %b\r\n" % self._coding
        varies = _members(block, b"vary")
        if b"*" not in varies and b"accept-encoding" not in varies:
            block += b"vary: Accept-Encoding\r\n"
        answer.block = block
        # Its end is no more where its length said; the client is sent chunks. The rules had to know how the server's
        # body comes.
        answer.length = UNTIL_CLOSE

    def add(self, data: bytes) -> bytes:
        """Returns what goes on for this piece: all of it, so that the client has what the server has sent."""
        if self._reader is not None:
            data = payload(self._reader, data)
        if not data:
            return b""
        encoded = self._compress.compress(data) + self._compress.flush(zlib.Z_SYNC_FLUSH)
        self._count(data, encoded)
        return chunk(encoded)

    def finish(self, data: bytes = b"") -> bytes:
        """Returns the end of the body, of which this is the last piece."""
        if self._reader is not None:
            data = payload(self._reader, data)
        encoded = self._compress.compress(data) + self._compress.flush()
        self._count(data, encoded)
        for each in self._counted:
            each.comp_rsp += 1
        return chunk(encoded) + b"0\r\n\r\n"

    def _count(self, data: bytes, encoded: bytes) -> None:
        for each in self._counted:
            each.comp_in += len(data)
            each.comp_out += len(encoded)


class Compressor:
    """Decides for one route, by what its two sections say."""

    def __init__(self, algorithms: tuple[str, ...], types: tuple[str, ...], offload: bool, least: int) -> None:
        self._algorithms = [(CODINGS[each].encode(), each) for each in algorithms if CODINGS[each]]
        self._types = tuple(each.encode().lower() for each in types)
        self.offload = offload
        self._least = least

    def begin(self, exchange: Compressed) -> None:
        """Has the answer looked at, as in HAProxy before the rules for it, if the client accepts one of the codings."""
        head = exchange.head
        assert head is not None
        algorithm = self._accepted(head)
        if algorithm is None:
            return
        if self.offload:
            head.block = _ACCEPT.sub(b"", head.block)
        before = exchange.answer_rules

        def look(exchange: Compressed) -> Verdict:
            answer = exchange.answer
            if answer is not None and self._compresses(exchange, answer):
                _encode(exchange, answer, algorithm)
            return None if before is None else before(exchange)

        exchange.answer_rules = look

    def _accepted(self, head: RequestHead) -> str | None:
        """Returns the algorithm that the client likes best; None: it accepts none."""
        if head.minor == 0 or head.method == b"HEAD" or _ACCEPT.search(head.block) is None:
            return None
        if any(map(_is_old_browser, head.values(b"User-Agent"))):
            return None
        said = [_coding(each) for value in head.values(b"Accept-Encoding") for each in value.split(b",")]
        never = {name for name, quality in said if quality <= 0}
        best, found = 0.0, None
        for name, quality in said:
            if quality > best:
                for coding, algorithm in self._algorithms:
                    if name == coding or (name == b"*" and coding not in never):
                        best, found = quality, algorithm
                        break
        return found

    def _compresses(self, exchange: Compressed, answer: ResponseHead) -> bool:
        length, block = answer.length, answer.block
        if answer.status not in _STATUSES or answer.minor == 0 or not exchange.framed:
            return False
        if length == UNTIL_CLOSE or 0 <= length <= max(0, self._least - 1) or _OF_BYTES.search(block):
            return False
        tags = [tag.strip(OWS) for tag in _ETAG.findall(block)]
        if len(tags) > 1 or any(not _STRONG.match(tag) and not _WEAK.match(tag) for tag in tags):
            return False
        if b"no-transform" in _members(block, b"cache-control"):
            return False
        kinds = [value.lower() for value in _values(block, b"content-type")]
        if any(kind.startswith(b"multipart") for kind in kinds):
            return False
        return not self._types or any(kind.startswith(self._types) for kind in kinds[:1])


def compressor(front: Compression | None, back: Compression | None) -> Compressor | None:
    """Returns what compresses the answers that pass these two sections; None: nothing does. As in HAProxy, what the
    backend says of algorithms and types counts before what the frontend does."""
    said = [each for each in (back, front) if each is not None]
    algorithms: tuple[str, ...] = next((each.algorithms for each in said if each.algorithms), ())
    if not any(CODINGS[each] for each in algorithms):
        return None
    types: tuple[str, ...] = next((each.types for each in said if each.types), ())
    return Compressor(algorithms, types, any(each.offload for each in said), max(each.least for each in said))


def _weakened(found: re.Match[bytes]) -> bytes:
    """Returns the line of an ETag for another coding of the same (RFC 9110 section 8.8.1)."""
    tag = found[1].strip(OWS)
    return found[0] if tag.startswith(b"W/") else b"\r\nETag: W/" + tag


def _encode(exchange: Compressed, answer: ResponseHead, algorithm: str) -> None:
    """Gives the exchange its encoder."""
    exchange.encoder = Encoder(algorithm, answer.length == CHUNKED, exchange.traffic_of_sections)
    exchange.note().compression = algorithm


def _members(block: bytes, name: bytes) -> list[bytes]:
    """Returns the members of a list field in lower case."""
    return [each.strip().lower() for value in _values(block, name) for each in value.split(b",")]


def _values(block: bytes, name: bytes) -> list[bytes]:
    lines = [line.partition(b":") for line in block.split(b"\r\n")[1:]]
    return [value.strip(b" \t") for own, _, value in lines if own.lower() == name]


def _coding(text: bytes) -> tuple[bytes, float]:
    """Returns the name of a coding, and how much the client likes it; what cannot be read is not liked."""
    name, *parameters = text.split(b";")
    quality = 1.0
    for each in parameters:
        if each.strip().lower().startswith(b"q"):
            found = _QUALITY.match(each.strip())
            quality = 0.0 if found is None else min(1.0, float(found[1]))
    return name.strip().lower(), quality


def _is_old_browser(agent: bytes) -> bool:
    """Tells whether a browser is one that could not be trusted with codings: as in HAProxy, any Mozilla/4 but for MSIE
    6 with SV1, and from MSIE 7 on."""
    if not agent.startswith(b"Mozilla/4"):
        return False
    found = re.search(rb"MSIE ([0-9]+)", agent)
    return found is None or int(found[1]) < 6 or (int(found[1]) == 6 and b"SV1" not in agent)
