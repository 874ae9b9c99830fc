"""Compiles the actions that change how a request is carried (`config.rules.steering`).

Such an action is given an exchange, or a session of `mode tcp`, as `Steered`; what it asks for is done there. Verdicts
beside answers are here: a connection that ends without one, and a request that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Protocol

from attrs import define, frozen

from reusedproxy.config.model.rules import Action
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.steering import (
    Drop,
    EditList,
    EditMap,
    Hint,
    MarkPackets,
    NormalizeURI,
    Nothing,
    Pause,
    Resolve,
    SetAddress,
    SetMethod,
    SetRetries,
    SetStrictness,
    SetTimeout,
    WaitForBody,
)
from reusedproxy.rules import editing, normalizing
from reusedproxy.rules.edited_lists import EditedFile
from reusedproxy.rules.editing import Unusable
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.samples.casts import to_address, to_int
from reusedproxy.rules.samples.compile import compiled, compiled_text
from reusedproxy.rules.samples.fetches import path_and_query
from reusedproxy.rules.samples.formats import text_of, text_to_keep
from reusedproxy.wire.addresses import address_text


@frozen
class Dropped:
    """Ends the client's connection without an answer. `silent`: the client is not told so. `of_server`: it is the
    server's connection that ends, before its answer has come for the client."""

    silent: bool
    of_server: bool = False


@define
class Held:
    """Holds the request back for so many `seconds` (None: what is left of `timeout http-request`), or until this much
    of its body has come (`at_least`; 0: all of it; None: it does not wait for that). Then the rules go on with the one
    whose number is `next`. `begin` begins something whose end it waits for: it is given what is called then, and
    returns what stops it.
    """

    seconds: float | None
    at_least: int | None = None
    next: int = 0
    begin: Callable[[Callable[[], None]], Callable[[], None]] | None = None


class Steered(Facts, Protocol):
    """Defines an exchange, or a session of `mode tcp`, as these actions know it."""

    #: Rewrites that cannot be done are left out (`strict-mode off`).
    lenient: bool
    #: None: what the configuration says.
    own_source: tuple[str, int] | None
    own_destination: tuple[str, int] | None
    most_retries: int | None
    #: It is repeated only where no server can have seen it.
    no_late_retries: bool
    #: Fields of a 103 answer that is to be sent; nothing: none is.
    hints: bytes

    @property
    def lists(self) -> Mapping[str, EditedFile]:
        """Returns the patterns that rules change, by the names of their files."""

    def set_timeout(self, which: str, seconds: float) -> None:
        """Sets a time-out of this exchange, by HAProxy's word."""

    def set_method(self, method: bytes) -> None:
        """Sets the request's method. Raises Unusable."""

    def look_up(self, section: str, name: str, prefer: str, told: Callable[[str | None], None]) -> Callable[[], None]:
        """Calls `told` with an address of this name; None: there is none. Returns what stops that."""

    def mark_packets(self, what: str, value: int) -> None:
        """Sets the mark ("mark") or the type of service ("tos") of packets to the client."""


Act = Callable[[Facts], Any]


def _drop(action: Drop, where: str) -> Act:
    verdict = Dropped(action.silent)
    return lambda facts: verdict


def _set_method(action: SetMethod, where: str) -> Act:
    value = text_of(action.value, where)

    def set_method(facts: Any) -> None:
        facts.set_method(value(facts))

    return set_method


def _set_address(action: SetAddress, where: str) -> Act:
    fetch, port, name = compiled(action.value, where), action.port, action.part
    own = "own_source" if name == "src" else "own_destination"

    def set_address(facts: Any) -> None:
        host, number = facts.source if name == "src" else facts.destination
        sample = fetch(facts)
        if port:
            found = to_int(sample)
            # As HAProxy, which makes an address of any kind for a port that has none.
            if found is not None:
                setattr(facts, own, ("0.0.0.0" if host == "unix" else host, found & 0xFFFF))
        else:
            address = to_address(sample)
            if address is not None:
                setattr(facts, own, (address_text(address), number))

    return set_address


def _seconds(value: float | Expression, where: str) -> Callable[[Facts], float | None]:
    """Returns the function that finds a time; None: there is none."""
    if not isinstance(value, Expression):
        seconds = value
        return lambda facts: seconds
    fetch = compiled(value, where)

    def found(facts: Facts) -> float | None:
        number = to_int(fetch(facts))
        return None if number is None or number <= 0 else number / 1000

    return found


def _set_timeout(action: SetTimeout, where: str) -> Act:
    value, which = _seconds(action.value, where), action.which

    def set_timeout(facts: Any) -> None:
        seconds = value(facts)
        if seconds is not None:
            facts.set_timeout(which, seconds)

    return set_timeout


def _set_retries(action: SetRetries, where: str) -> Act:
    if action.value is None:

        def disable(facts: Any) -> None:
            facts.no_late_retries = True

        return disable
    value = _number(action.value, where)

    def set_retries(facts: Any) -> None:
        number = value(facts)
        if number is not None:
            facts.most_retries = max(0, min(100, number))

    return set_retries


def _number(value: int | Expression, where: str) -> Callable[[Facts], int | None]:
    if not isinstance(value, Expression):
        number = value
        return lambda facts: number
    fetch = compiled(value, where)
    return lambda facts: to_int(fetch(facts))


def _mark(action: MarkPackets, where: str) -> Act:
    value, what = _number(action.value, where), action.what

    def mark(facts: Any) -> None:
        number = value(facts)
        if number is not None:
            facts.mark_packets(what, number & (0xFF if what == "tos" else 0xFFFFFFFF))

    return mark


def _normalize(action: NormalizeURI, where: str) -> Act:
    name, said = action.normalizer, bool(action.option)
    of_path, of_both = normalizing.OF_PATH.get(name), normalizing.OF_BOTH.get(name)

    def normalize(facts: Facts) -> None:
        head = facts.head
        assert head is not None
        whole = path_and_query(head.target)
        if whole is None:
            return
        path, mark, query = whole.partition(b"?")
        try:
            if of_both is not None:
                made = of_both(whole, said)
            elif of_path is not None:
                made = of_path(path, said) + mark + query
            else:
                made = path + mark + normalizing.sort_by_name(query)
        except normalizing.Malformed:
            raise Unusable("a percent sign begins no encoded character") from None
        if made != whole:
            editing.set_pathq(head, made)

    return normalize


def _set_strictness(action: SetStrictness, where: str) -> Act:
    lenient = not action.strict

    def set_strictness(facts: Any) -> None:
        facts.lenient = lenient

    return set_strictness


def _hint(action: Hint, where: str) -> Act:
    name, value = action.name.encode(), text_of(action.value, where)

    def hint(facts: Any) -> None:
        text = value(facts)
        facts.hints += b"%b: %b\r\n" % (name, text)

    return hint


def _wait_for_body(action: WaitForBody, where: str) -> Act:
    seconds, at_least = action.seconds, action.at_least
    return lambda facts: Held(seconds, at_least)


def buffer_request(facts: Facts) -> Held:
    """Does what `option http-buffer-request` says."""
    return Held(None, 0)


def _pause(action: Pause, where: str) -> Act:
    value = _seconds(action.value, where)

    def pause(facts: Facts) -> Held | None:
        seconds = value(facts)
        return None if seconds is None else Held(seconds)

    return pause


def _edit_map(action: EditMap, where: str) -> Act:
    path, key = action.path, text_to_keep(action.key, where)
    value = None if action.value is None else text_to_keep(action.value, where)

    def edit(facts: Any) -> None:
        chosen = facts.maps.get(path)
        if chosen is None:
            return
        if value is None:
            chosen.delete(key(facts))
        elif why := chosen.set(key(facts), value(facts)):
            facts.not_done(f"'set-map({path})': {why}")

    return edit


def _edit_list(action: EditList, where: str) -> Act:
    path, key, adds = action.path, text_to_keep(action.key, where), action.adds

    def edit(facts: Any) -> None:
        chosen = facts.lists.get(path)
        if chosen is None:
            return
        if not adds:
            chosen.delete(key(facts))
        elif why := chosen.add(key(facts)):
            facts.not_done(f"'add-acl({path})': {why}")

    return edit


def _resolve(action: Resolve, where: str) -> Act:
    fetch = compiled_text(action.name, where)

    def resolve(facts: Any) -> Held | None:
        name = fetch(facts)
        if not name:
            return None

        def begin(go_on: Callable[[], None]) -> Callable[[], None]:
            def told(address: str | None) -> None:
                if address is not None:
                    facts.set_variable(action.variable, ip_address(address))
                go_on()

            stop: Callable[[], None] = facts.look_up(action.resolvers, name.decode("latin-1"), action.prefer, told)
            return stop

        return Held(None, begin=begin)

    return resolve


def _nothing(action: Nothing, where: str) -> Act:
    return lambda facts: None


#: By the class of the action; each takes REQUEST or RESPONSE, too.
STEERING: dict[type[Action], Callable[[Any, str], Act]] = {
    Drop: _drop,
    SetMethod: _set_method,
    SetAddress: _set_address,
    SetTimeout: _set_timeout,
    SetRetries: _set_retries,
    MarkPackets: _mark,
    NormalizeURI: _normalize,
    SetStrictness: _set_strictness,
    Hint: _hint,
    WaitForBody: _wait_for_body,
    Pause: _pause,
    EditMap: _edit_map,
    EditList: _edit_list,
    Resolve: _resolve,
    Nothing: _nothing,
}
