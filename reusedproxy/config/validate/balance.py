"""Checks what sections say about the choice of their servers: names and numbers that must be right, words without
effect, and whether an algorithm was chosen at all."""

from __future__ import annotations

from collections.abc import Iterable

from reusedproxy.config.language.report import Report, did_you_mean
from reusedproxy.config.model.balance import BALANCE, HASHES
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.sections.servers import ServerDraft


def validate_balance(draft: ProxyDraft, report: Report) -> None:
    """Checks one section with servers."""
    _ids(draft, report)
    _use_server(draft, report)
    if "balance" not in draft.unreadable:
        _hash_words(draft, report)


def notice_of_default(drafts: Iterable[ProxyDraft], report: Report) -> None:
    """Says once which algorithm counts where several servers are and none was chosen: HAProxy's default has changed."""
    without = [each for each in drafts if len(each.servers) > 1 and "balance" not in each.said and not each.disabled]
    if without:
        names = ", ".join(f"'{each.name}'" for each in without)
        text = (
            f"no 'balance' is said for {names}, so it is {BALANCE[0]}, as in HAProxy up to 3.2 (since 3.3 it is"
            " random): say which"
        )
        report.notice(without[0].place, text)


def _ids(draft: ProxyDraft, report: Report) -> None:
    seen: dict[int, ServerDraft] = {}
    for server in draft.servers:
        number = server.words.id
        if number and number in seen:
            text = f"{server.title}: id {number} is that of server '{seen[number].name}' already"
            report.fault(server.place, f"{text}: give each server of a backend its own")
        seen.setdefault(number, server)


def _use_server(draft: ProxyDraft, report: Report) -> None:
    names = [server.name for server in draft.servers]
    if draft.unreadable & {"server", "server-template"}:
        return
    for rule in draft.use_servers:
        name = rule.name.constant
        if name is not None and name not in names:
            text = f"'use-server': there is no server '{name}' in {draft.title}{did_you_mean(name, names)}"
            report.fault(rule.place, text)


def _hash_words(draft: ProxyDraft, report: Report) -> None:
    algorithm, kind = draft.balance.algorithm, draft.hash_type
    hashes = algorithm in HASHES
    ring = hashes and kind.consistent
    for word, matters, needed in (
        ("hash-type", hashes, "an algorithm that hashes something of a request, such as 'balance uri'"),
        (
            "hash-balance-factor",
            ring or algorithm == "random" or not kind.factor,
            "'hash-type consistent', or 'balance random'",
        ),
        ("hash-preserve-affinity", ring, "'hash-type consistent' and an algorithm such as 'balance uri'"),
    ):
        if word in draft.own and not matters and word not in draft.unreadable:
            report.notice(draft.said[word], f"'{word}' does nothing without {needed}")
