"""Parses `crt-list` files: one certificate a line, with options in brackets and the names that
it is for. Opens nothing."""

from __future__ import annotations

import re
from collections.abc import Collection

from attrs import evolve, frozen

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.tls import TLSOffer
from reusedproxy.config.tls.words import IN_CRT_LIST, TLSWords, read_options

_LINE = re.compile(r"(?P<path>[^\s\[]+)\s*(?:\[(?P<options>[^\[\]]*)\])?(?P<names>(?:\s+[^\s\[\]]+)*)\s*\Z")


@frozen
class CrtListLine:
    """Holds one certificate of the list. `names` None: the names in the certificate itself.

    `path` is as written, and in a `CrtList` the certificate's file; then `key` is the file of its key, where one is
    said, and `bundle` the name by which it and others were asked for.
    """

    number: int
    path: str
    words: TLSWords
    names: tuple[str, ...] | None = None
    key: str | None = None
    bundle: str = ""


@frozen
class CrtList:
    """Holds the certificates of a `crt-list`, or of a directory: one in each of `lines`.

    `count` is the number of the list's last line; those of a directory have none (0), and are among `found`, which are
    the files that were there. `edits` tells how often it was changed since it was read.
    """

    lines: tuple[CrtListLine, ...]
    count: int = 0
    found: frozenset[str] | None = None
    edits: int = 0

    def with_line(self, line: CrtListLine) -> CrtList:
        """Returns the list with one more line, at its end."""
        added = evolve(line, number=self.count + 1)
        return evolve(self, lines=(*self.lines, added), count=self.count + 1, edits=self.edits + 1)

    def without(self, gone: Collection[CrtListLine]) -> CrtList:
        """Returns the list without these lines; the others keep their numbers."""
        return evolve(self, lines=tuple(each for each in self.lines if each not in gone), edits=self.edits + 1)


def list_name(path: str) -> str:
    """Returns the name of a list, or of a directory: as in HAProxy, its path without slashes at the end."""
    return path.rstrip("/")


def read_crt_list(text: str) -> list[CrtListLine]:
    """Parses all lines but comments and empty ones. Raises Wrong, with line numbers in the messages."""
    lines = []
    texts: list[str] = []
    last = text.rpartition("\n")[2]
    if last.strip():
        # What is cut off may be the demand for a client certificate.
        texts.append(f"line {text.count(chr(10)) + 1}: has no end of line, so the file may be cut off: end it with one")
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            lines.append(read_line(line, number, f"line {number}"))
        except Wrong as wrong:
            texts.extend(wrong.texts)
    if texts:
        raise Wrong(*texts)
    return lines


def read_line(line: str, number: int, what: str) -> CrtListLine:
    """Parses one line. Raises Wrong, whose messages begin with `what`."""
    found = _LINE.match(line)
    if found is None:
        raise Wrong(f"{what}: write '<file> [<options>] <names>', brackets as they stand here")
    words = read_options(tuple((found["options"] or "").split()), IN_CRT_LIST, what)
    names = tuple(found["names"].split())
    return CrtListLine(number, found["path"], words, names or None)


def options_in_order(words: TLSWords, offer: TLSOffer) -> str:
    """Returns the options of a line whose `offer` is made of them, in the order in which HAProxy shows them; paths have
    their base directory."""
    said = words.said
    texts = []
    if "alpn" in said:
        texts.append(f"alpn {','.join(said['alpn'])}" if said["alpn"] else "no-alpn")
    if "verify" in said:
        texts.append(f"verify {offer.verify}")
    if "ca_names" in said:
        texts.append("no-ca-names")
    for word in (
        "ca-file",
        "ca-verify-file",
        "crl-file",
        "ciphers",
        "ciphersuites",
        "curves",
        "sigalgs",
        "client-sigalgs",
    ):
        field = word.replace("-", "_")
        if field in said:
            texts.append(f"{word} {getattr(offer, field)}")
    texts += [
        f"{word} {each}" for word, each in (("ssl-min-ver", words.minimum), ("ssl-max-ver", words.maximum)) if each
    ]
    return " ".join(texts)
