"""Defines what an examination of one server has seen, before anybody judges it. Values only; times are in seconds."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from attrs import Factory, define, frozen

from reusedproxy.net.dial import DialFailure
from reusedproxy.net.tls.observed import Handshake
from reusedproxy.net.tls.pins import pin_of
from reusedproxy.net.tls.words import VerifyFault

# What requests are sent for.
USUAL = "usual"  # the request of the server's checks, or GET /
HEAD = "head"  # HEAD of the same
OPTIONS = "options"  # OPTIONS *, which `idle-ping` sends where no check is configured


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


@frozen
class Refusal:
    """Describes a dial that has failed. `fault` is what OpenSSL found wrong with the server's certificate, `misnamed`
    that it is for other names, `unpinned` that its key is not pinned, `unvouched` that no stapled OCSP answer
    vouches for it; `asked` tells that the server had asked for our certificate."""

    failure: DialFailure
    fault: VerifyFault | None = None
    misnamed: bool = False
    asked: bool = False
    unpinned: bool = False
    unvouched: bool = False


@frozen
class Opened:
    """Holds the durations of a dial: until TCP stood, and of the TLS handshake (0: no TLS)."""

    tcp: float
    tls: float
    resumed: bool


@frozen
class Asked:
    """Describes one request and what became of its connection. `role` is USUAL, HEAD or OPTIONS; `what` is its method
    and target; `status` is None where
    no answer came, and `reason` then says why. `kept` tells that the connection can carry another request; else
    `reason` says why it cannot. `body` is the beginning of the answer's body, whose end came `gap` seconds after its
    head."""

    role: str
    what: str
    status: int | None
    kept: bool
    reason: str
    took: float
    body: bytes = b""
    gap: float = 0.0


@frozen
class Stood:
    """Tells how long a connection has stood idle: until its server closed it for this `reason`, or, with `reason` "",
    as long as was waited."""

    seconds: float
    reason: str = ""


@define
class Observed:
    """Holds what was seen of one server. What was not tried is None, or empty."""

    name: str
    #: The address that was dialled, "" for none; and why the server was not dialled.
    address: str = ""
    skipped: str = ""
    #: Why it cannot be dialled: it has no address, mostly.
    unaddressed: str = ""
    refusal: Refusal | None = None
    first: Opened | None = None
    second: Opened | None = None
    handshake: Handshake | None = None
    #: Why the server ended a fresh connection at once: in TLS 1.3, that it refuses our certificate.
    late: str = ""
    requests: list[Asked] = Factory(list)
    #: `timeout` and `max` of its Keep-Alive field.
    advertised: tuple[float | None, int | None] = (None, None)
    #: What a server of mode tcp has said unasked.
    greeting: bytes = b""
    unused: Stood | None = None
    used: Stood | None = None
    #: How many connections were to stand at once, how many did, and why not more.
    wanted: int = 0
    stood: int = 0
    short: str = ""
    #: Whether the newest of them was served while the others stood; None: not asked.
    served: bool | None = None
    #: The nodes that connections have come to, by the serial numbers of certificates and by the header of
    #: `pool-spread`: one for each connection, or answer.
    serials: list[str] = Factory(list)
    named: list[str] = Factory(list)
    #: Seconds by which the body of an answer is late where its head is not acknowledged at once; 0: it is not.
    held_back: float = 0.0
    #: The examination came to its end.
    complete: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """Returns what was measured, by words for programs; seconds, and None for what was not seen."""
        found: dict[str, Any] = {}
        if self.first is not None:
            found |= {"connect": self.first.tcp, "handshake": self.first.tls or None}
        if self.handshake is not None:
            shown, certificate = self.handshake, self.handshake.certificate
            found |= {"tls": shown.version, "cipher": shown.cipher, "group": shown.group or None}
            found |= {"client_certificate_asked": shown.asked, "authorities": [each.name for each in shown.authorities]}
            found["expires"] = None if certificate is None else certificate.not_valid_after_utc.isoformat()
            found["ocsp_until"] = None if (until := shown.vouched_until) is None else _moment(until)
            found["pin_sha256"] = None if certificate is None else pin_of(certificate)
        if self.handshake is not None and self.second is not None:
            found["resumed"] = self.second.resumed
        kept = {role: [each.kept for each in self.requests if each.role == role] for role in (USUAL, HEAD, OPTIONS)}
        for role, word in ((USUAL, "keep_alive"), (HEAD, "head_keeps"), (OPTIONS, "options_keeps")):
            if kept[role]:
                found[word] = all(kept[role])
        for stood, word in ((self.unused, "closes_unused_after"), (self.used, "closes_used_after")):
            if stood is not None:
                found[word] = stood.seconds if stood.reason else None
        if self.held_back:
            found["body_held_back"] = self.held_back
        if self.serials:
            found["certificates_seen"] = len({*self.serials})
        if self.wanted:
            found |= {"connections_wanted": self.wanted, "connections_stood": self.stood}
        return found
