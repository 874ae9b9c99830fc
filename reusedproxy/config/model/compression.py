"""Defines what a section says of compressing answers (`compression`)."""

from __future__ import annotations

from attrs import frozen

#: HAProxy's words for codings, and the names by which clients know them ("": none).
CODINGS = {"gzip": "gzip", "deflate": "deflate", "raw-deflate": "deflate", "identity": ""}


@frozen
class Compression:
    """Holds the `compression` lines of one section: `algorithms` by HAProxy's words, the beginnings of media `types`
    (none: all), and the fewest bytes (`minsize-res`). `offload`: servers do not hear of what clients accept."""

    algorithms: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    offload: bool = False
    least: int = 0
