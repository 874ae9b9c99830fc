"""Parses `crt-list` files: one certificate a line, with options in brackets and the names that
it is for. Opens nothing."""

from __future__ import annotations

import re

from attrs import frozen

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.tls import TLSOffer
from reusedproxy.config.tls.words import IN_CRT_LIST, TLSWords, read_options

_LINE = re.compile(r"(?P<path>[^\s\[]+)\s*(?:\[(?P<options>[^\[\]]*)\])?(?P<names>(?:\s+[^\s\[\]]+)*)\s*\Z")


@frozen
class CrtListLine:
    """Holds one certificate of the list. `names` None: the names in the certificate itself."""

    number: int
    path: str
    words: TLSWords
    names: tuple[str, ...] | None = None


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
        found = _LINE.match(line)
        if found is None:
            texts.append(f"line {number}: write '<file> [<options>] <names>', brackets as they stand here")
            continue
        try:
            words = read_options(tuple((found["options"] or "").split()), IN_CRT_LIST, f"line {number}")
        except Wrong as wrong:
            texts.extend(wrong.texts)
            continue
        names = tuple(found["names"].split())
        lines.append(CrtListLine(number, found["path"], words, names or None))
    if texts:
        raise Wrong(*texts)
    return lines


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
    for word in ("ca-file", "ca-verify-file", "crl-file", "ciphers", "ciphersuites", "curves"):
        field = word.replace("-", "_")
        if field in said:
            texts.append(f"{word} {getattr(offer, field)}")
    texts += [
        f"{word} {each}" for word, each in (("ssl-min-ver", words.minimum), ("ssl-max-ver", words.maximum)) if each
    ]
    return " ".join(texts)
