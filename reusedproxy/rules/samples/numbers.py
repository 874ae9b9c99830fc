"""Converts bytes to numbers as text, and numbers to bytes (manual, section 7.3.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from reusedproxy.config.tls.x509_errors import NUMBERS
from reusedproxy.rules.facts import Binary, Facts, Sample
from reusedproxy.rules.samples.bounds import joined

Convert = Callable[[Any, Facts], Sample]

#: The control characters that `has_ctl` looks for, as a mask: bit 32 is DEL, the others are those of their number.
CONTROLS = {"": 0x1FFFFFDFF, "any": 0x1FFFFFFFF, "http": 0x2401}
_DELETE = 0x7F


def _pieces(sample: bytes, size: int, whole_only: bool) -> list[bytes]:
    last = len(sample) - size + 1 if whole_only else len(sample)
    return [sample[at : at + size] for at in range(0, last, size)]


def _to_decimal(order: Literal["big", "little"]) -> Callable[..., Convert]:
    def make(separator: str, size: str, truncate: str = "0") -> Convert:
        between, width, whole_only = separator.encode("utf-8", "surrogateescape"), int(size), truncate == "1"

        def convert(sample: bytes, facts: Facts) -> Sample:
            pieces = _pieces(sample, width, whole_only)
            return joined((b"%d" % int.from_bytes(piece, order) for piece in pieces), between, facts.longest)

        return convert

    return make


def _to_hexadecimal(separator: str = "", size: str = "0", truncate: str = "0") -> Convert:
    between, width, whole_only = separator.encode("utf-8", "surrogateescape"), int(size), truncate == "1"
    if not between and not whole_only:
        return lambda sample, facts: sample.hex().upper().encode()[: facts.longest]

    def convert(sample: bytes, facts: Facts) -> Sample:
        pieces = _pieces(sample, width, whole_only)
        return joined((piece.hex().upper().encode() for piece in pieces), between, facts.longest)

    return convert


def _to_bits() -> Convert:
    return lambda sample, facts: "".join([f"{byte:08b}" for byte in sample]).encode()


def _to_network() -> Convert:
    """Makes `htonl`: the number's last 32 bits, the highest byte first."""
    return lambda sample, facts: Binary((sample & 2**32 - 1).to_bytes(4, "big"))


def _has_control(text: str = "") -> Convert:
    mask = CONTROLS[text] if text in CONTROLS else int(text, 0)
    wanted = frozenset(byte for byte in range(32) if mask >> byte & 1) | ({_DELETE} if mask >> 32 else set())
    return lambda sample, facts: not wanted.isdisjoint(sample)


def _name_of_error() -> Convert:
    """Makes `x509_v_err_str`: the name of one of OpenSSL's errors of verification, or its number if it has none."""
    names = {number: name.encode() for name, number in NUMBERS.items()} | {0: b"X509_V_OK"}
    return lambda sample, facts: names.get(sample, b"%d" % sample)


NUMBER_CONVERTERS: dict[str, Callable[..., Convert]] = {
    "be2dec": _to_decimal("big"),
    "le2dec": _to_decimal("little"),
    "be2hex": _to_hexadecimal,
    "base2": _to_bits,
    "htonl": _to_network,
    "has_ctl": _has_control,
    "x509_v_err_str": _name_of_error,
}
