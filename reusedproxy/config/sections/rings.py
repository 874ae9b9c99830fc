"""Parses `ring` sections: lines of a log that are kept for those who look at them (`show events` of the runtime API),
and for the server that takes them as a stream.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, evolve

from reusedproxy.config.language import haproxy_words, units
from reusedproxy.config.language.addresses import server_address
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done, one_of
from reusedproxy.config.model.logs import LogTarget
from reusedproxy.config.model.values import Place
from reusedproxy.config.sections.logs import log_line_format

WORDS = ("backing-file", "description", "format", "maxlen", "server", "size", "timeout")
#: Words of its server that say what is done anyhow: nothing of it is checked, and it is one.
_HARMLESS = ("check", "inter", "weight")


@define
class RingDraft:
    """Holds one `ring` section while it is read. `to`: kind, host, port and path of its server; None: it has none."""

    name: str
    place: Place
    format: str = "raw"
    maxlen: int = 1024
    size: int = 16384
    to: tuple[str, str, int, str] | None = None
    octets: bool = False
    connect: float | None = None
    description: str = ""
    unreadable: bool = False

    def read(self, line: Line, report: Report) -> None:
        """Reads one line of the section. Raises Wrong."""
        try:
            self._read(line, report)
        except Wrong:
            self.unreadable = True
            raise

    def _read(self, line: Line, report: Report) -> None:
        word = line.keyword
        if word not in WORDS or line.prefix:
            raise Wrong(f"unknown keyword '{word}' in section 'ring'{did_you_mean(word, WORDS)}")
        if word == "backing-file":
            raise Wrong(not_done(word, "keyword", "lines are kept in memory"))
        if word == "description":
            self.description = " ".join(line.words[1:])
        elif word == "format":
            self.format = log_line_format(line.one_argument("a format"))
        elif word == "maxlen":
            self.maxlen = units.integer(line.one_argument("a number of bytes"), "'maxlen'", least=80, most=65535)
        elif word == "size":
            self.size = units.integer(line.one_argument("a number of bytes"), "'size'", least=1024, most=1 << 30)
        elif word == "timeout":
            self._timeout(line, report)
        elif word == "server":
            self._server(line)

    def _timeout(self, line: Line, report: Report) -> None:
        if len(line.words) != 3 or line.words[1] not in ("connect", "server"):
            raise Wrong("'timeout' in section 'ring' is followed by 'connect' or 'server' and a time")
        value = units.seconds(line.words[2], f"'timeout {line.words[1]}'")
        if line.words[1] == "connect":
            self.connect = value or None
        else:
            report.without_effect("ring … timeout server", line.place)  # who takes lines says nothing

    def _server(self, line: Line) -> None:
        if len(line.words) < 3:
            raise Wrong("'server' needs a name and an address: server log 192.0.2.1:514, say")
        what = f"server '{line.words[1]}'"
        if self.to is not None:
            raise Wrong(f"{what}: a ring has one server: all of them would get the same, as fast as the slowest")
        text = line.words[2].removeprefix("tcp@")
        address = server_address(text if ":" in text or text.startswith("/") else f"{text}:514", what)
        words = list(line.words[3:])
        while words:
            word = words.pop(0)
            if word == "log-proto" and words:
                kind = one_of(words.pop(0), ("legacy", "octet-count"), f"{what}: 'log-proto'")
                self.octets = kind == "octet-count"
            elif word in _HARMLESS:
                del words[: haproxy_words.SERVER[word]]
            else:
                raise Wrong(f"{what}: {not_done(word, 'word of the server of a ring', 'lines go in the clear')}")
        if address.kind == "unix":
            self.to = "stream", "", 514, address.host
        else:
            self.to = "tcp", address.host, address.port or 514, ""


def with_ring(target: LogTarget, rings: Mapping[str, RingDraft], report: Report) -> LogTarget:
    """Returns the target with what its ring says, if it is one. A ring that is not there is a fault."""
    if target.kind != "ring":
        return target
    ring = rings.get(target.host)
    if ring is None:
        if not report.names_in_doubt:
            report.fault(target.place, f"'log': there is no ring '{target.host}'{did_you_mean(target.host, rings)}")
        return target
    kind, host, port, path = ring.to or ("ring", ring.name, 514, "")
    return evolve(
        target,
        kind=kind,
        host=host,
        port=port,
        path=path,
        format=ring.format,
        length=ring.maxlen,
        kept=ring.size,
        octets=ring.octets,
        connect=ring.connect,
        ring=ring.name,
        about=ring.description or ring.name,
    )
