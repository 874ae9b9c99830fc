"""Values that all sections of a configuration are made of: where a word stands, what is said about it, addresses, sample expressions. Pure."""

from __future__ import annotations

from attrs import frozen


@frozen
class Place:
    """Where in the configuration something was said, for every message that is about it."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@frozen
class Notice:
    """Something the operator should hear at start, though the daemon starts all the same.

    `level` is "notice" (a setting that cannot matter here was accepted) or "warning" (this may not do what you think).
    """

    level: str
    place: Place
    text: str


@frozen
class ListenAddress:
    """One thing to listen on, after ranges and lists have been expanded.

    kind "tcp": `host` ("" is every address, IPv4 and, for `:::port`, IPv6) and `port` (0: the kernel picks);
    kind "unix": `path`; kind "fd": `fd`, an already listening socket that we inherited.
    """

    kind: str
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1
    v6: bool = False

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix@{self.path}"
        if self.kind == "fd":
            return f"fd@{self.fd}"
        host = self.host or ("::" if self.v6 else "*")
        return f"[{host}]:{self.port}" if self.v6 and self.host else f"{host}:{self.port}"


@frozen
class Call:
    """A sample fetch or converter with its arguments."""

    name: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({','.join(self.arguments)})" if self.arguments else self.name


@frozen
class Expression:
    """A sample expression: what is fetched, and how it is converted."""

    fetch: Call
    converters: tuple[Call, ...] = ()

    def __str__(self) -> str:
        return ",".join(map(str, (self.fetch, *self.converters)))
