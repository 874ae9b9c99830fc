"""Implements the sample fetches about the lists in a client's hello, of which fingerprints such as JA3 are made
(manual, section 7.3.4).

They have values where `tune.ssl.capture-buffer-size` is set. With the argument 1, the values that clients invent
(GREASE, RFC 8701) are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack

from reusedproxy.rules.facts import Binary, Facts, Sample, TLSSide
from reusedproxy.rules.hashes import signed
from reusedproxy.wire.hello_lists import HelloLists, without_grease

Fetch = Callable[[Facts], Sample]


def _of_lists(read: Callable[[TLSSide, HelloLists], Sample]) -> Fetch:
    def fetch(facts: Facts) -> Sample:
        tls = facts.client_tls
        lists = None if tls is None else tls.hello_lists
        return None if tls is None or lists is None else read(tls, lists)

    return fetch


def _list(
    of: Callable[[HelloLists], bytes], text: Callable[[TLSSide, bytes], bytes] = lambda tls, numbers: Binary(numbers)
) -> Callable[..., Fetch]:
    """Makes a fetch of a list of numbers of two bytes."""

    def make(leave_out: str = "0") -> Fetch:
        if int(leave_out):
            return _of_lists(lambda tls, lists: text(tls, without_grease(of(lists))))
        return _of_lists(lambda tls, lists: text(tls, of(lists)))

    return make


def _names(tls: TLSSide, suites: bytes) -> bytes:
    """Returns the names, separated by commas, as HAProxy writes them."""
    numbers = unpack(f">{len(suites) // 2}H", suites[: len(suites) // 2 * 2])
    names = zip(numbers, tls.suite_names(numbers), strict=True)
    return ",".join(name or f"UNKNOWN({number:04x})" for number, name in names).encode()


HELLO_FETCHES: dict[str, Callable[..., Fetch]] = {
    "ssl_fc_cipherlist_bin": _list(lambda lists: lists.suites),
    "ssl_fc_cipherlist_hex": _list(lambda lists: lists.suites, lambda tls, suites: suites.hex().upper().encode()),
    "ssl_fc_cipherlist_str": _list(lambda lists: lists.suites, _names),
    "ssl_fc_cipherlist_xxh": lambda: _of_lists(lambda tls, lists: signed(lists.suites_digest)),
    "ssl_fc_extlist_bin": _list(lambda lists: lists.extensions),
    "ssl_fc_eclist_bin": _list(lambda lists: lists.groups),
    "ssl_fc_ecformats_bin": lambda: _of_lists(lambda tls, lists: Binary(lists.formats)),
    "ssl_fc_protocol_hello_id": lambda: _of_lists(lambda tls, lists: lists.version),
    "ssl_fc_sigalgs_bin": _list(lambda lists: lists.signatures),
    "ssl_fc_supported_versions_bin": _list(lambda lists: lists.versions),
}
