"""Defines the answers that tell what became of a command. HAProxy gives each a severity; answers that list things have
none."""

from __future__ import annotations

#: Severities of syslog (RFC 5424 section 6.2.1).
ERROR, WARNING, NOTICE, INFO = range(3, 7)
#: How severities are shown (`set severity-output`, `severity-output` of a socket).
NONE, NUMBER, STRING = FORMS = ("none", "number", "string")
_NAMES = {ERROR: "err", WARNING: "warning", NOTICE: "notice", INFO: "info"}


class Message(str):
    """An answer that tells something, as it is written, and its `severity`."""

    severity: int

    def __new__(cls, text: str, severity: int) -> Message:
        made = super().__new__(cls, text)
        made.severity = severity
        return made


class Failure(str):
    """The end of an answer that says, without a severity, that what was ordered has failed."""


def with_severity(text: str, form: str) -> str:
    """Returns a piece of an answer as it is shown in one of FORMS: "[3]: No such server." """
    if form == NONE or not isinstance(text, Message):
        return text
    return f"[{text.severity if form == NUMBER else _NAMES[text.severity]}]: {text}"
