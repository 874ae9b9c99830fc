"""Shows lists of patterns to the runtime API, compares texts with them, and changes them:
`show|get|add|del|clear|prepare|commit acl`.

Every text is HAProxy's. Lists are those of files (`-f`); patterns that stand on a line of the configuration are none. A
generator that changes something is run by a session a step at a time; requests see all of the change, or nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TypeVar

from reusedproxy.config.language.report import Wrong
from reusedproxy.operators.runtime.maps import (
    ENTRIES_AT_ONCE,
    TREES,
    WHAT,
    add_to_version,
    decoded,
    encoded,
    named,
    reference,
    referred,
    unreadable,
    version_of,
)
from reusedproxy.operators.runtime.proxy import Context, Refusal
from reusedproxy.rules.edited_lists import EditedFile
from reusedproxy.rules.pattern_files import PatternFile

T = TypeVar("T")

_UNKNOWN = "Unknown ACL identifier. Please use #<id> or <file>."
#: Methods that compare with no pattern, or with what a text of a command cannot be.
_NOT_COMPARED = ("found", "bool", "bin")


def show_acl(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show acl [[@<ver>] <acl>]`."""
    if not words:
        yield "# id (file) description\n"
        for number, (name, each) in enumerate(context.proxy.patterns.items()):
            places = [f"by acl at file '{place.file}' line {place.line}" for place in each.uses]
            versions = each.versions
            yield (
                f"{number} ({name}) pattern loaded from file '{name}' used {', '.join(places)}."
                f" curr_ver={versions.current} next_ver={versions.newest}"
                f" entry_cnt={len(each.texts()) + versions.count}\n"
            )
        return
    version, rest = version_of(words)
    each = _list(context, rest)
    if version is None or version == each.versions.current:
        texts = each.texts()
    else:
        texts = [*each.versions.prepared.get(version, ())]
    for at in range(0, len(texts), ENTRIES_AT_ONCE):
        some = map(encoded, texts[at : at + ENTRIES_AT_ONCE])
        yield "".join(f"0x{reference(text):x} {decoded(text)}\n" for text in some)


def get_acl(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `get acl <acl> <value>`: a line for each way in which conditions compare with the list."""
    if len(words) < 2:
        raise Refusal("Missing ACL identifier and/or key.")
    each, text = _list(context, words), encoded(words[1])
    same = each
    if not isinstance(same, EditedFile):
        same = yield from _in_steps(EditedFile.made_of([*each]))  # which can tell which of the patterns it is
    for method, ignore_case in [*each.prepared]:
        if method in _NOT_COMPARED:
            continue
        yield from _in_steps(same.prepare(method, ignore_case, WHAT))
        pattern = same.pattern_for(method, ignore_case, text)
        cased = not ignore_case or method == "ip"
        said = f"type={method}, case={'in' if ignore_case else ''}sensitive, match={'no' if pattern is None else 'yes'}"
        if pattern is not None:
            said += f', idx={"tree" if method in TREES and cased else "list"}, pattern="{decoded(pattern)}"'
        yield f"{said}\n"


def add_acl(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `add acl [@<ver>] <acl> <pattern>`."""
    version, rest = version_of(words)
    if len(rest) < 2:
        raise Refusal("'add acl' expects two parameters: ACL identifier and pattern.")
    each, text = _list(context, rest), encoded(rest[1])
    if version is None or version == each.versions.current:
        yield from _in_steps(each.add_text(text, WHAT))
    else:
        add_to_version(each.versions, version, text, b"", "acl")


def del_acl(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `del acl <acl> [<key>|#<ref>]`."""
    if len(words) < 2:
        raise Refusal("This command expects two parameters: ACL identifier and key.")
    each = _list(context, words)
    text = encoded(words[1])
    if words[1].startswith("#0x"):
        text = yield from referred(words[1], each.texts(), "Key not found.")
    if not (yield from _in_steps(each.delete_text(text, WHAT))):
        raise Refusal("Key not found.")


def clear_acl(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `clear acl [@<ver>] <acl>`."""
    version, rest = version_of(words)
    if not rest:
        raise Refusal("Missing ACL identifier.")
    each = _list(context, rest)
    if version is None or version == each.versions.current:
        yield from _replace(each, ())
    else:
        each.versions.prepared.pop(version, None)


def prepare_acl(context: Context, words: Sequence[str]) -> str:
    """Does `prepare acl <acl>`."""
    return f"New version created: {_list(context, words).versions.prepare()}\n"


def commit_acl(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `commit acl @<ver> <acl>`: what was added to the version takes the place of all at once."""
    version, rest = version_of(words)
    if version is None:
        raise Refusal("Missing version number.")
    if not rest:
        raise Refusal("Missing ACL identifier.")
    each = _list(context, rest)
    if not each.versions.may_commit(version):
        raise Refusal("Version number out of range.")
    yield from _replace(each, [*each.versions.prepared.pop(version, ())])
    each.versions.commit(version)


def _replace(each: PatternFile, texts: Iterable[bytes]) -> Iterator[str]:
    yield from _in_steps(each.replace(texts, WHAT))


def _in_steps(work: Generator[None, None, T]) -> Generator[str, None, T]:
    """Does work that a session runs a step at a time. Raises Refusal."""
    try:
        while True:
            next(work)
            yield ""
    except StopIteration as end:
        done: T = end.value
        return done
    except Wrong as wrong:
        raise unreadable(wrong) from None
    finally:
        work.close()


def _list(context: Context, words: Sequence[str]) -> PatternFile:
    found = named(words, context.proxy.patterns)
    if found is None:
        raise Refusal(_UNKNOWN)
    return found
