"""Parses `compression` lines: which answers are compressed for clients, and how."""

from __future__ import annotations

from attrs import evolve

from reusedproxy.config.language import units
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done, one_of
from reusedproxy.config.model.compression import CODINGS, Compression
from reusedproxy.config.sections.draft import ProxyDraft

_WORDS = ("algo", "algo-res", "type", "type-res", "offload", "direction", "minsize-res")
#: Of requests: those go on as they come.
_NOT_DONE = ("algo-req", "type-req", "minsize-req")


def read_compression(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `compression algo|type|offload …`. Raises Wrong."""
    said = proxy.compression or Compression()
    word, *rest = line.arguments or ("",)
    what = f"'compression {word}'"
    if word in _NOT_DONE:
        raise Wrong(not_done(f"compression {word}", hint="requests go on as their clients send them"))
    if word not in _WORDS:
        raise Wrong(f"'compression': unknown word '{word}'{did_you_mean(word, _WORDS)}")
    if word == "offload":
        if rest:
            raise Wrong(f"{what} takes nothing after it: '{rest[0]}'")
        if proxy.kind == "defaults":
            report.warn(line.place, f"{what} is ignored in a 'defaults' section, as in HAProxy")
            return
        proxy.compression = evolve(said, offload=True)
        return
    if not rest:
        raise Wrong(f"{what} needs a value")
    if word == "direction":
        if one_of(rest[0], ("request", "response", "both"), what) != "response":
            raise Wrong(not_done(f"compression direction {rest[0]}", hint="requests go on as their clients send them"))
    elif word == "minsize-res":
        proxy.compression = evolve(said, least=units.size(rest[0], what))
    elif word.startswith("algo"):
        names = tuple(one_of(each, CODINGS, what) for each in rest)
        proxy.compression = evolve(said, algorithms=tuple(dict.fromkeys((*said.algorithms, *names))))
    else:
        proxy.compression = evolve(said, types=tuple(dict.fromkeys((*said.types, *rest))))
