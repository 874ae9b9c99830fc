"""What the wire promises of single messages: heads of requests and responses, and chunked bodies.

Each check takes any bytes and raises when a promise is broken; a refusal with the right kind of fault keeps them all.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, evolve

from reusedproxy.wire.bodies import LAST_CHUNK, BodyFault, ChunkedBody, chunk
from reusedproxy.wire.faults import Limits, RequestFault, ResponseFault
from reusedproxy.wire.framing import named_fields
from reusedproxy.wire.grammar import TOKEN
from reusedproxy.wire.heads import (
    CHUNKED,
    UNTIL_CLOSE,
    RequestHead,
    ResponseHead,
    check_partial,
    check_partial_response,
    find_head_end,
    read_request,
    read_response,
    skip_empty_lines,
)
from tests.fuzz import oracles
from tests.wireoracles import normalised

#: Small, so that inputs of a fuzzer's size come to them.
LIMITS = Limits(max_head=1024, max_headers=20)
#: A head that goes on may be longer than the one that came: a Host made of the target, spaces after colons.
_LIMITS_OF_COPIES = Limits(max_head=4096, max_headers=40)
#: What answers may be asked for with; an input's first byte picks one.
METHODS = (b"GET", b"HEAD", b"CONNECT", b"POST", b"OPTIONS")

_REFUSALS = frozenset({400, 413, 414, 417, 431, 501, 505})
_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection"})
#: The fields that a head may lose, or that may go on in another spelling; of all others, each goes on as it came.
_TOUCHED = _HOP | frozenset({b"content-length", b"transfer-encoding", b"host", b"expect", b"te", b"upgrade"})
_PAYLOAD = b"no chunk"
#: A body of a greater length is not made.
_LONGEST = 4096


def check_request_head(data: bytes) -> None:
    """A request's head: refused with a fault, or read and sent on so that nobody can read it otherwise."""
    try:
        data = data[skip_empty_lines(data) :]
        end = find_head_end(data)
        if end < 0:
            check_partial(data, LIMITS)
            return
        head = read_request(data[:end], LIMITS)
    except RequestFault as fault:
        assert fault.status in _REFUSALS, f"refused with {fault.status}"
        return
    _check_beginnings(data[:end], check_partial)
    oracles.check_lines(data[:end])
    oracles.check_lines(head.block + b"\r\n")
    assert head.minor or not head.values(b"transfer-encoding"), "a transfer coding in HTTP/1.0"  # RFC 9112 6.1
    assert head.method != b"CONNECT" or not head.length, "a tunnel with a body"  # RFC 9110 9.3.6
    again = read_request(head.block + b"\r\n", _LIMITS_OF_COPIES)
    assert again.block == head.block, "what goes on would go on in another form"
    assert _meaning(again) == _meaning(head), "what goes on means something else"
    _check_kept_fields(head, again)
    _check_seen_fields(head)
    received = oracles.read_request(data[:end] + _body_of(head.length))
    assert received is not None, "no request to h11"
    target, fields = normalised(received.method, received.target, received.fields)
    received = evolve(received, target=target, fields=fields)
    _check_same_request(received, head)
    _check_same_fields(received, head)
    sent = head.block + b"\r\n" + _body_of(head.length)
    _check_same_request(oracles.read_request(sent), head)
    if head.length <= _LONGEST:
        oracles.check_with_httptools(sent, head.method, _payload_of(head.length))


def _check_seen_fields(head: RequestHead | ResponseHead) -> None:
    """Rules see what goes on, and nothing else; the versions are those of the two connections."""
    said = head.wishes() if isinstance(head, RequestHead) else b"connection: upgrade\r\n" * (head.upgrade is not None)
    assert head.head.partition(b"\r\n")[2] == head.block.partition(b"\r\n")[2] + said + b"\r\n", "rules see others"


def _meaning(head: RequestHead) -> tuple[object, ...]:
    return head.method, head.target, head.host, head.length


def _check_same_request(theirs: oracles.Request | None, ours: RequestHead) -> None:
    assert theirs is not None, "no request to h11"
    assert (theirs.method, theirs.target) == (ours.method, ours.target), "another request to h11"
    if ours.length <= _LONGEST:
        assert theirs.body == _payload_of(ours.length), "another body to h11"
        assert theirs.rest == b"", "something behind the request to h11"
    else:
        assert theirs.body is None, "a shorter body to h11"
    hosts = [value for name, value in theirs.fields if name == b"host"]
    absolute = not ours.target.startswith((b"/", b"*"))
    assert absolute or hosts == ([] if ours.host is None else [ours.host]), "another host to h11"


def _check_same_fields(theirs: oracles.Request | oracles.Response | None, ours: RequestHead | ResponseHead) -> None:
    """h11 reads the same fields in what came, but joins lengths and lower-cases codings, and keeps what ends here; and
    when the connection ends."""
    assert theirs is not None
    options = b",".join(value for name, value in theirs.fields if name == b"connection").split(b",")
    gone = _HOP | {b"content-length", b"transfer-encoding", b"te", b"upgrade"}
    if isinstance(ours, RequestHead) and not ours.minor:
        gone |= {b"expect"}
    gone |= named_fields(frozenset(option.strip(b" \t").lower() for option in options))
    fields = [(name.lower(), value) for name, value in ours.fields()]
    expected = [pair for pair in theirs.fields if pair[0] not in gone]
    assert [pair for pair in fields if pair[0] not in gone] == expected, "other fields to h11"
    if all(TOKEN.match(option.strip(b" \t") or b"a") for option in options):  # else we take it for a close
        assert theirs.persists == ours.keep_alive, "the connection persists, or not, to h11"


def check_response_head(data: bytes) -> None:
    """The same for a response's head; the first byte picks the method that it answers."""
    method = METHODS[(data[0] if data else 0) % len(METHODS)]
    data = data[1:]
    end = find_head_end(data)
    try:
        if end < 0:
            check_partial_response(data, LIMITS)
            return
        head = read_response(data[:end], method, LIMITS)
    except ResponseFault as fault:
        assert fault.status == 502, f"refused with {fault.status}"
        return
    _check_beginnings(data[:end], check_partial_response)
    oracles.check_lines(data[:end])
    oracles.check_lines(head.block + b"\r\n")
    assert head.minor or not head.values(b"transfer-encoding"), "a transfer coding in HTTP/1.0"  # RFC 9112 6.1
    assert not (head.keep_alive and head.length == UNTIL_CLOSE), "open after its body, which the end must end"
    sent = head.block + b"\r\n"
    again = read_response(sent, method, _LIMITS_OF_COPIES)
    assert again.block == head.block, "what goes on would go on in another form"
    assert (again.status, again.length) == (head.status, head.length), "what goes on means something else"
    _check_kept_fields(head, again)
    _check_seen_fields(head)
    if head.status == 101:
        return  # nobody asked h11 to switch, and what follows is not HTTP
    for form in (data[:end], sent):
        if head.status < 200:
            # The final one that follows is the only one to h11.
            theirs = oracles.read_response(form + b"HTTP/1.1 204 No\r\n\r\n", method, False)
            assert theirs is not None and theirs.interim == [head.status] and theirs.rest == b"", "no interim to h11"
        elif not (method == b"CONNECT" and head.length == UNTIL_CLOSE):
            theirs = _check_same_response(form, method, head)
            if form is not sent and head.length != UNTIL_CLOSE:
                _check_same_fields(theirs, head)


def _check_same_response(form: bytes, method: bytes, head: ResponseHead) -> oracles.Response:
    closed = head.length == UNTIL_CLOSE
    theirs = oracles.read_response(form + _body_of(head.length), method, closed)
    assert theirs is not None and theirs.status == head.status, "another response to h11"
    assert theirs.rest == b"", "something behind the response to h11"
    if head.length <= _LONGEST:
        assert theirs.body == _payload_of(head.length), "another body to h11"
    else:
        assert theirs.body is None, "a shorter body to h11"
    return theirs


def _check_beginnings(head: bytes, check: Callable[[bytes, Limits, int], None]) -> None:
    """No beginning of an accepted head is refused: neither as it grows by a byte, nor seen at once."""
    for end in range(1, len(head)):
        check(head[:end], LIMITS, end - 1)
    for end in range(1, len(head), max(1, len(head) // 16)):
        check(head[:end], LIMITS, 0)


def _check_kept_fields(received: RequestHead | ResponseHead, sent: RequestHead | ResponseHead) -> None:
    """All end-to-end fields go on, in order and spelling, and none that ends here."""
    expected = [pair for pair in received.fields() if pair[0].lower() not in _TOUCHED]
    assert [pair for pair in sent.fields() if pair[0].lower() not in _TOUCHED] == expected, "a field was lost"
    names = [line.partition(b":")[0].lower() for line in sent.block.split(b"\r\n")[1:]]
    assert not _HOP.intersection(names), "a hop-by-hop field goes on"
    for single in (b"content-length", b"transfer-encoding", b"host"):
        if isinstance(sent, RequestHead) or single != b"host":
            assert names.count(single) <= 1, f"{single!r} goes on twice"


def _body_of(length: int) -> bytes:
    """A body that such a head announces."""
    if length == CHUNKED:
        return chunk(_PAYLOAD) + LAST_CHUNK
    return _payload_of(length)


def _payload_of(length: int) -> bytes:
    """Of a body that is too long to be made: the beginning."""
    return _PAYLOAD if length < 0 else b"x" * min(length, _LONGEST)


def check_chunked_body(data: bytes) -> None:
    """A chunked body: the same however it is cut, only faults, and what goes on is the same body to all who read it.

    The first byte says where it is cut in two.
    """
    place = data[0] if data else 0
    data = data[1:]
    place %= len(data) + 1
    strict = oracles.read_chunked(data)
    for framed in (True, False):
        whole = _feed([data], framed)
        halves = _feed([data[:place], data[place:]], framed)
        bytewise = _feed([data[at : at + 1] for at in range(len(data))], framed)
        if whole.fault or halves.fault or bytewise.fault:
            assert whole.fault and halves.fault and bytewise.fault, "a fault that depends on the cuts"
        else:
            assert whole == halves == bytewise, "a body that depends on the cuts"
        assert strict is not oracles.MALFORMED or not whole.complete, "a body that RFC 9112 7.1 does not know"
        if isinstance(strict, oracles.Chunked) and strict.modest:
            assert whole.complete and whole.rest == strict.rest, "a legal body was refused"
            assert framed or whole.sent == strict.payload, "another body by RFC 9112 7.1"
    framed_body, bare = _feed([data], True), _feed([data], False)
    began = _feed([data[at : at + 1] for at in range(len(data))], True).sent
    if framed_body.fault or not framed_body.complete:
        # Whatever of it went on before, nobody can take it for a whole body.
        again = _feed([began], True)
        assert not again.complete and again.sent == began and not again.fault, "half a body looks like a whole one"
        return
    assert framed_body.rest == bare.rest and framed_body.received == bare.received == len(bare.sent)
    assert _feed([framed_body.sent], True).sent == framed_body.sent, "what goes on would go on in another form"
    assert _feed([framed_body.sent], False).sent == bare.sent, "what goes on is another body"
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = oracles.read_request(head + data, received=True)
    assert received is not None and (received.body, received.rest) == (bare.sent, framed_body.rest), (
        "another body to h11"
    )
    sent = oracles.read_request(head + framed_body.sent)
    assert sent is not None and (sent.body, sent.rest) == (bare.sent, b""), "another body sent on to h11"
    oracles.check_with_httptools(head + framed_body.sent, b"POST", bare.sent)


@define
class _Fed:
    """What came of a body."""

    sent: bytes = b""
    rest: bytes = b""
    fault: bool = False
    complete: bool = False
    received: int = 0


def _feed(pieces: list[bytes], framed: bool) -> _Fed:
    body = ChunkedBody(LIMITS, framed=framed)
    fed = _Fed()
    for piece in pieces:
        try:
            sent, rest = body.feed(piece)
        except BodyFault:
            fed.fault = True
            break
        fed.sent += sent
        fed.rest += rest
    fed.complete = body.complete
    fed.received = body.received
    return fed
