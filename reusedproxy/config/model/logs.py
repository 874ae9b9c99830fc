"""Defines what sections say of logs: where lines go, which are written, and what they show. Values only."""

from __future__ import annotations

from attrs import frozen

from reusedproxy.config.model.rules import Format
from reusedproxy.config.model.values import Place

#: Stands for the name of this machine.
THIS_HOST = "%H"


@frozen
class LogTarget:
    """Holds one `log` line. kind "stdout"/"stderr": that descriptor; "udp": `host`, `port`; "unix": `path` of a
    syslog socket; "tcp" and "stream": the same, for those that take a stream; "ring": none but a ring; `host`
    is its name, until that is looked up.

    `format` is HAProxy's word; "": "local", or "rfc3164" with a host's name. `facility` and `level` are syslog's names.
    A line longer than `length` bytes is cut. A line more severe than `cap` is sent with the level `cap`. Of each
    `period` lines those in the ranges of `sample` are sent, 1 being the first; (): all. Of a stream: `kept` bytes wait
    for who takes none (0: as many as anybody's), lines begin with their size where `octets` says so, and a connection
    is waited for `connect` seconds. `ring` is the name of the ring that keeps the lines, too ("": none does), and
    `about` its description.
    """

    place: Place
    kind: str
    host: str = ""
    port: int = 514
    path: str = ""
    format: str = ""
    facility: str = "local0"
    level: str = "debug"
    cap: str = "emerg"
    length: int = 1024
    sample: tuple[tuple[int, int], ...] = ()
    period: int = 0
    kept: int = 0
    octets: bool = False
    connect: float | None = None
    ring: str = ""
    about: str = ""


@frozen
class Slot:
    """Holds one capture of the log: the name of a header; "" for what rules capture. `length`: at most so many bytes of
    a value are kept."""

    place: Place
    length: int
    name: str = ""


@frozen
class Captures:
    """Holds what a frontend captures of requests and responses for its log, in the order of the lines. `cookie` is the
    beginning of a cookie's name and its value (`name=value`), "" for none, of which `cookie_length` bytes are kept."""

    request: tuple[Slot, ...] = ()
    response: tuple[Slot, ...] = ()
    cookie: str = ""
    cookie_length: int = 0

    def __bool__(self) -> bool:
        return bool(self.request or self.response or self.cookie)


NO_CAPTURES = Captures()


@frozen
class LogSettings:
    """Holds what a frontend logs of its traffic. `format` None: the short line without any option. `data` is the
    structured data of RFC 5424 (`log-format-sd`), `errors` the format for clients from which no request could be read.

    `notes_connections`: a format shows something of the connection to the server, or of its answer. `early`: lines are
    written before the end (`logasap`); `separate_errors`: at the level "err" where something went wrong;
    `errors_only`: only then (`dontlog-normal`). `tag` "": that of the global section.
    """

    format: Format | None = None
    data: Format | None = None
    errors: Format | None = None
    notes_connections: bool = False
    early: bool = False
    separate_errors: bool = False
    errors_only: bool = False
    tag: str = ""


NO_LOG = LogSettings()
