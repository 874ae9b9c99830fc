"""Checks that the `userlist` sections, and their groups, exist which conditions and expressions ask.

Adds faults to the report; must never change a draft.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reusedproxy.config.language.report import Report, did_you_mean
from reusedproxy.config.model.rules import Criterion
from reusedproxy.config.model.values import Place
from reusedproxy.config.model.within import values_in
from reusedproxy.config.rules.patterns import GROUP
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.sections.servers import ServerDraft
from reusedproxy.config.sections.userlists import UserListDraft
from reusedproxy.config.validate.rules import first_arguments

#: The fetches whose argument is the name of a `userlist`.
ASKING = ("http_auth", "http_auth_group")


def validate_users(drafts: Iterable[ProxyDraft], lists: Mapping[str, UserListDraft], report: Report) -> None:
    """Reports lists and groups that do not exist, unless one may have been meant by a line that could not be read."""
    if report.names_in_doubt:
        return
    for draft in drafts:
        _check_servers(draft, lists, report)
        for place, said in asking(draft):
            for name in first_arguments(said, ASKING):
                if name not in lists:
                    report.fault(place, f"there is no userlist '{name}'{did_you_mean(name, lists)}")
            for criterion in _about_groups(said):
                asked = lists.get(criterion.expression.fetch.arguments[0])
                if asked is not None and not asked.unreadable:
                    _check_groups(criterion, asked, report)


def _check_servers(draft: ProxyDraft, lists: Mapping[str, UserListDraft], report: Report) -> None:
    """Refuses to choose a connection by a list whose hashes take too long to be computed there."""
    for server in draft.servers:
        for name in first_arguments(tuple(of_server(server)), ASKING):
            asked = lists.get(name)
            if asked is not None and any(each.hashed for each in asked.users.values()):
                text = (
                    f"{server.title} asks userlist '{name}', whose passwords are hashed, and no connection waits until"
                    f" one is checked: write 'http-request set-var(txn.group) http_auth_group({name})', and ask"
                    " var(txn.group)"
                )
                report.fault(server.place, text)


def _check_groups(criterion: Criterion, asked: UserListDraft, report: Report) -> None:
    """Reports groups that the list does not have, and other comparisons than with groups: a condition that nobody can
    meet may be one that was to keep somebody out."""
    if criterion.method != GROUP:
        text = f"'{criterion.expression}' is compared with names of groups alone: take converters and '-m' out"
        report.fault(criterion.place, f"{text} ('http_auth_user' is the name that the client says)")
        return
    for name in criterion.patterns:
        if name not in asked.groups:
            hint = did_you_mean(name, asked.groups)
            report.fault(criterion.place, f"userlist '{asked.name}' has no group '{name}'{hint}")


def _about_groups(said: object) -> Iterable[Criterion]:
    """Returns the criteria within a value of the configuration, at any depth, that compare groups."""
    for criterion in values_in(said, Criterion):
        fetch = criterion.expression.fetch
        if fetch.name == "http_auth_group" and fetch.arguments:
            yield criterion


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
    yield from ((page.place, page) for page in draft.errors)
    for server in draft.servers:
        yield from ((server.place, each) for each in of_server(server))
    yield from ((line.place, line.format) for line in draft.formats.values())


def of_server(server: ServerDraft) -> Iterable[object]:
    """Returns what a connection to a server is chosen by, and what is said at its begin."""
    words = server.words
    return words.sni, words.pool_conn_name, words.extensions, tuple(words.identity.formats.values())
