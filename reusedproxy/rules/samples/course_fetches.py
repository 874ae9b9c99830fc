"""Implements the sample fetches about an exchange, or a session of `mode tcp`, as far as it has come: what the log says
of it, for rules (manual, sections 7.3.2, 7.3.3 and 8.2.6). Times are milliseconds, -1 for what has not been reached.

Each makes the exchange's course once more, so a rule that asks for three times makes three of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from reusedproxy.rules.facts import (
    TLS_FAILED,
    TLS_OTHER_HOST,
    TLS_OTHER_NAME,
    TLS_REFUSED_LATE,
    Course,
    Facts,
    Sample,
)
from reusedproxy.rules.samples.casts import address_of
from reusedproxy.rules.samples.dates import UNITS

Fetch = Callable[[Facts], Sample]
Read = Callable[[Course], Sample]


def _of_course(read: Read) -> Callable[[], Fetch]:
    return lambda: lambda facts: read(facts.course)


def _when(read: Callable[[Course], float]) -> Callable[..., Fetch]:
    """Makes a fetch of a time of day, in seconds since 1970 or in the finer unit that is asked for."""

    def make(unit: str = "s") -> Fetch:
        parts = UNITS[unit]
        return lambda facts: int(read(facts.course) * parts)

    return make


def _host(of: Callable[[Course], tuple[str, int] | None]) -> Read:
    def read(course: Course) -> Sample:
        found = of(course)
        return None if found is None or found[0] == "unix" else address_of(found[0].encode())

    return read


def _port(of: Callable[[Course], tuple[str, int] | None]) -> Read:
    def read(course: Course) -> Sample:
        found = of(course)
        return None if found is None else found[1]

    return read


def _error(said: Mapping[int, bytes]) -> Read:
    def read(course: Course) -> Sample:
        found = course.server_error
        return None if found is None else said[found]

    return read


def _number(course: Course) -> Sample:
    found = course.server_tls_error
    return None if found is None else found[0]


def _openssl_text(course: Course) -> Sample:
    found = course.server_tls_error
    return None if found is None else found[1] or None


#: HAProxy's names and sentences of what fails of a connection to a server: nothing, or its handshake.
SERVER_ERROR_NAMES: Final = {
    0: b"",
    TLS_FAILED: b"SSL_HANDSHAKE",
    TLS_OTHER_HOST: b"SSL_MISMATCH",
    TLS_OTHER_NAME: b"SSL_MISMATCH_SNI",
    TLS_REFUSED_LATE: b"SSL_FATAL",
}
_OTHER = b"Server presented an SSL certificate different from the "
SERVER_ERRORS: Final = {
    0: b"Success",
    TLS_FAILED: b"SSL handshake failure",
    TLS_OTHER_HOST: _OTHER + b"configured one",
    TLS_OTHER_NAME: _OTHER + b"expected one",
    TLS_REFUSED_LATE: b"SSL fatal error",
}
#: By HAProxy's names; beside each stands the alias of the log.
_READ: dict[str, Read] = {
    "fc.timer.handshake": lambda course: course.handshake_time,  # %Th
    "fc.timer.total": lambda course: course.total_time,  # %Tt
    "bc.timer.connect": lambda course: course.connect_time,  # %Tc
    "req.timer.idle": lambda course: course.idle_time,  # %Ti
    "req.timer.tq": lambda course: course.whole_request_time,  # %Tq
    "req.timer.hdr": lambda course: course.request_time,  # %TR
    "req.timer.queue": lambda course: course.queue_time,  # %Tw
    "res.timer.hdr": lambda course: course.response_time,  # %Tr
    "res.timer.data": lambda course: course.data_time,  # %Td
    "txn.timer.total": lambda course: course.active_time,  # %Ta
    "txn.timer.user": lambda course: course.user_time,  # %Tu
    "bytes_in": lambda course: course.bytes_in,  # %U
    "bytes_out": lambda course: course.bytes_out,  # %B
    "txn.conn_retries": lambda course: course.retries,  # %rc
    "txn.redispatched": lambda course: bool(course.moved),
    "txn.sess_term_state": lambda course: course.flags.encode(),
    "txn.id32": lambda course: course.number & 2**32 - 1,  # %rt
    "bc_be_queue": lambda course: course.backend_queue,  # %bq
    "bc_srv_queue": lambda course: course.srv_queue,  # %sq
    "act_conn": lambda course: course.process_clients,  # %ac
    "so_id": lambda course: course.listener_number,
    "bc_err": lambda course: course.server_error,
    "bc_err_name": _error(SERVER_ERROR_NAMES),
    "bc_err_str": _error(SERVER_ERRORS),
    "ssl_bc_err": _number,
    "ssl_bc_err_str": _openssl_text,
    "bc_dst": _host(lambda course: course.server_address),  # %si
    "bc_dst_port": _port(lambda course: course.server_address),  # %sp
}
COURSE_FETCHES: dict[str, Callable[..., Fetch]] = {
    **{name: _of_course(read) for name, read in _READ.items()},
    "accept_date": _when(lambda course: course.accepted_at),
    "request_date": _when(lambda course: course.requested_at),
}
