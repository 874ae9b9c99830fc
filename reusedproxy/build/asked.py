"""Finds which sample fetches and converters a configuration names, so that what few of them need is only done where it
is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from reusedproxy.config import model
from reusedproxy.config.model.values import Call


def calls_in(said: object) -> Iterator[Call]:
    """Returns the fetches and converters within a value of the configuration, at any depth. Of servers, of which there
    may be thousands, only what depends on requests is looked at."""
    if isinstance(said, Call):
        yield said
    elif isinstance(said, tuple):
        for part in said:
            yield from calls_in(part)
    elif isinstance(said, model.Server):
        yield from calls_in((said.sni, said.pool_conn_name, said.identities))
    elif attrs.has(kind := type(said)) and kind is not model.Bind:
        for field in attrs.fields(kind):
            yield from calls_in(getattr(said, field.name))
