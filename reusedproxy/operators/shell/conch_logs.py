"""Says what of conch's own log lines reaches the daemon's log: faults, but nothing of what clients send or type.

conch logs each step of a session, each command, and each key that its prompt does not know. Must never know sessions.
"""

from __future__ import annotations

from twisted.conch.ssh import session as conch_session
from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    LogPublisher,
    globalLogPublisher,
)


def _from(level: LogLevel, name: str | None = None) -> Logger:
    return Logger(name, observer=FilteringLogObserver(globalLogPublisher, [LogLevelFilterPredicate(level)]))


#: conch logs a dozen lines for every session that only its authors need, among them each channel's beginning and end,
#: and each request that it does not know; they may come by the thousand.
WARNINGS = _from(LogLevel.warn)
#: What conch logs before a login is unbounded, and contains whole messages of the client; what it logs at a prompt is
#: what is typed there.
NOTHING = Logger(observer=LogPublisher())

#: conch logs each command, which may be long and hold secrets, by the one logger of its module of sessions. What an
#: operator has ordered is in the log without them (`runtime.told`).
conch_session.log = _from(LogLevel.warn, "twisted.conch.ssh.session")
