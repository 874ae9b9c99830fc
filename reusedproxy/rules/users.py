"""Defines the sample of somebody who has logged in: the name, with the groups that the `userlist` has for it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.wire.credentials import bearer_token


class Member(bytes):
    """A user of a `userlist` whose password was right: the name as text, and `groups`."""

    groups: frozenset[bytes]

    def __new__(cls, name: bytes, groups: frozenset[bytes] = frozenset()) -> Member:
        member = super().__new__(cls, name)
        member.groups = groups
        return member


def is_in_group(patterns: Sequence[str], ignore_case: bool) -> Callable[[Sample], bool]:
    """Makes the test of `http_auth_group`: whether the user is in one of these groups."""
    wanted = frozenset(each.encode() for each in patterns)
    return lambda sample: isinstance(sample, Member) and not wanted.isdisjoint(sample.groups)


# The fetches.


def http_auth(name: str) -> Callable[[Facts], Sample]:
    return lambda facts: None if facts.credentials is None else facts.member(name) is not None


def http_auth_group(name: str) -> Callable[[Facts], Sample]:
    return lambda facts: facts.member(name)


def http_auth_user() -> Callable[[Facts], Sample]:
    def fetch(facts: Facts) -> Sample:
        credentials = facts.credentials
        return None if credentials is None else credentials.user

    return fetch


def http_auth_pass() -> Callable[[Facts], Sample]:
    def fetch(facts: Facts) -> Sample:
        credentials = facts.credentials
        return None if credentials is None else credentials.password

    return fetch


def http_auth_type() -> Callable[[Facts], Sample]:
    return lambda facts: facts.auth_scheme


def http_auth_bearer(header: str = "") -> Callable[[Facts], Sample]:
    """Makes the fetch of the token of the scheme Bearer (RFC 6750 section 2.1), of the usual header or of this one."""
    named = header.encode("latin-1", "replace")

    def fetch(facts: Facts) -> Sample:
        if facts.head is None:
            return None
        if named:
            return bearer_token(facts.head.values(named))
        if facts.auth_scheme != b"Bearer":
            return None  # what a rule has written where another has found no credentials is none, either
        return bearer_token(facts.head.values(b"Proxy-Authorization" if facts.asks_as_proxy else b"Authorization"))

    return fetch


FETCHES: dict[str, Callable[..., Callable[[Facts], Sample]]] = {
    "http_auth": http_auth,
    "http_auth_group": http_auth_group,
    "http_auth_user": http_auth_user,
    "http_auth_pass": http_auth_pass,
    "http_auth_type": http_auth_type,
    "http_auth_bearer": http_auth_bearer,
}
