"""Shows maps to the runtime API, looks texts up in them, and changes them: `show|get|add|set|del|clear|prepare|commit
map`.

Every text is HAProxy's. A key is in a map once here: where HAProxy holds equal ones, of which the first counts, what is
added behind it is left out. A generator that changes something is run by a session a step at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, TypeVar

from reusedproxy.config.language.report import Wrong
from reusedproxy.operators.runtime.proxy import Context, Refusal
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.maps import Map
from reusedproxy.rules.samples.casts import to_address, to_int
from reusedproxy.rules.versions import MOST_PREPARED, Versions

T = TypeVar("T")

#: Entries that are looked at in one piece of an answer.
ENTRIES_AT_ONCE = 200
UNKNOWN_MAP = "Unknown map identifier. Please use #<id> or <file>."
_MALFORMED = "Malformed identifier. Please use #<id> or <file>."
#: What messages about keys begin with.
WHAT = "a map"
_NO_ADDRESS = re.compile(r"('.*') is no address, nor a network")
#: How an entry is named by its reference, which `show` has before it.
_REFERENCE = re.compile(r"#(0x)?([0-9a-fA-F]+)\Z")
#: Ways of matching that HAProxy has a tree for.
TREES = ("str", "beg", "ip")
_CASTS: dict[str, Callable[[Sample], Any]] = {"int": to_int, "ip": to_address}


def show_map(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show map [[@<ver>] <map>]`."""
    if not words:
        yield "# id (file) description\n"
        for number, (name, each) in enumerate(context.proxy.maps.items(), len(context.proxy.patterns)):
            places = [f"by map at file '{place.file}' line {place.line}" for place in each.uses]
            versions = each.versions
            yield (
                f"{number} ({name}) pattern loaded from file '{name}' used {', '.join(places)}."
                f" curr_ver={versions.current} next_ver={versions.newest}"
                f" entry_cnt={len(each.values) + versions.count}\n"
            )
        return
    version, rest = version_of(words)
    each = _map(context, rest[:1])
    yield from shown(entries_of(each, version))


def get_map(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `get map <map> <value>`: a line for each way in which the configuration looks something up in it."""
    if len(words) < 2:
        raise Refusal("Missing map identifier and/or key.")
    each = _map(context, words)
    text = encoded(words[1])
    for method, gives in each.looked_up:
        sample = _CASTS[method](text) if method in _CASTS else text
        key = None if sample is None else each.key_for(method, sample)
        said = f"type={method}, case=sensitive, found={'no' if key is None else 'yes'}"
        if key is not None:
            value = decoded(each.values[key])
            said += f', idx={"tree" if method in TREES else "list"}, key="{decoded(key)}", value="{value}"'
            said += f', type="{_type_of(value, gives)}"'
        yield f"{said}\n"


def _type_of(value: str, gives: str) -> str:
    if gives == "ip":
        return f"ipv{ip_address(value).version}"
    return "sint" if gives == "int" else "str"


def add_map(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `add map [@<ver>] <map> <key> <value>`, or so with each line of a payload."""
    version, rest = version_of(words)
    if len(rest) < (3 if context.payload is None else 1):
        raise Refusal(
            "'add map' expects three parameters (map identifier, key and value)"
            " or one parameter (map identifier) and a payload"
        )
    each = _map(context, rest)
    lines = [f"{rest[1]} {rest[2]}"] if context.payload is None else context.payload.split("\n")
    for number, line in enumerate(lines):
        if context.payload is None:
            key, value = rest[1], rest[2]
        else:
            key, value = _pair(line)
        if key:
            _add(each, version, encoded(key), encoded(value))
        if number % ENTRIES_AT_ONCE == ENTRIES_AT_ONCE - 1:
            yield ""


def _pair(line: str) -> tuple[str, str]:
    """Returns key and value of a line of a payload; blanks before either are left out."""
    key, *rest = line.strip(" \t").split(None, 1) or [""]
    if key and not rest:
        raise Refusal(f"Missing value for key '{key}'.")
    return key, rest[0] if rest else ""


def _add(each: Map, version: int | None, key: bytes, value: bytes) -> None:
    if version is not None and version != each.versions.current:
        add_to_version(each.versions, version, key, value, "map")
        return
    try:
        each.put(key, value)
    except Wrong as wrong:
        raise unreadable(wrong) from None


def add_to_version(versions: Versions, version: int, key: bytes, value: bytes, kind: str) -> None:
    """Adds an entry to a version that is being prepared. Raises Refusal."""
    if version > versions.newest:
        raise Refusal(f"Version number in the future, please use 'prepare {kind}' before.")
    if not versions.may_commit(version):
        raise Refusal("Version number out of range.")
    if version not in versions.prepared and len(versions.prepared) >= MOST_PREPARED:
        raise Refusal(f"No more than {MOST_PREPARED} versions can be prepared at a time.")
    versions.prepared.setdefault(version, {}).setdefault(key, value)


def set_map(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `set map <map> [<key>|#<ref>] <value>`."""
    if len(words) < 3:
        raise Refusal("'set map' expects three parameters: map identifier, key and value.")
    each = _map(context, words)
    key = yield from referred(words[1], each.values, "key or pattern not found.")
    try:
        if not each.put_value(key, encoded(words[2])):
            raise Refusal("entry not found.")
    except Wrong as wrong:
        raise unreadable(wrong) from None


def del_map(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `del map <map> [<key>|#<ref>]`."""
    if len(words) < 2:
        raise Refusal("This command expects two parameters: map identifier and key.")
    each = _map(context, words)
    key = yield from referred(words[1], each.values, "Key not found.")
    if not each.take_out(key):
        raise Refusal("Key not found.")


def clear_map(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `clear map [@<ver>] <map>`."""
    version, rest = version_of(words)
    if not rest:
        raise Refusal("Missing map identifier.")
    each = _map(context, rest)
    if version is None or version == each.versions.current:
        yield from _replace(each, {})
    else:
        each.versions.prepared.pop(version, None)


def prepare_map(context: Context, words: Sequence[str]) -> str:
    """Does `prepare map <map>`."""
    return f"New version created: {_map(context, words).versions.prepare()}\n"


def commit_map(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `commit map @<ver> <map>`: what was added to the version takes the place of all at once."""
    version, rest = version_of(words)
    if version is None:
        raise Refusal("Missing version number.")
    if not rest:
        raise Refusal("Missing map identifier.")
    each = _map(context, rest)
    if not each.versions.may_commit(version):
        raise Refusal("Version number out of range.")
    yield from _replace(each, each.versions.prepared.pop(version, {}))
    each.versions.commit(version)


def _replace(each: Map, values: dict[bytes, bytes]) -> Iterator[str]:
    try:
        for _ in each.replace(values, WHAT):
            yield ""
    except Wrong as wrong:
        raise unreadable(wrong) from None


def unreadable(wrong: Wrong) -> Refusal:
    """Returns how it is said that a look-up cannot read a key or a value."""
    text = str(wrong).removeprefix(f"{WHAT}: ")
    if found := _NO_ADDRESS.match(text):
        return Refusal(f"{found[1]} is not a valid IPv4 or IPv6 address.")
    return Refusal(f"{text}.")


def _map(context: Context, words: Sequence[str]) -> Map:
    found = named(words, context.proxy.maps, len(context.proxy.patterns))
    if found is None:
        raise Refusal(UNKNOWN_MAP)
    return found


def named(words: Sequence[str], among: Mapping[str, T], first: int = 0) -> T | None:
    """Returns what words begin with the name or the number of; `first` is the number of the first of these."""
    name = words[0] if words else ""
    if re.match("#[0-9]{1,9}\\Z", name):
        at = int(name[1:]) - first
        return [*among.values()][at] if 0 <= at < len(among) else None
    return among.get(name)


def version_of(words: Sequence[str]) -> tuple[int | None, Sequence[str]]:
    """Returns the version that words begin with, None if they begin with none, and the rest. As in HAProxy, what is no
    number is 0."""
    if not words or not words[0].startswith("@"):
        return None, words
    found = re.match("[0-9]{1,10}", words[0][1:])
    return int(found[0]) if found else 0, words[1:]


def entries_of(each: Map, version: int | None) -> Mapping[bytes, bytes]:
    """Returns the entries of a version; None is the current one."""
    if version is None or version == each.versions.current:
        return each.values
    return each.versions.prepared.get(version, {})


def shown(entries: Mapping[bytes, bytes]) -> Iterator[str]:
    """Returns a line for each entry, some at once, with what it can be referred to by."""
    pairs = [*entries.items()]  # meanwhile some may come or go
    for at in range(0, len(pairs), ENTRIES_AT_ONCE):
        yield "".join(
            f"0x{reference(key):x} {decoded(key)} {decoded(value)}\n" for key, value in pairs[at : at + ENTRIES_AT_ONCE]
        )


def reference(key: bytes) -> int:
    """Returns what an entry is referred to by, as HAProxy does by its address."""
    return hash(key) & 0xFFFFFFFFFFFFFFFF


def referred(word: str, entries: Iterable[str | bytes], unknown: str) -> Generator[str, None, bytes]:
    """Returns the key that a word is or refers to, after steps. Raises Refusal, with `unknown` if it refers to none."""
    if not word.startswith("#0x"):
        return encoded(word)
    found = _REFERENCE.match(word)
    if found is None:
        raise Refusal(_MALFORMED)
    wanted = int(found[2], 16)
    for number, entry in enumerate([*entries]):
        key = encoded(entry)
        if reference(key) == wanted:
            return key
        if number % ENTRIES_AT_ONCE == ENTRIES_AT_ONCE - 1:
            yield ""
    raise Refusal(unknown)


def encoded(text: str | bytes) -> bytes:
    """Returns a word or a pattern as keys and values are held."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def decoded(text: bytes) -> str:
    """Returns a key or a value as it is shown."""
    return text.decode("utf-8", "replace")
