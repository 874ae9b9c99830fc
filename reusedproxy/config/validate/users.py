"""Checks that the `userlist` sections exist which conditions and expressions ask, and whether a client can be meant.

Adds faults to the report; must never change a draft.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from reusedproxy.config.language.report import Report, did_you_mean
from reusedproxy.config.model.values import Place
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.validate.rules import first_arguments

#: The fetches whose argument is the name of a `userlist`.
ASKING = ("http_auth", "http_auth_group")


def validate_users(drafts: Iterable[ProxyDraft], names: Collection[str], report: Report) -> None:
    """Reports lists that do not exist, unless one may have been meant by a line that could not be read."""
    if report.names_in_doubt:
        return
    for draft in drafts:
        for place, said in asking(draft):
            for name in first_arguments(said, ASKING):
                if name not in names:
                    report.fault(place, f"there is no userlist '{name}'{did_you_mean(name, names)}")


def asking(draft: ProxyDraft) -> Iterable[tuple[Place, object]]:
    """Returns whatever may ask for a sample, with its place."""
    for criteria in draft.acls.values():
        yield from ((criterion.place, criterion) for criterion in criteria)
    rules = (
        *draft.request_rules,
        *draft.response_rules,
        *draft.after_rules,
        *draft.redirects,
        *draft.monitor_fails,
        *draft.connection_rules,
        *draft.session_rules,
        *draft.stick_rules,
        *draft.content_rules,
        *draft.response_content_rules,
        *draft.persist_rules,
    )
    yield from ((rule.place, rule) for rule in rules)
    yield from ((limit.place, limit) for limit in draft.bandwidths.values())
    if draft.stats is not None:
        yield from ((rule.place, rule) for rule in draft.stats.rules)
        yield from ((draft.said["stats admin"], condition) for condition in draft.stats.admin)
    yield from ((line.place, line) for line in draft.use_backends)
    yield from ((line.place, line) for line in draft.use_servers)
    if draft.forwarded is not None:
        yield draft.said.get("option forwarded", draft.place), draft.forwarded
    if draft.balance.expression is not None:
        yield draft.said.get("balance", draft.place), draft.balance.expression
    for server in draft.servers:
        yield from ((server.place, each) for each in (server.words.sni, server.words.pool_conn_name))
    yield from ((line.place, line.format) for line in draft.formats.values())
