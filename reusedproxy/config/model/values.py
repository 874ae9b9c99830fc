"""Defines the values that all sections are made of: places, notices, addresses, sample expressions. Values only."""

from __future__ import annotations

from attrs import frozen

#: Stands for all public addresses in a list of networks (`egress-net`).
PUBLIC = "public"


@frozen
class Place:
    """Names file and line in the configuration, for every message about it; line 0: an order, and no file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@frozen
class Notice:
    """Holds a message for the operator at start that does not keep the daemon from starting.

    `level` is "notice" (a setting without effect was accepted) or "warning" (the setting may not do what is expected).
    """

    level: str
    place: Place
    text: str


@frozen
class ListenAddress:
    """Holds one address to listen on, after ranges and lists have been expanded.

    kind "tcp": `host` ("" is every address, IPv4 and, for `:::port`, IPv6) and `port` (0: the kernel picks); kind
    "unix": `path`; kind "abns": `path`, a name in Linux's abstract namespace; kind "fd": `fd`, an inherited socket that
    is already listening, or `path`, the name under which it was inherited.
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
        if self.kind == "abns":
            return f"abns@{self.path}"
        if self.kind == "fd":
            return f"fd@{self.path or self.fd}"
        host = self.host or ("::" if self.v6 else "*")
        return f"[{host}]:{self.port}" if self.v6 and self.host else f"{host}:{self.port}"


@frozen
class Call:
    """Holds a sample fetch or converter with its arguments."""

    name: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({','.join(self.arguments)})" if self.arguments else self.name


@frozen
class Expression:
    """Holds a sample expression: a fetch and its converters."""

    fetch: Call
    converters: tuple[Call, ...] = ()

    def __str__(self) -> str:
        return ",".join(map(str, (self.fetch, *self.converters)))
