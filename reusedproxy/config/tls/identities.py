"""Parses files of identities (`pool-identities`): one identity a line, in the words of a server line. Opens nothing."""

from __future__ import annotations

from attrs import define, frozen

from reusedproxy.config.language import units
from reusedproxy.config.language.parameters import read_parameters
from reusedproxy.config.language.report import Wrong

_WORDS = {"crt": 1, "ca-file": 1, "sni": 1, "verifyhost": 1, "pool-min-conn": 1}


@frozen
class ListedIdentity:
    """Holds one line. Each text is as written, "" where it is not said; `floor` None: that of the server line."""

    number: int
    crt: str = ""
    ca_file: str = ""
    sni: str = ""
    verifyhost: str = ""
    floor: int | None = None


@define
class _Said:
    texts: dict[str, str]
    floor: int | None = None


def read_identities(text: str, depends: frozenset[str] | None) -> list[ListedIdentity]:
    """Parses all lines but comments and empty ones. `depends` are the words of the server line whose values depend on
    the request: each line must say all of these, and no other but `pool-min-conn`; None: any will do. Raises Wrong,
    with line numbers in the messages."""
    lines: list[ListedIdentity] = []
    texts: list[str] = []
    if text.rpartition("\n")[2].strip():
        texts.append(f"line {text.count(chr(10)) + 1}: has no end of line, so the file may be cut off: end it with one")
    for number, line in enumerate(text.split("\n"), 1):
        arguments = line.partition("#")[0].split()
        if not arguments:
            continue
        try:
            lines.append(_read(number, arguments, depends))
        except Wrong as wrong:
            texts.extend(wrong.texts)
    seen: dict[tuple[str, ...], int] = {}
    for each in lines:
        before = seen.setdefault((each.crt, each.ca_file, each.sni.lower(), each.verifyhost.lower()), each.number)
        if before != each.number:
            texts.append(f"line {each.number}: is the identity of line {before}: take one of them out")
    if texts:
        raise Wrong(*texts)
    return lines


def _read(number: int, arguments: list[str], depends: frozenset[str] | None) -> ListedIdentity:
    what, said = f"line {number}", _Said({})

    def apply(word: str, argument: str) -> None:
        if word == "pool-min-conn":
            said.floor = units.integer(argument, f"{what}: '{word}'")
        elif depends is not None and word not in depends:
            raise Wrong(f"{what}: the server line says one '{word}' for all identities, or none: take it out")
        else:
            said.texts[word] = argument

    read_parameters(arguments, _WORDS, apply, what)
    missing = sorted((depends or frozenset()) - said.texts.keys())
    if missing:
        raise Wrong(
            f"{what}: '{missing[0]}' is missing, which depends on the request on the server line: {missing[0]} …"
        )
    texts = said.texts
    return ListedIdentity(
        number,
        texts.get("crt", ""),
        texts.get("ca-file", ""),
        texts.get("sni", ""),
        texts.get("verifyhost", ""),
        said.floor,
    )
