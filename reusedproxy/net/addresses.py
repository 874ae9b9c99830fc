"""Names of hosts and what they were resolved to, for all who ask in one reading of the configuration, and the next.

Whoever asks again is given the same address as before as long as the name still has it, so that a name server that changes
the order of its answers makes no server look changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reusedproxy.net.resolver import Answers, Found, Query, literal, look_up, resolve


class Addresses:
    """What was found. Names that `learn` or `look_up_all` has told of beforehand cost no time in `find`."""

    def __init__(self, previous: Addresses | None = None) -> None:
        """`previous`: those of the reading before, whose choice among a name's addresses holds on."""
        self._answers: Answers = {}
        self._chosen: dict[tuple[object, Query], tuple[int, Any]] = dict(previous._chosen) if previous else {}

    def unknown(self, queries: Iterable[Query]) -> set[Query]:
        """Those of them that a name server has to be asked for."""
        return {query for query in queries if query not in self._answers and literal(query) is None}

    def learn(self, answers: Answers) -> None:
        self._answers.update(answers)

    def look_up_all(self, queries: Iterable[Query]) -> None:
        """Ask for all that is unknown, side by side, and wait for it: for the start, when nobody is served yet."""
        self.learn(resolve(self.unknown(queries)))

    def find(self, asker: object, host: str, port: int, kind: int, family: int = 0) -> tuple[int, Any]:
        """Family and address for a socket of this kind: the first, as HAProxy's `init-addr libc`. Raises OSError."""
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
        """Keep no choice for names that are asked for no more."""
        wanted = set(queries)
        self._chosen = {key: chosen for key, chosen in self._chosen.items() if key[1] in wanted}
