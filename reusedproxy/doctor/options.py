"""Parses the command line of `reusedproxy doctor`. It must never know what is done with it."""

from __future__ import annotations

from typing import NoReturn

from twisted.python.usage import Options as TwistedOptions
from twisted.python.usage import UsageError

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.language.units import seconds as seconds_of
from reusedproxy.operators.version import build

#: The most that may be asked for.
CONNECTIONS_MOST = 1000
IDLE_MOST = 3600.0


class DoctorOptions(TwistedOptions):
    """The command line of `reusedproxy doctor`."""

    longdesc = (
        "Dials each server as the daemon would, says in plain words what it finds and what to write in the file."
        " Exit status: 0 all is well, 1 trouble was found, 2 it could not do its work."
    )

    optFlags = [["json", None, "Say it as JSON, for programs."]]
    optParameters = [
        [
            "idle",
            None,
            "10s",
            "How long idle connections are watched to learn when the server closes them (a time; 0: not).",
        ],
        ["connections", None, None, "How many connections each server is to bear (default: its floor, at most 8)."],
        ["name", None, None, "The name for servers whose 'sni' depends on the request."],
        [
            "record",
            None,
            None,
            "A saved 'show pool record' (- is standard input): says what other settings would have made of it. These"
            " are the words behind, such as floor=8,idle=20s; without any, some floors.",
        ],
        ["time-limit", None, None, "End after so long with what was found (default: 60s and --idle)."],
    ]

    def __init__(self) -> None:
        TwistedOptions.__init__(self)
        self["config"] = []
        #: Backends, or backend/server; none: all.
        self.servers: list[str] = []
        self.idle = self.limit = 0.0
        self.connections: int | None = None

    def getSynopsis(self) -> str:
        return (
            "Usage: reusedproxy doctor --config FILE [options] [backend[/server] ...]\n"
            "       reusedproxy doctor --record FILE [--json] [setting=value[,...] ...]"
        )

    def opt_config(self, path: str) -> None:
        """A configuration file, or a directory of them, as for the daemon. May be given more than once."""
        self["config"].append(path)

    opt_f = opt_config

    def opt_version(self) -> NoReturn:
        """Say the version and exit."""
        print(f"reusedproxy {build()}")
        raise SystemExit(0)

    def parseArgs(self, *words: str) -> None:
        """Takes the names of servers; options may stand behind them."""
        names = [*words]
        while names and not names[0].startswith("-"):
            self.servers.append(names.pop(0))
        if names:
            self.parseOptions(names)  # type: ignore[no-untyped-call]

    def postOptions(self) -> None:
        if self["record"] is not None and self["config"]:
            raise UsageError("--record needs no --config: a record says what it is of")
        if not self["config"] and self["record"] is None:
            raise UsageError("no configuration: say --config FILE")
        self.idle = _time("--idle", self["idle"])
        self.limit = 60.0 + self.idle if self["time-limit"] is None else _time("--time-limit", self["time-limit"])
        if self["connections"] is not None:
            said: str = self["connections"]
            if not said.isdecimal() or not 1 <= int(said) <= CONNECTIONS_MOST:
                raise UsageError(f"--connections needs a number from 1 to {CONNECTIONS_MOST}, not '{said}'")
            self.connections = int(said)


def _time(option: str, said: str) -> float:
    try:
        found = seconds_of(said, "its time", "s")
    except Wrong as wrong:
        raise UsageError(f"{option}: {wrong}") from None
    if found > IDLE_MOST:
        raise UsageError(f"{option}: at most {IDLE_MOST:g}s")
    return found
