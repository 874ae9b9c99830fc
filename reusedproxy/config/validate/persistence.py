"""Checks what a section says of persistence against its servers. Adds notices to the report; must never change a
draft."""

from __future__ import annotations

from reusedproxy.config.language.report import Report
from reusedproxy.config.model.persistence import INSERT, PASSIVE
from reusedproxy.config.sections.draft import ProxyDraft


def validate_persistence(draft: ProxyDraft, report: Report) -> None:
    """Tells of lines that do nothing, because another one is missing; HAProxy takes them in silence."""
    if draft.unreadable & {"cookie", "dynamic-cookie-key", "server", "default-server"}:
        return
    cookie, own = draft.cookie, draft.own
    if cookie is None:
        by_table = ("force-persist", "option persist") if not draft.stick_rules else ()
        for word in (*by_table, "ignore-persist", "dynamic-cookie-key"):
            if word in own and (word != "option persist" or draft.persist):
                text = f"{draft.title}: '{word}' does nothing without a 'cookie' line, which says how clients persist"
                report.notice(draft.said[word], text)
        server = next((each for each in draft.servers if "cookie" in each.own), None)
        if server is not None:
            text = (
                f"{server.title}: nobody looks at its cookie: {draft.title} has no 'cookie' line"
                " (cookie SRV insert indirect nocache, say)"
            )
            report.notice(server.place, text)
        return
    place = draft.said["cookie"] if "cookie" in own else draft.place
    what = f"{draft.title}: 'cookie {cookie.name}'"
    if cookie.dynamic and not draft.dynamic_cookie_key:
        report.notice(place, f"{what}: 'dynamic' makes no cookies without 'dynamic-cookie-key'")
    elif draft.dynamic_cookie_key and not cookie.dynamic and "dynamic-cookie-key" in own:
        report.notice(draft.said["dynamic-cookie-key"], f"{what}: 'dynamic-cookie-key' is used with 'dynamic' only")
    made = cookie.dynamic and draft.dynamic_cookie_key
    if draft.servers and not made and all(each.words.cookie is None for each in draft.servers):
        text = f"{what} leads to no server, because none has a cookie: 'cookie <value>' on the 'server' lines"
        if cookie.mode == INSERT:
            text += "; each answer makes the client forget the one that it has"
        report.notice(place, text)
    if cookie.mode != INSERT and (unused := cookie.for_insert):
        instead = "not: 'insert' is missing" if cookie.mode == PASSIVE else f"not ('{cookie.mode}')"
        report.notice(place, f"{what}: '{unused}' is about cookies that are inserted, and this one is {instead}")
