"""Reads message bodies as they come: how many bytes belong to the message, and what of them is sent on.

There is one reader for each message, chosen by the head's `length`. `feed` returns what to send on and what lies beyond
the message's end. The object that was received is sent on itself whenever nothing in it must change. Of very small
chunks a reader takes a bounded number at a time and leaves the rest in `held`, to be fed again when other connections
have had their turn. Otherwise no reader holds content back: only an incomplete line (a chunk size, a trailer) waits for
its rest, and the length of these is bounded.
"""

from collections.abc import Callable
from typing import Final

from reusedproxy.wire.faults import Limits
from reusedproxy.wire.grammar import CHUNK_LINE, CRLF, FIELD_LINE, NEXT_CHUNK, OWS

LAST_CHUNK: Final = b"0\r\n\r\n"

_DEFAULT_LIMITS: Final = Limits()
_MAX_CHUNK: Final = 2**63 - 1
#: Chunks read in one call. A quarter of a megabyte holds 43,690 chunks of one byte, which took 90 ms; this many take
#: 0.5 ms.
CHUNKS_AT_ONCE: Final = 1024
#: A chunk that is read state by state, as one with an extension is, counts as this many, because that way is slower.
_BY_STATES: Final = 4
_MAX_CHUNK_LINE: Final = 1024  # with its extensions; RFC 9112 7.1.1: a recipient ought to bound them

# Fields that frame, route, modify, authenticate or describe a message cannot come after its content (RFC 9110 6.5.1). A
# recipient that does not know a trailer field as safe may drop it (6.5); these are dropped, the rest is sent on.
_NO_TRAILER: Final = frozenset(
    b"content-length transfer-encoding trailer te connection keep-alive proxy-connection upgrade host via "
    b"cache-control expect max-forwards pragma range if-match if-none-match if-modified-since if-unmodified-since "
    b"if-range authorization proxy-authorization www-authenticate proxy-authenticate cookie set-cookie "
    b"content-encoding content-type content-range date location retry-after vary age expires warning "
    b"forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-original-to".split()
)


_SEPARATORS: Final = bytes(octet if chr(octet).isalnum() and octet < 128 else 0x2D for octet in range(256))


def plain_name(name: bytes) -> bytes:
    """Returns a field name for comparison: in lower case, with `-` for all characters but letters and digits.

    Servers that pass fields on as variables make the same variable of X_Name, X.Name and X-Name.
    """
    return name.translate(_SEPARATORS).lower()


class BodyFault(Exception):
    """Says that the body's bytes contradict its framing, so that its end cannot be found."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def chunk(data: bytes) -> bytes:
    """Returns `data` as one chunk (RFC 9112 7.1); b"" for no data, because an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class LengthBody:
    """Reads a body of a known length."""

    __slots__ = ("_length", "complete", "least")

    held = b""

    def __init__(self, length: int) -> None:
        #: `least`: bytes that complete the body.
        self._length = self.least = length
        self.complete = length == 0

    @property
    def received(self) -> int:
        """Returns the number of payload bytes so far."""
        return self._length - self.least

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Returns what to send on and what lies beyond the body's end."""
        left = self.least - len(data)
        if left > 0:
            self.least = left
            return data, b""
        self.least = 0
        self.complete = True
        if left == 0:
            return data, b""
        return data[:left], data[left:]


class UntilCloseBody:
    """Reads a body that ends with the connection.

    The owner of the connection has to know whether that end was clean.

    With `framed` the body is sent on in chunks, so that the next hop can tell its end from a truncation; otherwise only
    the payload is sent on.
    """

    __slots__ = ("_framed", "complete", "received")

    held = b""

    def __init__(self, framed: bool = True) -> None:
        self.complete = False
        self.received = 0
        self._framed = framed

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Returns all of `data` to send on, and b"" as what lies beyond the body."""
        self.received += len(data)
        return chunk(data) if self._framed else data, b""

    def finish(self) -> bytes:
        """Completes the body after the connection has ended cleanly. Returns what is still to be sent on."""
        self.complete = True
        return LAST_CHUNK if self._framed else b""


class ChunkedBody:
    """Reads a chunked body (RFC 9112 7.1).

    With `framed` the body is sent on chunked again, without extensions and forbidden trailers; otherwise only the
    payload is sent on, for an HTTP/1.0 peer. The state says what comes next: SIZE (a chunk's line), DATA (`_left`
    bytes), DATA_END (the CRLF after them), TRAILER (a trailer line or the closing empty one), DONE.
    """

    SIZE, DATA, DATA_END, TRAILER, DONE = range(5)

    __slots__ = (
        "_dropped",
        "_fields",
        "_framed",
        "_left",
        "_limits",
        "_pending",
        "_state",
        "_trailers",
        "complete",
        "held",
        "received",
    )

    def __init__(
        self, limits: Limits = _DEFAULT_LIMITS, framed: bool = True, dropped: Callable[[bytes], bool] | None = None
    ) -> None:
        """Sets the options.

        `dropped` returns True for the name of a trailer field that is dropped, besides the forbidden ones.
        """
        self._dropped = dropped
        self.complete = False
        self.received = 0
        self._framed = framed
        self._limits = limits
        self._state = self.SIZE
        self._left = 0  # bytes of the chunk's data that are still to come
        self._pending = b""  # an incomplete line
        #: What lies after the chunks that were read in one call. The caller of `feed` takes it, and feeds it again
        #: later.
        self.held = b""
        self._trailers = 0  # bytes of trailer lines so far
        self._fields = 0

    @property
    def least(self) -> int:
        """Returns how many bytes must come at least to complete the body; those in `held` count as not yet come."""
        if self._state == self.DONE:
            return 0
        if self._state == self.TRAILER:
            return 1 if self._pending else len(CRLF)
        if self._state == self.SIZE and self._pending:
            return len(LAST_CHUNK) - len("0\r")
        chunk_end = len(CRLF) if self._state == self.DATA else 1 if self._state == self.DATA_END else 0
        return self._left + chunk_end + len(LAST_CHUNK)

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Returns what to send on and what lies beyond the body's end. Raises BodyFault.

        After the call, `held` has what was left for a later call.
        """
        if self._state == self.DATA and len(data) < self._left:  # inside a big chunk
            self._left -= len(data)
            self.received += len(data)
            return data, b""
        if self._state == self.DONE:
            return b"", data
        if self._pending:
            data = self._pending + data
            self._pending = b""
        output = _Slices(data)
        at, cut_off = self._walk(data, output)
        if self._state == self.DONE:
            self.complete = True
            return output.upto(at), data[at:]
        if cut_off:
            self.held = data[at:]
        else:
            self._pending = data[at:]
        return output.upto(at), b""

    def _walk(self, data: bytes, output: "_Slices") -> tuple[int, bool]:
        """Reads the message as far as the data goes, CHUNKS_AT_ONCE chunks at most.

        It stops at the message's end or at an incomplete element. Returns the position, and whether the number of
        chunks was the reason to stop.
        """
        at, end, chunks = 0, len(data), 0
        while at < end:
            state = self._state
            if state == self.SIZE:
                if chunks >= CHUNKS_AT_ONCE:
                    return at, True
                chunks += _BY_STATES
                step = self._read_size(data, at, output)
            elif state == self.DATA:
                at, read = self._read_data(data, at, end, CHUNKS_AT_ONCE - chunks, output)
                chunks += read
                continue
            elif state == self.DATA_END:
                if data[at : at + 2] != CRLF:
                    if data[at:] != b"\r":
                        raise BodyFault("no CRLF after a chunk's data")
                    return at, False
                self._state = self.SIZE
                step = 2
                if not self._framed:
                    output.drop(at, at + 2)
            elif state == self.TRAILER:
                step = self._read_trailer(data, at, output)
            else:
                return at, False
            if not step:
                return at, False
            at += step
        return at, False

    def _read_data(self, data: bytes, at: int, end: int, most: int, output: "_Slices") -> tuple[int, int]:
        """Reads the rest of a chunk's data as far as it is here, then up to `most` complete chunks without extensions.

        Returns the position and the number of chunks. This loop is a short cut for what the states do one by one
        (measured, chunks of one byte: 0.45 us each, 2 us by states).
        """
        left, chunks, begin = self._left, 0, at
        framed, line = self._framed, NEXT_CHUNK.match
        lines = 0
        while True:
            stop = at + left
            if stop > end:
                self._left = stop - end
                stop = end
                break
            found = line(data, stop) if chunks < most else None
            if found is None:
                self._left = 0
                self._state = self.DATA_END
                break
            size = int(found[1], 16)
            if not size or size > _MAX_CHUNK:
                # The last chunk, or a fault, is left to the states.
                self._left = 0
                self._state = self.DATA_END
                break
            at = found.end()
            if not framed:
                output.drop(stop, at)
            lines += at - stop
            left = size
            chunks += 1
        self.received += stop - begin - lines
        return stop, chunks

    def _read_size(self, data: bytes, at: int, output: "_Slices") -> int:
        """Reads one chunk's line and sets the state that follows.

        Returns the line's length; 0 when its end has not come.
        """
        found = CHUNK_LINE.match(data, at, at + _MAX_CHUNK_LINE)
        if found is None:
            self._check_line(data, at, _MAX_CHUNK_LINE, "chunk size")
            _check_size_so_far(data, at)
            return 0
        size = int(found[1], 16)
        if size > _MAX_CHUNK:
            raise BodyFault("a chunk that is too large")
        self._left = size
        self._state = self.DATA if size else self.TRAILER
        end = found.end()
        if not self._framed:
            output.drop(at, end)
        elif found.end(1) != end - 2:
            output.drop(found.end(1), end - 2)
        return end - at

    def _read_trailer(self, data: bytes, at: int, output: "_Slices") -> int:
        """Reads one trailer line, or the empty line that ends the message.

        Returns its length; 0 when its end has not come.
        """
        limit = self._limits.max_head - self._trailers
        end = data.find(CRLF, at, at + limit)
        if end < 0:
            self._check_line(data, at, limit, "trailer")
            return 0
        step = end + 2 - at
        if step == 2:
            self._state = self.DONE
            if not self._framed:
                output.drop(at, end + 2)
            return step
        found = FIELD_LINE.match(data[at:end])
        if found is None:
            raise BodyFault("a malformed trailer line")
        self._trailers += step
        self._fields += 1
        if self._fields > self._limits.max_headers:
            raise BodyFault("too many trailer fields")
        name, dropped = found[1], self._dropped
        if not self._framed or plain_name(name) in _NO_TRAILER or (dropped is not None and dropped(name)):
            output.drop(at, end + 2)
        elif data[end - 1] in OWS:
            output.drop(at + len(data[at:end].rstrip(OWS)), end)
        return step

    @staticmethod
    def _check_line(data: bytes, at: int, limit: int, what: str) -> None:
        """Refuses a line that is too long before its end has come, or that ends in a malformed way.

        Raises BodyFault.
        """
        line_end = data.find(b"\n", at, at + limit)
        if line_end >= 0:
            raise BodyFault(f"a malformed {what} line" if data[line_end - 1 : line_end] == b"\r" else "a bare LF")
        if len(data) - at >= limit:
            raise BodyFault(f"a {what} line that is too long")


def payload(reader: ChunkedBody, data: bytes) -> bytes:
    """Returns the payload in one more piece of a body, which `reader` takes apart. Raises BodyFault."""
    pieces = []
    while data:
        piece, _ = reader.feed(data)
        pieces.append(piece)
        data, reader.held = reader.held, b""
    return b"".join(pieces)


def _check_size_so_far(data: bytes, at: int) -> None:
    """Refuses an incomplete chunk line that does not begin with a valid size. Raises BodyFault."""
    line = data[at : at + 18]
    digits = len(line) - len(line.lstrip(b"0123456789abcdefABCDEF"))
    if digits > 16:
        raise BodyFault("a chunk size with too many digits")
    if not digits or (line[digits:] and line[digits] not in b"\r; \t"):
        raise BodyFault("a malformed chunk size")


class _Slices:
    """Collects what is left of one piece of data when some ranges of it are dropped; the very object when none is."""

    __slots__ = ("_at", "_data", "_pieces")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._pieces: list[bytes] = []

    def drop(self, begin: int, end: int) -> None:
        """Leaves out one range; the ranges come in order."""
        if begin > self._at:
            self._pieces.append(self._data[self._at : begin])
        self._at = end

    def upto(self, end: int) -> bytes:
        """Returns what is left before `end`."""
        if not self._pieces:
            return self._data[self._at : end]  # a slice of the whole is the object itself
        if end > self._at:
            self._pieces.append(self._data[self._at : end])
        return b"".join(self._pieces)
