"""Watches for the end of certificates, CAs and revocation lists, and warns the operator.

Knows the files that listeners and servers use, and the time of day. Must never change anything: an expired certificate
stays in use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from datetime import datetime, timezone

from attrs import frozen
from cryptography.x509 import Certificate
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.config.model.values import Notice, Place
from reusedproxy.net.tls.files import certificates_in, certificates_of
from reusedproxy.net.tls.svid import SPIFFE
from reusedproxy.net.tls.words import name_of
from reusedproxy.operators.view.files import FileInUse, files_in_use, shown_by_servers
from reusedproxy.operators.view.proxy import Proxy, Trusts

DAY = 86400.0
#: Seconds before a certificate's end at which a warning is given.
THRESHOLDS = (30 * DAY, 7 * DAY, DAY)
#: Seconds between two checks, which compare numbers only: 0.4 ms for 1000 certificates and 1000 servers.
EVERY = 10.0

Key = tuple[str, float]


@frozen
class Ending:
    """Describes one item with its end in Unix time. `user` is the line that uses it, `what` the file.

    `soon` and `over` are the texts before and after the end, with {left} and {date}; `thresholds` are seconds, the
    longest first. Two endings with the same `key` are the same item, whichever lines use it.
    """

    place: Place
    user: str
    what: str
    end: float
    key: Key
    certificate: Certificate | None = None
    soon: str = "ends in {left}, on {date}"
    over: str = "has expired, on {date}"
    thresholds: tuple[float, ...] = THRESHOLDS

    def stage(self, now: float) -> int:
        """Returns the number of thresholds that have passed, plus one after the end."""
        left = self.end - now
        if left > self.thresholds[0]:
            return 0
        return sum(left <= each for each in self.thresholds) + (left <= 0)

    def level(self, now: float) -> str:
        return "alert" if self.end <= now else "warning"

    def text(self, now: float) -> str:
        words = self.over if self.end <= now else self.soon
        date = f"{datetime.fromtimestamp(self.end, timezone.utc):%d %b %Y %H:%M} UTC"
        subject = f" ({name_of(self.certificate.subject)})" if self.certificate is not None else ""
        return f"{self.user}: {self.what}: {words.format(left=days_left(self.end - now), date=date)}{subject}"


class Expiry:
    """Warns of items that end soon, and of those that have ended, from `begin` to `stop`: once for each threshold.

    A warning is not repeated after a reload while the item stays the same.
    """

    def __init__(
        self, clock: IReactorTime, announce: Callable[[str, str], None], wall: Callable[[], float] = time.time
    ) -> None:
        """Takes `wall`, which returns the time of day; `clock` need not know it."""
        self._clock = clock
        self._announce = announce
        self._wall = wall
        self._proxy: Proxy | None = None
        self._call: IDelayedCall | None = None
        self._endings: list[Ending] = []
        self._said: dict[Key, int] = {}

    def begin(self, proxy: Proxy, found: list[Ending] | None = None) -> None:
        """Watches the files of `proxy` from now on; `found` is the result of `reading`, if that was done before."""
        self._proxy = proxy
        self._endings = list(endings(proxy, self._wall())) if found is None else found
        self.look()

    def reading(self, proxy: Proxy) -> Generator[None, None, list[Ending]]:
        """Looks at all files that `proxy` uses, in steps: a bundle of 145 CAs takes 5 ms."""
        found = []
        for each in endings(proxy, self._wall()):
            found.append(each)
            yield
        return found

    def stop(self) -> None:
        self._proxy = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def look(self) -> None:
        """Checks all endings, now and every EVERY seconds: the time of day may be set, and timers do not follow it."""
        if self._proxy is None:
            return
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = self._clock.callLater(EVERY, self.look)
        now = self._wall()
        here = [each for each in self._endings if each.stage(now)]
        here += _shown(self._proxy, now + THRESHOLDS[0])
        keys = {each.key for each in here}
        # A server may show two certificates in turn, so warned items are remembered until their end, even if not in use
        # now.
        self._said = {key: stage for key, stage in self._said.items() if key in keys or key[1] > now}
        for each in here:
            stage = each.stage(now)
            if stage > self._said.get(each.key, 0):
                self._said[each.key] = stage
                self._announce(each.level(now), each.text(now))


def due(proxy: Proxy, now: float) -> Iterator[Notice]:
    """Returns warnings about the files of a configuration that is only checked."""
    return (Notice("warning", each.place, each.text(now)) for each in endings(proxy, now) if each.stage(now))


def days_left(seconds: float) -> str:
    """Formats the time left in whole days, or in hours during the last day."""
    for size, unit in ((DAY, "day"), (3600.0, "hour")):
        if count := int(seconds / size):
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than an hour"


def endings(proxy: Proxy, now: float) -> Iterator[Ending]:
    """Returns the endings of all files that `proxy` uses, each file once, in the order of the configuration."""
    seen: set[tuple[str, str]] = set()
    for each in files_in_use(proxy):
        if (each.word, each.path) not in seen:
            seen.add((each.word, each.path))
            use = _Use(each.place, each.user, f"{each.word} {each.path}")
            yield from _READERS[each.word](use, each, proxy.trusts, now)


def _shown(proxy: Proxy, until: float) -> Iterator[Ending]:
    """Returns the endings of the certificates that servers have shown last, of those that end by `until`."""
    for each in shown_by_servers(proxy, until):
        name = f" for {each.name}" if each.name else ""
        what, user = f"the certificate that it shows{name}", f"server {each.server}"
        yield Ending(each.place, user, what, each.end, (user, each.end))


# Contents of files.


@frozen
class _Use:
    place: Place
    user: str
    what: str

    def ending(self, end: datetime, certificate: Certificate | None = None, **words: object) -> Ending:
        at = end.timestamp()
        name = self.what if certificate is None else f"{self.what} {certificate.serial_number}"
        return Ending(self.place, self.user, self.what, at, (name, at), certificate, **words)  # type: ignore[arg-type]


def _of_certificate(use: _Use, file: FileInUse, trusts: Trusts, now: float) -> Iterator[Ending]:
    """Returns the ending of the file's first certificate; the others are its chain."""
    ours = [file.certificate] if file.certificate is not None else certificates_of(file.path)[:1]
    # An SVID lives for an hour, and is renewed at half of that: only its end is worth a line.
    words = {"thresholds": (0.0,)} if file.path == SPIFFE else {}
    return (use.ending(each.not_valid_after_utc, each, **words) for each in ours)


def _of_authorities(use: _Use, file: FileInUse, trusts: Trusts, now: float) -> Iterator[Ending]:
    """Returns the endings of CAs that have no successor with the same name.

    Expired CAs are not reported one by one; if all have expired, the last end is.
    """
    trusted = [each for content in trusts.authorities.get(file.path, ()) for each in certificates_in(content)]
    last = {
        each.subject: each.not_valid_after_utc for each in sorted(trusted, key=lambda each: each.not_valid_after_utc)
    }
    living = [each for each in trusted if each.not_valid_after_utc.timestamp() > now]
    for each in living:
        if each.not_valid_after_utc == last[each.subject]:
            soon, over = "a CA in it ends in {left}, on {date}", "a CA in it has expired, on {date}"
            yield use.ending(each.not_valid_after_utc, each, soon=soon, over=over)
    if trusted and not living:
        yield use.ending(max(last.values()), over="every CA in it has expired, the last on {date}")


def _of_revocations(use: _Use, file: FileInUse, trusts: Trusts, now: float) -> Iterator[Ending]:
    """Returns the endings of revocation lists, with a warning when a tenth of their life is left (at most 7 days): they
    live for hours or for months."""
    for since, until in trusts.spans.get(file.path, ()):
        if until is not None:
            yield use.ending(
                datetime.fromtimestamp(until, timezone.utc),
                soon="a newer list is due in {left}, on {date}; from then on every certificate is refused",
                over="is out of date since {date}, so every certificate is refused",
                thresholds=(min(7 * DAY, (until - since) / 10),),
            )


_READERS: dict[str, Callable[[_Use, FileInUse, Trusts, float], Iterator[Ending]]] = {
    "crt": _of_certificate,
    "ca-file": _of_authorities,
    "ca-verify-file": _of_authorities,
    "crl-file": _of_revocations,
}
