"""Checks that the sections and servers exist which a section names: to send requests to, or to ask for a figure.

A condition about a section that does not exist would never be true, and a rule that is to keep somebody out would not.
"""

from __future__ import annotations

from collections.abc import Sequence

from reusedproxy.config.language.report import Report, did_you_mean
from reusedproxy.config.model.values import Place
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.validate.rules import first_arguments
from reusedproxy.config.validate.users import asking

#: The sample fetches whose first argument is a section or a server.
_OF_BACKENDS = ("nbsrv", "be_conn", "queue", "avg_queue", "connslots", "be_conn_free", "be_sess_rate")
_OF_FRONTENDS = ("fe_conn", "fe_req_rate", "fe_sess_rate")
_OF_SERVERS = (
    *("srv_is_up", "srv_conn", "srv_conn_free", "srv_iweight", "srv_queue", "srv_uweight", "srv_weight"),
    "srv_sess_rate",
)


class Names:
    """Holds the names of all sections and servers."""

    def __init__(self, drafts: Sequence[ProxyDraft]) -> None:
        self._backends = [draft.name for draft in drafts if "B" in draft.sides]
        self._frontends = [draft.name for draft in drafts if "F" in draft.sides]
        self._servers = [
            f"{draft.name}/{each.name}" for draft in drafts if "B" in draft.sides for each in draft.servers
        ]
        #: The servers that a rule names, found by `check`.
        self.servers: set[str] = set()

    def check(self, draft: ProxyDraft, report: Report) -> None:
        """Reports what this section names and nobody is called."""
        if "F" in draft.sides:
            for choice in draft.use_backends:
                if (name := choice.name.constant) is not None:
                    self._is_there("backend", name, self._backends, choice.place, report)
            if draft.default_backend:
                place, name = draft.default_backend.place, draft.default_backend.name
                self._is_there("backend", name, self._backends, place, report)
        for place, said in asking(draft):
            for name in first_arguments(said, _OF_BACKENDS):
                self._is_there("backend", name, self._backends, place, report)
            for name in first_arguments(said, _OF_FRONTENDS):
                self._is_there("frontend", name, self._frontends, place, report)
            for name in first_arguments(said, _OF_SERVERS):
                full = name if "/" in name else f"{draft.name}/{name}"
                self._is_there("server", full, self._servers, place, report)
                self.servers.add(full)
        names = (each.name.constant for each in draft.use_servers)
        self.servers.update(f"{draft.name}/{name}" for name in names if name is not None)

    def _is_there(self, kind: str, name: str, names: Sequence[str], place: Place, report: Report) -> None:
        if name not in names:
            report.fault(place, f"there is no {kind} '{name}'{did_you_mean(name, names)}")
