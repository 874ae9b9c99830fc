"""Holds what a check has found, in HAProxy's words."""

from __future__ import annotations

from attrs import field, frozen

from reusedproxy.config.language.printable import printable

#: What a check has found, in HAProxy's words (manual, "check_status"); the sentence is its log line's.
WORDS = {
    "UNK": "Unknown",
    "INI": "Initializing",
    "CHECKED": "No status change",
    "HANA": "Health analyze",
    "SOCKERR": "Socket error",
    "L4OK": "Layer4 check passed",
    "L4TOUT": "Layer4 timeout",
    "L4CON": "Layer4 connection problem",
    "L6OK": "Layer6 check passed",
    "L6TOUT": "Layer6 timeout",
    "L6RSP": "Layer6 invalid response",
    "L7OK": "Layer7 check passed",
    "L7OKC": "Layer7 check conditionally passed",
    "L7TOUT": "Layer7 timeout",
    "L7RSP": "Layer7 invalid response",
    "L7STS": "Layer7 wrong status",
    "PROCERR": "External check error",
    "PROCTOUT": "External check timeout",
    "PROCOK": "External check passed",
}

PASSED = frozenset(("L4OK", "L6OK", "L7OK", "L7OKC", "PROCOK"))


@frozen
class Result:
    """Holds the result of one check. `info` may be a server's own text, which operators read on terminals. `code` is
    the HTTP status, if there was one; `duration` is in seconds."""

    status: str
    info: str = field(default="", converter=printable)
    code: int | None = None
    duration: float = 0.0

    @property
    def passed(self) -> bool:
        return self.status in PASSED

    @property
    def stopping(self) -> bool:
        """Tells whether the server is to get no new clients, though it is well."""
        return self.status == "L7OKC"

    def __str__(self) -> str:
        code = f", code: {self.code}" if self.code is not None else ""
        info = f', info: "{self.info}"' if self.info else ""
        took = "" if self.status == "HANA" else f", check duration: {self.duration * 1000:.0f}ms"
        return f"{WORDS[self.status]}{code}{info}{took}"
