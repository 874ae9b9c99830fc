"""Implements the sample fetches (manual, sections 7.3.2 to 7.3.6).

Each function takes a fetch's arguments and returns a function of the facts. Fetches about TLS are in `tls_fetches`.
`ALL` has the fetches of which an ACL tries every value, and not only the last or first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from reusedproxy.rules.facts import Address, Binary, Facts, Sample
from reusedproxy.rules.hashes import avalanche, sdbm
from reusedproxy.rules.samples.aliases import first_line
from reusedproxy.rules.samples.body_fetches import ALL_BODY, BODY_FETCHES
from reusedproxy.rules.samples.byte_fetches import ALL_BYTES, BYTE_FETCHES
from reusedproxy.rules.samples.casts import address_of, number_of, wrapped
from reusedproxy.rules.samples.connection_fetches import ALL_OF_CONNECTIONS, CONNECTION_FETCHES
from reusedproxy.rules.samples.course_fetches import COURSE_FETCHES
from reusedproxy.rules.samples.dates import UNITS
from reusedproxy.rules.samples.process_fetches import PROCESS_FETCHES
from reusedproxy.rules.samples.table_fetches import TABLE_FETCHES
from reusedproxy.rules.samples.tls_fetches import TLS_FETCHES
from reusedproxy.rules.users import FETCHES as USER_FETCHES
from reusedproxy.rules.waiting import unsettle
from reusedproxy.wire.grammar import OWS
from reusedproxy.wire.heads import RequestHead, ResponseHead
from reusedproxy.wire.lists import members
from reusedproxy.wire.proxy_protocol import AUTHORITY, UNIQUE_ID

#: How many hashes of Host and path are kept, of so many bytes at most.
HASHES, HASHED = 1024, 200

Fetch = Callable[[Facts], Sample]
FetchAll = Callable[[Facts], Sequence[Sample]]
Head = Callable[[Facts], "RequestHead | ResponseHead | None"]

_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(\[[^/?#\]]*\]|[^/?#:]*)(?::([0-9]{1,5}))?(?=[/?#]|\Z)")
_ADDRESS_AND_PORT = re.compile(rb"([0-9.]+)(?::([0-9]{1,6}))?\Z")
#: A cookie's name and its value, which ends at a comma or a semicolon outside quotes. The names that clients send end
#: at either, too.
_COOKIE_VALUE = rb'(?:=((?:[^,;"]|"(?:\\.|[^"\\])*"?)*))?'
_COOKIE = re.compile(rb"[ \t]*([^=,;]*)" + _COOKIE_VALUE, re.DOTALL)
_SET_COOKIE = re.compile(rb"[ \t]*([^=;]*)" + _COOKIE_VALUE, re.DOTALL)


# Fetches that are independent of the exchange.


def _constant(value: Sample) -> Fetch:
    return lambda facts: value


def _var(name: str, default: str | None = None) -> Fetch:
    otherwise = None if default is None else default.encode()

    def fetch(facts: Facts) -> Sample:
        value = facts.variable(name)
        return otherwise if value is None else value

    return fetch


def _date(offset: str = "0", unit: str = "s") -> Fetch:
    scale, moved = UNITS[unit], int(offset)

    def fetch(facts: Facts) -> Sample:
        unsettle(facts.inspected)
        return wrapped(int(facts.wall() * scale) + moved)

    return fetch


def _microseconds(facts: Facts) -> Sample:
    unsettle(facts.inspected)
    return int(facts.wall() * 1_000_000) % 1_000_000


def _nbsrv(backend: str = "") -> Fetch:
    return lambda facts: facts.usable_servers(backend)


# The connections.


def _address(of: Callable[[Facts], tuple[str, int]]) -> Callable[[], Fetch]:
    def fetch(facts: Facts) -> Sample:
        host = of(facts)[0]
        return None if host == "unix" else address(host)

    return lambda: fetch


def address(host: str) -> Address | None:
    """Returns the IP address in a text; None if there is none, as for a unix socket."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _fact(fetch: Fetch) -> Callable[[], Fetch]:
    return lambda: fetch


def _last_announced(facts: Facts, kind: int) -> Sample:
    """Returns what a PROXY protocol header says; of several of this type the last counts, as in HAProxy 2.6."""
    found = (facts.announced or {}).get(kind)
    return found[-1] if found else None


def _named(name: Callable[[Facts], str | None]) -> Callable[[], Fetch]:
    def fetch(facts: Facts) -> Sample:
        text = name(facts)
        return text.encode() if text else None

    return lambda: fetch


# Headers. As in HAProxy, commas separate values, unless the full header is asked for (manual, section 7.3.6).


def _request(facts: Facts) -> RequestHead | None:
    return facts.head


def _response(facts: Facts) -> ResponseHead | None:
    return facts.answer


def _finding(name: bytes) -> Callable[[bytes], list[bytes]]:
    """Returns a function that finds the values of a field of this name, in any case, in a head as it was received: what
    `RequestHead.values` does for one name, in a quarter of the time."""
    return re.compile(rb"\r\n%b:([^\r]*(?:\r(?!\n)[^\r]*)*)" % re.escape(name), re.IGNORECASE).findall


_hosts = _finding(b"Host")


def _values(head: Head, full: bool) -> Callable[[str], Callable[[Facts], list[bytes]]]:
    def make(name: str) -> Callable[[Facts], list[bytes]]:
        find = _finding(name.encode("latin-1", "replace"))

        def fetch(facts: Facts) -> list[bytes]:
            found = head(facts)
            values = find(found.head) if found is not None else []
            if len(values) == 1 and b"," not in values[0] and b'"' not in values[0]:  # as nearly always
                return [values[0].strip(OWS)]
            return [part for value in values for part in ([value.strip(OWS)] if full else _list_of(value))]

        return fetch

    return make


def _header(head: Head, full: bool, read: Callable[[bytes], Sample] | None = None) -> Callable[..., Fetch]:
    def make(name: str, occurrence: str = "-1") -> Fetch:
        values, number = _values(head, full)(name), int(occurrence)
        first_or_last = number in (-1, 0, 1)

        def fetch(facts: Facts) -> Sample:
            all_ = values(facts)
            found = all_[0] if first_or_last and len(all_) == 1 else _nth(all_, number)
            return found if found is None or read is None else read(found)

        return fetch

    return make


def _each(values: Callable[[Facts], list[bytes]], read: Callable[[bytes], Sample]) -> FetchAll:
    """Returns the fetch of samples that are read of these values; of many equal ones it reads one."""

    def fetch(facts: Facts) -> Sequence[Sample]:
        found = values(facts)
        return [read(found[0])] if len(found) == 1 else [read(value) for value in dict.fromkeys(found)]

    return fetch


def _headers(head: Head, full: bool, read: Callable[[bytes], Sample] = lambda value: value) -> Callable[..., FetchAll]:
    def make(name: str) -> FetchAll:
        values = _values(head, full)(name)
        return _each(values, read)

    return make


def _count(head: Head, full: bool) -> Callable[..., Fetch]:
    def make(name: str = "") -> Fetch:
        values = _values(head, full)(name)

        def fetch(facts: Facts) -> Sample:
            found = head(facts)
            if found is None:
                return None
            if name:
                return len(values(facts))
            parts = (1 if full else len(_list_of(value)) for _, value in found.fields())
            return sum(parts)

        return fetch

    return make


def _names(head: Head) -> Callable[..., Fetch]:
    def make(delimiter: str = ",") -> Fetch:
        def fetch(facts: Facts) -> Sample:
            found = head(facts)
            if found is None:
                return None
            return delimiter.encode()[:1].join(name.lower() for name, _ in found.fields())

        return fetch

    return make


def _lines(head: Head) -> Callable[[], Fetch]:
    def fetch(facts: Facts) -> Sample:
        found = head(facts)
        return (
            None
            if found is None
            else b"".join(b"%b: %b\r\n" % (name.lower(), value) for name, value in found.fields()) + b"\r\n"
        )

    return lambda: fetch


def _number(size: int) -> bytes:
    """Writes a length as HAProxy does (doc/SPOE.txt, section 3.1): four bits in the first byte and seven in each of
    the others, all but the last with the highest bit."""
    if size < 240:
        return bytes((size,))
    made, size = bytearray((240 | size & 15,)), (size - 240) >> 4
    while size >= 128:
        made.append(128 | size & 127)
        size = (size - 128) >> 7
    made.append(size)
    return bytes(made)


def _fields_in_binary(head: Head) -> Callable[[], Fetch]:
    """Makes a fetch of the fields, each text behind its length, with two empty texts at the end."""

    def fetch(facts: Facts) -> Sample:
        found = head(facts)
        if found is None:
            return None
        texts = [text for name, value in found.fields() for text in (name.lower(), value)]
        return Binary(b"".join(_number(len(text)) + text for text in (*texts, b"", b"")))

    return lambda: fetch


def _list_of(value: bytes) -> list[bytes]:
    # Nearly all values have no quote, and one more call for each of them would cost noticeable time.
    return [part.strip(b" \t") for part in (members(value) if b'"' in value else value.split(b","))]


def _nth(values: list[bytes], number: int) -> bytes | None:
    """Returns the value of this number: 1 is the first, -1 the last; 0 is the last, too. None if there is none."""
    index = number - 1 if number > 0 else number or -1
    return values[index] if -len(values) <= index < len(values) else None


def _as_number(value: bytes) -> Sample:
    """Returns the number that the value begins with; 0 if it begins with a plus.

    HAProxy lets numbers of more than 32 bits overflow; here they do not.
    """
    return 0 if value.startswith(b"+") else number_of(value)


def _as_address(value: bytes) -> Sample:
    """Returns the IP address that a value holds; None if it holds none.

    An IPv4 address may have a port (as in X-Forwarded-For), and an IPv6 address may have brackets.
    """
    if found := _ADDRESS_AND_PORT.match(value):
        return address_of(found[1]) if int(found[2] or b"0") <= 65535 else None
    if value.startswith(b"[") and value.endswith(b"]"):
        value = value[1:-1]
    found_address = address_of(value)
    return found_address if isinstance(found_address, IPv6Address) else None


# Cookies.


def _cookie_values(response: bool) -> Callable[[str], Callable[[Facts], list[bytes]]]:
    def make(name: str) -> Callable[[Facts], list[bytes]]:
        wanted = name.encode("latin-1", "replace")

        def fetch(facts: Facts) -> list[bytes]:
            head = facts.answer if response else facts.head
            if head is None:
                return []
            lines = head.values(b"Set-Cookie" if response else b"Cookie")
            return [value for line in lines for part in _list_of(line) for value in _cookies_in(part, wanted, response)]

        return fetch

    return make


def _cookies_in(part: bytes, wanted: bytes, response: bool) -> Iterator[bytes]:
    """Yields the values of the wanted cookies, as HAProxy finds them.

    A semicolon within quotes does not separate cookies, and a name that begins with a dollar is none. In a Set-Cookie,
    reading stops at the first name that has a value and is not the wanted one. `part` may still have commas: a quote in
    a cookie's name counts when a list is split, but not when cookies are read.
    """
    cookie, at = _SET_COOKIE if response else _COOKIE, 0
    while at + len(wanted) + 1 < len(part):
        found = cookie.match(part, at)
        assert found is not None
        at = found.end() + 1
        name, value = found[1].rstrip(b" \t"), found[2]
        if value is None or name.startswith(b"$"):
            continue
        if not wanted or name == wanted:
            yield value.strip(b" \t")
        elif response:
            return


def _cookie(response: bool, read: Callable[[bytes], Sample] = lambda value: value) -> Callable[..., Fetch]:
    def make(name: str = "") -> Fetch:
        values = _cookie_values(response)(name)

        def fetch(facts: Facts) -> Sample:
            found = values(facts)
            # Observed in HAProxy 2.6: with a name the last cookie counts, without a name the first.
            return read(found[-1] if name else found[0]) if found else None

        return fetch

    return make


def _cookies(response: bool, read: Callable[[bytes], Sample] = lambda value: value) -> Callable[..., FetchAll]:
    def make(name: str = "") -> FetchAll:
        values = _cookie_values(response)(name)
        return _each(values, read)

    return make


def _cookie_count(response: bool) -> Callable[..., Fetch]:
    def make(name: str = "") -> Fetch:
        values = _cookie_values(response)(name)
        return lambda facts: len(values(facts))

    return make


def _cookie_names(response: bool) -> Callable[..., Fetch]:
    """Makes a fetch of the names of all cookies, as they come, with a character between them."""

    def make(delimiter: str = ",") -> Fetch:
        between = delimiter.encode("utf-8", "surrogateescape")[:1] or b","

        def fetch(facts: Facts) -> Sample:
            head = facts.answer if response else facts.head
            if head is None:
                return None
            lines = head.values(b"Set-Cookie" if response else b"Cookie")
            return between.join([name for line in lines for name in _names_in(line, response)])

        return fetch

    return make


def _names_in(line: bytes, response: bool) -> Iterator[bytes]:
    """Yields the names of the cookies in one line: of Set-Cookie the first, which is the only one."""
    cookie, at = _SET_COOKIE if response else _COOKIE, 0
    while at < len(line):
        found = cookie.match(line, at)
        assert found is not None
        at = found.end() + 1
        name = found[1].rstrip(b" \t")
        if found[2] is not None and name and not name.startswith(b"$"):
            yield name
            if response:
                return


# The request's first line.


def _of_head(read: Callable[[RequestHead], Sample]) -> Callable[[], Fetch]:
    def fetch(facts: Facts) -> Sample:
        return None if facts.head is None else read(facts.head)

    return lambda: fetch


def _url_ip(facts: Facts) -> Sample:
    """Returns the address in an absolute target; None where there is a name, or no authority."""
    host = _authority(facts)[0]
    return address_of(host.strip(b"[]")) if host else None


def _url_port(facts: Facts) -> Sample:
    """Returns the port in an absolute target, that of its scheme where it has none; None without an authority."""
    host, port = _authority(facts)
    if not host or facts.head is None:
        return None
    return int(port or (b"443" if facts.head.target[:6].lower() == b"https:" else b"80"))


def _authority(facts: Facts) -> tuple[bytes, bytes]:
    """Returns host and port of an absolute target; b"" for what it does not have."""
    found = None if facts.head is None else _ABSOLUTE.match(facts.head.target)
    return (b"", b"") if found is None else (found[1], found[2] or b"")


def path_and_query(target: bytes) -> bytes | None:
    """Returns what follows the authority, if there is one; None for `*` and for the target of CONNECT."""
    if target[:1] == b"/":
        return target
    found = _AUTHORITY.match(target)
    return target[found.end() :] if found else None


def path(facts: Facts) -> Sample:
    """Fetches the path. Most criteria ask for it, so it is kept with the head, for the target that it is of."""
    head = facts.head
    if head is None:
        return None
    target = head.target
    if head.path_of is not target:
        whole = target if target[:1] == b"/" else path_and_query(target)
        head.path = None if whole is None else whole.partition(b"?")[0]
        head.path_of = target
    return head.path


def _query(mark: str = "") -> Fetch:
    """Makes `query`. The question mark is left out, unless it is asked for and something follows it."""

    def fetch(facts: Facts) -> Sample:
        if facts.head is None:
            return None
        _, sign, query = facts.head.target.partition(b"?")
        if not sign:
            return None
        return sign + query if mark and query else query

    return fetch


def _base(head: RequestHead, *, query: bool) -> bytes:
    """Returns Host and path, with `query` also the query."""
    whole = path_and_query(head.target) or b""
    hosts = _hosts(head.head)
    return (hosts[0].strip(OWS) if hosts else b"") + (whole if query else whole.partition(b"?")[0])


def _parameters(name: str, delimiter: str, case: str) -> Callable[[Facts], list[bytes]]:
    """Returns a function that gives the values of the parameters of this name, or of all.

    As in HAProxy, only the first character of `delimiter` and of `case` counts.
    """
    sign, ignore_case = delimiter.encode()[:1] or b"?", case[:1] == "i"
    wanted = name.encode().lower() if ignore_case else name.encode()
    parting = re.compile(b"[&;" + re.escape(sign) + b"]")

    def fetch(facts: Facts) -> list[bytes]:
        if facts.head is None:
            return []
        _, mark, query = facts.head.target.partition(sign)
        pairs = (pair.partition(b"=") for pair in parting.split(query)) if mark else ()
        return [
            value
            for own, equal, value in pairs
            if equal and (not wanted or (own.lower() if ignore_case else own) == wanted)
        ]

    return fetch


def _parameter(read: Callable[[bytes], Sample] = lambda value: value) -> Callable[..., Fetch]:
    def make(name: str = "", delimiter: str = "?", case: str = "") -> Fetch:
        values = _parameters(name, delimiter, case)

        def fetch(facts: Facts) -> Sample:
            found = values(facts)
            return read(found[0]) if found else None

        return fetch

    return make


def _all_parameters(read: Callable[[bytes], Sample] = lambda value: value) -> Callable[..., FetchAll]:
    def make(name: str = "", delimiter: str = "?", case: str = "") -> FetchAll:
        values = _parameters(name, delimiter, case)
        return _each(values, read)

    return make


def _hashed(*, query: bool) -> Fetch:
    """Returns the fetch of a hash of Host and path, with the query for `url32`. Those of the last short ones are kept:
    a look-up takes a tenth of the time."""

    def compute(base: bytes) -> int:
        return avalanche(sdbm(base))

    known = lru_cache(HASHES)(compute)

    def fetch(facts: Facts) -> Sample:
        if facts.head is None:
            return None
        base = _base(facts.head, query=query)
        return known(base) if len(base) <= HASHED else compute(base)

    return fetch


def _with_source(number: Fetch) -> Fetch:
    """Returns the fetch of a hash and the client's address, for who counts what one client asks for."""

    def fetch(facts: Facts) -> Sample:
        hashed, host = number(facts), facts.source[0]
        if not isinstance(hashed, int) or host == "unix":
            return None
        if ":" not in host:  # an IPv4 address, as the kernel writes it: a quarter of the time of `address`
            return Binary(hashed.to_bytes(4, "big") + bytes(map(int, host.split("."))))
        found = address(host)
        return None if found is None else Binary(hashed.to_bytes(4, "big") + found.packed)

    return fetch


def _version(head: Head) -> Callable[[], Fetch]:
    def fetch(facts: Facts) -> Sample:
        found = head(facts)
        return None if found is None else b"1.%d" % found.minor

    return lambda: fetch


# What the log says.


def _status(facts: Facts) -> Sample:
    """Returns the status of the response; in the log, where there need be no head of it, that which was sent."""
    return facts.course.status if facts.answer is None else facts.answer.status


def _captured(of_response: bool) -> Callable[[str], Fetch]:
    def make(slot: str) -> Fetch:
        number = int(slot)

        def fetch(facts: Facts) -> Sample:
            noted = facts.noted
            return None if noted is None else noted.captured(number, of_response)

        return fetch

    return make


def _of_line(read: Callable[[str], str]) -> Callable[[], Fetch]:
    """Makes a fetch of the request's first line as it came."""

    def fetch(facts: Facts) -> Sample:
        line = first_line(facts)
        return None if line is None else read(line).encode("latin-1")

    return lambda: fetch


def _captured_uri(facts: Facts) -> Sample:
    """Returns path and query of the request as it came, as HAProxy does; None of an asterisk, for instance."""
    line = first_line(facts)
    return None if line is None else path_and_query(line.partition(" ")[2].rpartition(" ")[0].encode("latin-1"))


def _response_version(facts: Facts) -> Sample:
    return None if facts.answer is None else b"HTTP/1.%d" % facts.answer.minor


FETCHES: dict[str, Callable[..., Fetch]] = {
    **BYTE_FETCHES,
    **BODY_FETCHES,
    **COURSE_FETCHES,
    **PROCESS_FETCHES,
    **TLS_FETCHES,
    **TABLE_FETCHES,
    **USER_FETCHES,
    "always_true": lambda: _constant(True),
    "always_false": lambda: _constant(False),
    "bool": lambda text: _constant(text.lower() in ("true", "1")),
    "int": lambda text: _constant(int(text)),
    "str": lambda text: _constant(text.encode()),
    "bin": lambda text: _constant(Binary(bytes.fromhex(text))),
    "ipv4": lambda text: _constant(IPv4Address(text)),
    "ipv6": lambda text: _constant(IPv6Address(text)),
    "meth": lambda text: _constant(text.encode()),
    "var": _var,
    "date": _date,
    "date_us": _fact(_microseconds),
    **CONNECTION_FETCHES,
    "nbsrv": _nbsrv,
    "src": _address(lambda facts: facts.source),
    "dst": _address(lambda facts: facts.destination),
    "fc_src": _address(lambda facts: facts.connection_source),
    "fc_dst": _address(lambda facts: facts.connection_destination),
    "src_port": _fact(lambda facts: facts.source[1] or None),
    "dst_port": _fact(lambda facts: facts.destination[1] or None),
    "fc_src_port": _fact(lambda facts: facts.connection_source[1] or None),
    "fc_dst_port": _fact(lambda facts: facts.connection_destination[1] or None),
    "fc_rcvd_proxy": _fact(lambda facts: facts.announced is not None),
    "fc_pp_authority": _fact(lambda facts: _last_announced(facts, AUTHORITY)),
    "fc_pp_unique_id": _fact(lambda facts: _last_announced(facts, UNIQUE_ID)),
    "fc_http_major": _fact(lambda facts: 1),
    "fe_name": _named(lambda facts: facts.frontend_name),
    "be_name": _named(lambda facts: facts.backend_name),
    "srv_name": _named(lambda facts: facts.server_name),
    "so_name": _named(lambda facts: facts.listener_name),
    "prio_class": _fact(lambda facts: facts.priority[0]),
    "prio_offset": _fact(lambda facts: facts.priority[1]),
    "http_first_req": _fact(lambda facts: None if facts.head is None else facts.first_request),
    "req.proto_http": _fact(lambda facts: None if facts.head is None else True),
    "method": _of_head(lambda head: head.method),
    "url": _of_head(lambda head: head.target),
    "path": lambda: path,
    "pathq": _of_head(lambda head: path_and_query(head.target)),
    "query": _query,
    "base": _of_head(lambda head: _base(head, query=False)),
    "baseq": _of_head(lambda head: _base(head, query=True)),
    "base32": lambda: _hashed(query=False),
    "url32": lambda: _hashed(query=True),
    "base32+src": lambda: _with_source(_hashed(query=False)),
    "url32+src": lambda: _with_source(_hashed(query=True)),
    "url_param": _parameter(),
    "urlp_val": _parameter(_as_number),
    "req.ver": _version(_request),
    "req.hdr": _header(_request, False),
    "req.fhdr": _header(_request, True),
    "req.hdr_cnt": _count(_request, False),
    "req.fhdr_cnt": _count(_request, True),
    "req.hdr_val": _header(_request, False, _as_number),
    "req.hdr_ip": _header(_request, False, _as_address),
    "req.hdr_names": _names(_request),
    "req.hdrs": _lines(_request),
    "req.hdrs_bin": _fields_in_binary(_request),
    "req.cook": _cookie(False),
    "req.cook_cnt": _cookie_count(False),
    "req.cook_val": _cookie(False, _as_number),
    "req.cook_names": _cookie_names(False),
    "url_ip": lambda: _url_ip,
    "url_port": lambda: _url_port,
    "bc_http_major": _fact(lambda facts: None if facts.server_name is None else 1),
    "status": _fact(_status),
    "res.ver": _version(_response),
    "capture.req.hdr": _captured(False),
    "capture.res.hdr": _captured(True),
    "capture.req.method": _of_line(lambda line: line.partition(" ")[0]),
    "capture.req.uri": _fact(_captured_uri),
    "capture.req.ver": _of_line(lambda line: line.rpartition(" ")[2]),
    "capture.res.ver": _fact(_response_version),
    "unique-id": _fact(lambda facts: facts.unique_id or None),
    "txn.status": _fact(lambda facts: facts.course.status),
    "txn.hedged": _fact(lambda facts: facts.course.hedged),
    "fc_err": _fact(lambda facts: 0 if facts.noted is None else facts.noted.error),
    "fc_err_str": _fact(lambda facts: b"Success" if facts.noted is None else facts.noted.error_text.encode()),
    "res.hdr": _header(_response, False),
    "res.fhdr": _header(_response, True),
    "res.hdr_cnt": _count(_response, False),
    "res.fhdr_cnt": _count(_response, True),
    "res.hdr_val": _header(_response, False, _as_number),
    "res.hdr_ip": _header(_response, False, _as_address),
    "res.hdr_names": _names(_response),
    "res.hdrs": _lines(_response),
    "res.hdrs_bin": _fields_in_binary(_response),
    "res.cook": _cookie(True),
    "res.cook_cnt": _cookie_count(True),
    "res.cook_val": _cookie(True, _as_number),
    "res.cook_names": _cookie_names(True),
}

#: Fetches that have no number of a value among their arguments.
PARAMETERS = frozenset(("url_param", "urlp_val", "req.body_param"))

ALL: dict[str, Callable[..., FetchAll]] = {
    "req.hdr": _headers(_request, False),
    "req.fhdr": _headers(_request, True),
    "req.hdr_val": _headers(_request, False, _as_number),
    "req.hdr_ip": _headers(_request, False, _as_address),
    "req.cook": _cookies(False),
    "req.cook_val": _cookies(False, _as_number),
    "res.hdr": _headers(_response, False),
    "res.fhdr": _headers(_response, True),
    "res.hdr_val": _headers(_response, False, _as_number),
    "res.hdr_ip": _headers(_response, False, _as_address),
    "res.cook": _cookies(True),
    "res.cook_val": _cookies(True, _as_number),
    "url_param": _all_parameters(),
    "urlp_val": _all_parameters(_as_number),
    **ALL_BODY,
    **ALL_BYTES,
    **ALL_OF_CONNECTIONS,
}
