"""Loads the parts of the program that only some configurations use: the statistics page, the exporter of metrics, the
runtime API, RE2, messages of DNS. A daemon that uses none of them needs 8 MiB less.

Who uses a part imports it where that begins. Here it is loaded before, when the configuration has been read: in steps,
so that a reload never holds the event loop for longer than one of them takes (the longest, Jinja2, 13 ms), and so that
what cannot be loaded is a fault of that configuration. Nothing is loaded after a newer program has been installed
over the one that runs: the two would not fit together.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module

import reusedproxy
from reusedproxy.backends.checks.external import null
from reusedproxy.build.pages import exports, has_page
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.net.slices import Steps, run_through

_REGULAR = ("re2",)
#: Of Python, what is loaded by who first encodes a name of a host.
_PYTHON = ("encodings.idna",)
#: Names of modules, those that others import first, so that no step is long.
_STATISTICS = tuple(f"reusedproxy.operators.{each}" for each in ("view.values", "view.reading", "stats.moment"))
_PAGE = (
    *("jinja2", *_STATISTICS, "reusedproxy.operators.stats.page", "reusedproxy.operators.stats.handler"),
    "reusedproxy.operators.runtime.form",
)
_EXPORTER = (*_STATISTICS, "reusedproxy.operators.metrics.exporter")
_RUNTIME_API = (
    *(*_STATISTICS, "reusedproxy.operators.runtime.authorities", "reusedproxy.operators.runtime.servers"),
    *("reusedproxy.operators.runtime.commands", "reusedproxy.operators.runtime.session"),
)


class Outdated(ImportError):
    """Says that the program that runs is not the one whose files are there."""


def _stamp() -> tuple[int, int]:
    """Returns what changes when another version is installed. Raises OSError."""
    status = os.stat(reusedproxy.__file__)
    return status.st_ino, status.st_mtime_ns


#: That of the program that runs.
_STAMP = _stamp()


def loading_parts(configuration: Configuration) -> Steps[None]:
    """Loads what a configuration uses and is not there yet, one module in a step. Raises ImportError."""
    for name in _parts_of(configuration):
        if name not in sys.modules:
            _load(name)
            yield
    if has_page(configuration):
        yield from _preparing_templates()


def load_all() -> None:
    """Loads every part, and opens what programs of checks are given, for a daemon that soon has no file of this system
    any more (twistd's --chroot). Raises ImportError."""
    with suppress(OSError):
        null()
    for name in (*_PYTHON, *_REGULAR, *_PAGE, *_EXPORTER, *_RUNTIME_API):
        _load(name)
    run_through(_preparing_templates())


def _preparing_templates() -> Steps[None]:
    from reusedproxy.operators.stats.rendering import preparing

    return preparing()


def _parts_of(configuration: Configuration) -> Iterator[str]:
    """Yields names of modules. RE2 has been loaded by who has read an expression."""
    if configuration.global_.stats_sockets:
        yield from _RUNTIME_API
    if has_page(configuration):
        yield from _PAGE
    if exports(configuration):
        yield from _EXPORTER


def _load(name: str) -> None:
    try:
        is_same = _stamp() == _STAMP
    except OSError:
        is_same = False
    if not is_same:
        raise Outdated(
            f"{name}: the files of reusedproxy have been replaced, or taken away, since this process began:"
            " a restart, --replace or SIGUSR2 begins one with those that are there now"
        )
    import_module(name)
