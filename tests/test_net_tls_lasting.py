"""Until when certificates of a chain count."""

from __future__ import annotations

import sys
from math import inf
from unittest import mock

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.tls.lasting import ends_of, first_after


@frozen
class Certificate:
    """Stands for a certificate of pyOpenSSL."""

    end: bytes | None

    def get_notAfter(self) -> bytes | None:
        return self.end


def ends(*said: bytes | None) -> list[float]:
    return ends_of(map(Certificate, said))  # type: ignore[arg-type]


class EndsTests(SynchronousTestCase):
    def test_ends_are_unix_times(self) -> None:
        self.assertEqual(ends(b"19700101000001Z", b"20261130061500Z"), [1.0, 1796019300.0])

    def test_what_cannot_be_read_is_left_out(self) -> None:
        self.assertEqual(
            ends(None, b"", b"20261301000000Z", b"20260230000000Z", b"2026113006150 Z", b"20261130061500"), []
        )
        self.assertEqual(ends(b"+02611300615000Z", b"19700101000000Z"), [0.0])

    def test_nothing_is_imported_for_it(self) -> None:
        """In a chroot there is nothing to import when the first handshake ends."""
        with mock.patch.dict(sys.modules, {"_strptime": None}):
            self.assertEqual(ends(b"19700101000001Z"), [1.0])

    def test_the_first_end_that_is_to_come(self) -> None:
        self.assertEqual(first_after(10.0, [5.0, 30.0, 20.0]), 20.0)
        self.assertEqual(first_after(10.0, [10.0]), inf)
