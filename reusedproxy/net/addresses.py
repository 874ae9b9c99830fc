"""Caches the addresses of host names for one reading of the configuration.

Each choice among a name's addresses is carried on to the next reading: a caller gets the same address as before, as
long as the name still has it. A name server that changes the order of its answers therefore makes no server look
changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reusedproxy.net.resolver import Answers, Found, Query, literal, look_up, resolve

#: Bytes of a unix socket's address: as HAProxy's, an abstract name fills all of them (unix(7)).
_ABSTRACT = 108


def abstract(name: str) -> bytes:
    """Returns the address of this name in Linux's abstract namespace, as HAProxy has it for `abns@`: filled up with
    zeros."""
    return (b"\0" + name.encode()).ljust(_ABSTRACT, b"\0")


class Addresses:
    """Holds the answers of the resolver.

    `find` does not wait for names that `learn` or `look_up_all` has supplied before.
    """

    def __init__(self, previous: Addresses | None = None) -> None:
        """Takes over the choices of the `previous` reading.

        A name keeps the address that was chosen for it there, as long as the name still has it.
        """
        self._answers: Answers = {}
        self._chosen: dict[tuple[object, Query], tuple[int, Any]] = dict(previous._chosen) if previous else {}

    def unknown(self, queries: Iterable[Query]) -> set[Query]:
        """Returns those of the queries that a name server has to be asked for."""
        return {query for query in queries if query not in self._answers and literal(query) is None}

    def learn(self, answers: Answers) -> None:
        self._answers.update(answers)

    def look_up_all(self, queries: Iterable[Query]) -> None:
        """Resolves all unknown names at the same time and blocks until the last is answered.

        It is for the start of the program, when no client is served yet.
        """
        self.learn(resolve(self.unknown(queries)))

    def find(self, asker: object, host: str, port: int, kind: int, family: int = 0) -> tuple[int, Any]:
        """Returns family and address for a socket of this kind. Raises OSError.

        It takes the first address of the answer, as HAProxy's `init-addr libc` does, unless this `asker` already has
        one that is still in the answer. A name that is not known yet is looked up here, and the call waits for it.
        """
        query = Query(host, kind, family)
        answer: Found | OSError | None = literal(query) or self._answers.get(query)
        if answer is None:
            answer = self._answers[query] = look_up(query)
        if isinstance(answer, OSError):
            raise answer
        before = self._chosen.get((asker, query))
        chosen = self._chosen[asker, query] = before if before in answer else answer[0]
        found, (address, _, *rest) = chosen
        return found, (address, port, *rest)

    def forget_others(self, queries: Iterable[Query]) -> None:
        """Drops the choices for names that are not among `queries`."""
        wanted = set(queries)
        self._chosen = {key: chosen for key, chosen in self._chosen.items() if key[1] in wanted}
