"""Shows lists of patterns to the runtime API, compares texts with them, and changes them:
`show|get|add|del|clear|prepare|commit acl`.

Every text is HAProxy's. Lists are those of files (`-f`); patterns that stand on a line of the configuration are none. A
generator that changes something is run by a session a step at a time; requests see all of the change, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reusedproxy.operators.runtime.entries import (
    TREES,
    WHAT,
    decoded,
    demand_named,
    encoded,
    in_steps,
    listed,
    named,
    referred,
    shown,
    version_of,
)
from reusedproxy.operators.runtime.proxy import Context, Refusal
from reusedproxy.operators.runtime.versions import VersionOrders
from reusedproxy.rules.edited_lists import EditedFile
from reusedproxy.rules.pattern_files import PatternFile

_UNKNOWN = "Unknown ACL identifier. Please use #<id> or <file>."
#: Methods that compare with no pattern, or with what a text of a command cannot be.
_NOT_COMPARED = ("found", "bool", "bin")


def show_acl(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show acl [[@<ver>] <acl>]`."""
    if not words:
        yield from listed("acl", enumerate(context.proxy.patterns.items()))
        return
    version, rest = version_of(words)
    yield from shown(_list(context, rest), version, "{}")


def get_acl(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `get acl <acl> <value>`: a line for each way in which conditions compare with the list."""
    if len(words) < 2:
        raise Refusal("Missing ACL identifier and/or key.")
    each, text = _list(context, words), encoded(words[1])
    same = each
    if not isinstance(same, EditedFile):
        same = yield from in_steps(EditedFile.made_of([*each]))  # which can tell which of the patterns it is
    for method, ignore_case in [*each.prepared]:
        if method in _NOT_COMPARED:
            continue
        yield from in_steps(same.prepare(method, ignore_case, WHAT))
        pattern = same.pattern_for(method, ignore_case, text)
        cased = not ignore_case or method == "ip"
        said = f"type={method}, case={'in' if ignore_case else ''}sensitive, match={'no' if pattern is None else 'yes'}"
        if pattern is not None:
            said += f', idx={"tree" if method in TREES and cased else "list"}, pattern="{decoded(pattern)}"'
        demand_named(each, context.proxy.patterns, "ask again")
        yield f"{said}\n"


def add_acl(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `add acl [@<ver>] <acl> <pattern>`."""
    version, rest = version_of(words)
    if len(rest) < 2:
        raise Refusal("'add acl' expects two parameters: ACL identifier and pattern.")
    each, text = _list(context, rest), encoded(rest[1])
    yield from versions.in_turn(context, each, _add(each, version, text))


def _add(each: PatternFile, version: int | None, text: bytes) -> Iterator[str]:
    if version is None or version == each.versions.current:
        yield from in_steps(each.add_text(text, WHAT))
        each.versions.ordered = True
    else:
        yield from versions.add(each, version, text)


def del_acl(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `del acl <acl> [<key>|#<ref>]`."""
    if len(words) < 2:
        raise Refusal("This command expects two parameters: ACL identifier and key.")
    each = _list(context, words)
    yield from versions.in_turn(context, each, _del(each, words))


def _del(each: PatternFile, words: Sequence[str]) -> Iterator[str]:
    found = yield from referred(each, words[1], "Key not found.")
    if isinstance(found, bytes):
        work = each.delete_text(found, WHAT)
    elif found.prepared is not None:
        found.prepared.delete_one(found.number, found.key)
        return
    else:
        work = each.delete_entry(found.number, found.key, WHAT)
    if not (yield from in_steps(work)):
        raise Refusal("Key not found.")
    each.versions.ordered = True


def _list(context: Context, words: Sequence[str]) -> PatternFile:
    found = named(words, context.proxy.patterns)
    if found is None:
        raise Refusal(_UNKNOWN)
    return found


versions = VersionOrders("acl", _list, lambda context: context.proxy.patterns)
