"""Checks that the `userlist` sections, and their groups, exist which conditions and expressions ask.

Adds faults to the report; must never change a draft.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from reusedproxy.config.language.report import Report, did_you_mean
from reusedproxy.config.model.rules import Criterion
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.patterns import GROUP
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.sections.userlists import UserListDraft
from reusedproxy.config.validate.rules import first_arguments

#: The fetches whose argument is the name of a `userlist`.
ASKING = ("http_auth", "http_auth_group")


def validate_users(drafts: Iterable[ProxyDraft], lists: Mapping[str, UserListDraft], report: Report) -> None:
    """Reports lists and groups that do not exist, unless one may have been meant by a line that could not be read."""
    if report.names_in_doubt:
        return
    for draft in drafts:
        for place, said in asking(draft):
            for name in first_arguments(said, ASKING):
                if name not in lists:
                    report.fault(place, f"there is no userlist '{name}'{did_you_mean(name, lists)}")
            for criterion in _about_groups(said):
                asked = lists.get(criterion.expression.fetch.arguments[0])
                if asked is not None and not asked.unreadable:
                    _check_groups(criterion, asked, report)


def _check_groups(criterion: Criterion, asked: UserListDraft, report: Report) -> None:
    """Reports groups that the list does not have, and users where `-m str` compares with their names: a condition that
    nobody can meet may be one that was to keep somebody out."""
    for name in criterion.patterns:
        if criterion.method == GROUP and name not in asked.groups:
            hint = did_you_mean(name, asked.groups)
            report.fault(criterion.place, f"userlist '{asked.name}' has no group '{name}'{hint}")
        elif criterion.method == "str" and not criterion.ignore_case and name not in asked.users:
            text = f"'-m str' compares with the name of the user, and userlist '{asked.name}' has no user '{name}'"
            hint = ": take '-m str' out, and it is a group" if name in asked.groups else did_you_mean(name, asked.users)
            report.fault(criterion.place, f"{text}{hint}")


def _about_groups(said: object) -> Iterable[Criterion]:
    """Returns the criteria within a value of the configuration, at any depth, that compare groups."""
    if isinstance(said, Criterion):
        fetch = said.expression.fetch
        if fetch.name == "http_auth_group" and fetch.arguments and not said.expression.converters:
            yield said
    elif isinstance(said, tuple):
        for part in said:
            yield from _about_groups(part)
    elif attrs.has(kind := type(said)):
        for field in attrs.fields(kind):
            yield from _about_groups(getattr(said, field.name))


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
