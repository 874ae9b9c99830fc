"""Checks the names of headers that lines of a configuration write (RFC 9110 5.1)."""

from __future__ import annotations

import re

from reusedproxy.config.language.report import Wrong

#: RFC 9110 5.6.2.
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")


def header_name(text: str, what: str) -> str:
    """Returns a word that can be the name of a header; `what` begins the message. Raises Wrong."""
    if TOKEN.match(text):
        return text
    if TOKEN.match(text[:-1]) and text.endswith(":"):
        raise Wrong(f"{what}: '{text}' cannot be the name of a header: leave out the colon")
    if re.search(r"\S[ \t:]+\S", text):  # what stands behind the name may be a secret
        raise Wrong(f"{what}: name and value of a header are two words: write them apart")
    raise Wrong(f"{what}: '{text}' cannot be the name of a header")
