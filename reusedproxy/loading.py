"""Configuration files and directories of them, from their paths to values; and all that is wrong, as lines for people.

It reads text; it must never know what becomes of the configuration.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from OpenSSL import SSL

from reusedproxy.config.model import Configuration, Notice
from reusedproxy.config.reader import ConfigurationError, Source, reading
from reusedproxy.net.slices import Steps, run_through


class Refused(Exception):
    """The configuration cannot be used; `lines` say all that is wrong with it, warnings among them."""

    def __init__(self, faults: Iterable[object], notices: Iterable[Notice] = ()) -> None:
        self.faults, self.notices = list(faults), list(notices)
        self.lines = [*map(notice_line, self.notices), *(f"[ALERT] {fault}" for fault in self.faults)]
        super().__init__("\n".join(self.lines))


def load(paths: list[str]) -> Configuration:
    """Read configuration files and directories of them. Raises Refused."""
    return run_through(loading(paths))


def loading(paths: list[str]) -> Steps[Configuration]:
    """The same in steps."""
    sources = []
    faults = []
    for path in paths:
        try:
            names = files_in(path)
            if not names:
                faults.append(f"{path}: there is no *.cfg file in this directory")
            for name in names:
                # What is no UTF-8 is told with its line, and in a comment it harms nobody.
                with open(name, encoding="utf-8", errors="surrogateescape", newline="") as file:
                    sources.append(Source(name, file.read()))
        except OSError as error:
            faults.append(f"{error.filename}: cannot be read: {error.strerror}")
    if faults:
        raise Refused(faults)
    try:
        library = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("latin-1")
        return (yield from reading(sources, os.environ, library))
    except ConfigurationError as error:
        raise Refused(error.faults, error.notices) from None


def files_in(path: str) -> list[str]:
    """What is read for it: itself, or the *.cfg files of a directory. Raises OSError."""
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith(".cfg")]


def notice_line(notice: Notice) -> str:
    return f"[{notice.level.upper()}] {notice.place}: {notice.text}"
