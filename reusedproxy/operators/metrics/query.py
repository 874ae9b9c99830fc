"""Reads which metrics a request asks for, by HAProxy's parameters: `scope`, `metrics`, `no-maint`, `extra-counters` and
`desc-labels`; and by one of ours, `server-histograms`."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from attrs import field, frozen

#: What there is to ask for, in the order in which it is written.
SCOPES = ("global", "frontend", "listener", "backend", "server", "sticktable")
#: Scopes of HAProxy of which there is nothing here.
_EMPTY = ("resolver",)
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9a-fA-F]{2})")


class BadQuery(Exception):
    """Raised where it is not clear what is asked for."""


@frozen
class Query:
    """Holds what is asked for. `metrics` are names that are wanted (True) or not (False); `others` tells whether those
    that it does not name are."""

    scopes: frozenset[str] = frozenset(SCOPES)
    metrics: dict[str, bool] = field(factory=dict)
    no_maint: bool = False
    extra_counters: bool = False
    desc_labels: bool = False
    #: Histograms of pools are written for each server, not added up by backend.
    server_histograms: bool = False

    @property
    def others(self) -> bool:
        return True not in self.metrics.values()

    def wants(self, name: str) -> bool:
        """Tells whether the metric with this name is asked for."""
        return self.metrics.get(name, self.others) if self.metrics else True


def read_query(target: bytes) -> Query:
    """Reads the query of a request target. As in HAProxy, words that it does not know are ignored, but not scopes.
    Raises BadQuery."""
    query = target.partition(b"#")[0].partition(b"?")[2]
    scopes: set[str] | None = None
    metrics: dict[str, bool] = {}
    said = set()
    for parameter in query.split(b"&") if query else ():
        name, equals, value = parameter.partition(b"=")
        if b"=" in value:
            raise BadQuery("a value with '='")
        word, text = _decoded(name), _decoded(value)
        if word in ("scope", "metrics") and not equals:
            raise BadQuery(f"'{word}' without a value")
        if word == "scope":
            scopes = _with_scope(scopes or set(), text)
        elif word == "metrics":
            for each in text.split(","):
                if each.strip("-"):
                    metrics[each.removeprefix("-")] = not each.startswith("-")
        else:
            said.add(word)
    return Query(
        scopes=frozenset(SCOPES if scopes is None else scopes),
        metrics=metrics,
        no_maint="no-maint" in said,
        extra_counters="extra-counters" in said,
        desc_labels="desc-labels" in said,
        server_histograms="server-histograms" in said,
    )


def _with_scope(scopes: set[str], word: str) -> set[str]:
    if word == "*":
        return set(SCOPES)
    if not word:
        return set()
    if word in SCOPES:
        return scopes | {word}
    if word in _EMPTY:
        return scopes
    raise BadQuery(f"no scope '{word}'")


def _decoded(data: bytes) -> str:
    if _BROKEN_ESCAPE.search(data):
        raise BadQuery("a broken escape")
    return unquote_to_bytes(data.replace(b"+", b" ")).decode("utf-8", "replace")
