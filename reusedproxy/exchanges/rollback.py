"""Restores a request to what it was before its rules ran, so that they can run again: a rule has asked for a password
whose hash has yet to be checked. It must never know which rules there are.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.rules.facts import Noted, Sample
from reusedproxy.wire.heads import RequestHead

#: What rules set of an exchange itself (`rules.steering.Steered`, and what is set here) and what does not change by
#: itself, so that it is enough to keep the value.
_SET = (
    "priority", "lenient", "own_source", "own_destination", "most_retries", "no_late_retries", "hints", "method",
    "persist", "binding", "applet", "line", "own_rules", "answer_rules", "_found_none",
    "limits_in", "limits_out", "compared", "counted",
)  # fmt: skip


@frozen
class Before:
    """Holds what rules may change of a request, of its client's session, of the process's variables and of entries of
    stick tables, as it was before they ran. What they have begun to track stays tracked, so that who waits counts among
    those who are there: the rules find it tracked when they run again."""

    head: RequestHead
    variables: dict[str, Sample] | None
    of_session: dict[str, Sample]
    of_process: dict[str, Sample]
    timeouts: dict[str, float] | None
    noted: Noted | None
    values: Sequence[object]

    @classmethod
    def of(cls, exchange: Exchange) -> Before:
        """Keeps all this. The tables note what is changed from now on, until `forget` is called."""
        head, variables, session = exchange.head, exchange.own_variables, exchange.client.session
        timeouts = exchange.own_timeouts
        assert head is not None
        for table in exchange.client.frontend.tables.values():
            table.remember()
        return cls(
            head.copy(),
            None if variables is None else dict(variables),
            {} if session is None else dict(session.variables),
            dict(exchange.client.frontend.variables),
            None if timeouts is None else dict(timeouts),
            None if exchange.noted is None else exchange.noted.copy(),
            [getattr(exchange, name) for name in _SET],
        )

    def restore(self, exchange: Exchange, *, withdraw: bool) -> None:
        """Puts all of it back; with `withdraw`, takes the request back from its backend, too."""
        assert exchange.head is not None
        exchange.head.become(self.head)
        exchange.own_variables = self.variables
        if exchange.client.session is not None:
            exchange.client.session.variables = dict(self.of_session)
        # All of it happens in one turn of the event loop: no other request has set them since.
        exchange.client.frontend.variables.clear()
        exchange.client.frontend.variables.update(self.of_process)
        exchange.own_timeouts = self.timeouts
        exchange.noted = self.noted
        for name, value in zip(_SET, self.values, strict=True):
            setattr(exchange, name, value)
        for table in exchange.client.frontend.tables.values():
            table.put_back()
        if withdraw:
            exchange.withdraw()

    @staticmethod
    def forget(exchange: Exchange) -> None:
        """Has the tables note no more what is changed."""
        for table in exchange.client.frontend.tables.values():
            table.forget()
