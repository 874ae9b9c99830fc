"""Answers what a configuration means for the process itself: whether it has anything to do, which settings count at the
start only, and which descriptors it is given. Pure. Must never know how a proxy is started or reloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.proxies import Configuration, Global
from reusedproxy.config.model.values import Notice, Place
from reusedproxy.net.binding import inherited
from reusedproxy.net.named_sockets import Unnamed


def nothing_to_serve(configuration: Configuration, path: str) -> Iterator[Fault]:
    """Returns the fault of a configuration, read from `path`, that listens nowhere: a reload must not close the
    listeners of a running daemon because an editor has just emptied the file."""
    global_ = configuration.global_
    # As in HAProxy, the sockets for operators count as listeners.
    reached = global_.manhole is not None or global_.stats_sockets
    if not reached and not any(each.binds and not each.disabled for each in configuration.frontends.values()):
        yield Fault(Place(path, 1), "nothing to serve: there is no 'bind' in any 'frontend' or 'listen'")


def start_only(said: Global) -> dict[str, object]:
    """Returns the settings that take effect at the start only, by keyword; of `manhole` where it listens and what its
    key is. (That there is none any more, and other authorized keys, count at once.)"""
    people = {
        "user": said.user,
        "group": said.group,
        "chroot": said.chroot,
        "spiffe-workload-api": said.workload_api,
    }
    words: dict[str, object] = {word: each and (each.word, each.value) for word, each in people.items()}
    return {**words, "manhole": said.manhole and (said.manhole.address, said.manhole.host_key)}


def descriptors_in(configuration: Configuration) -> set[int]:
    """Returns the descriptors that the configuration names (`fd@3`)."""
    said = configuration.global_
    addresses = [bind.address for each in configuration.frontends.values() for bind in each.binds]
    addresses += [each.bind.address for each in said.stats_sockets]
    addresses += [] if said.manhole is None else [said.manhole.address]
    found = set()
    for address in addresses:
        with suppress(Unnamed):  # it came from the process before
            found |= {inherited(address)} if address.kind == "fd" else set()
    return found


def empty_tables(configuration: Configuration) -> list[Notice]:
    """Returns the warnings for stick tables that do not go over from the process whose place this one takes."""
    text = "the table begins empty: it does not know what that of the process before does, nor whom that keeps out"
    return [Notice("warning", table.place, f"'{table.name}': {text}") for table in configuration.tables.values()]
