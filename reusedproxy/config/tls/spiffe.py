"""Parses the value of `verifyspiffe`: SPIFFE IDs (SPIFFE-ID standard, section 2). It must never know certificates."""

from __future__ import annotations

import re

from reusedproxy.config.language.report import Wrong

_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}\Z")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+\Z")
#: Bytes of an ID.
LONGEST = 2048


def read_spiffe_ids(argument: str, what: str) -> tuple[str, ...]:
    """Parses IDs with commas between them; one that ends in /* is for all below. Raises Wrong."""
    return tuple(dict.fromkeys(_id(each, what) for each in argument.split(",")))


def _id(text: str, what: str) -> str:
    domain, slash, path = text.removeprefix("spiffe://").partition("/")
    segments = path.split("/") if slash else []
    if segments[-1:] == ["*"]:
        segments.pop()
    sound = all(_SEGMENT.match(each) and each not in (".", "..") for each in segments)
    if not (text.startswith("spiffe://") and _DOMAIN.match(domain) and slash and sound) or len(text) > LONGEST:
        raise Wrong(
            f"{what}: '{text}' is no SPIFFE ID of a workload: it is spiffe://TRUST.DOMAIN/PATH, or ends in /* for all"
            " below"
        )
    return text
