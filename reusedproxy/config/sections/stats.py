"""Parses the `stats` lines of proxies: where the statistics page is, who may see it, and who may change something.

As in HAProxy, the first `stats` line of a section drops all that it has inherited of them. Where that would open a page
that `defaults` had closed, it is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import ceil

from attrs import evolve

from reusedproxy.config.language import haproxy_words, units
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean
from reusedproxy.config.model.proxies import StatsPage
from reusedproxy.config.model.rules import Condition, Criterion, Rule, Term
from reusedproxy.config.model.users import User, UserList
from reusedproxy.config.model.values import Call, Expression
from reusedproxy.config.rules.acls import Acls, read_condition, resolved, split_condition, with_acls
from reusedproxy.config.rules.actions import Allow, Authenticate, realm
from reusedproxy.config.rules.lines import read_request_rule
from reusedproxy.config.rules.replies import Reply
from reusedproxy.config.sections.draft import ProxyDraft

#: Where a page asks for a password and no line says its realm; browsers keep passwords by this.
REALM = "HAProxy Statistics"
#: Words that keep people out.
_RESTRICTING = ("stats auth", "stats http-request", "stats scope")


def read_stats(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads a `stats` line; every valid one enables the page, as in HAProxy. Raises Wrong."""
    if not line.arguments:
        raise Wrong("'stats' needs a word after it: stats enable, say")
    word = line.words[1]
    stats = Line(line.place, (f"stats {word}", *line.words[2:]))
    if word in ("admin", "http-request") and proxy.kind == "defaults":
        raise Wrong(f"'{stats.keyword}' cannot stand in a 'defaults' section")
    if not proxy.own_stats and proxy.kind != "defaults":
        proxy.own_stats, proxy.inherited_stats, proxy.stats = True, proxy.stats, None
    page = proxy.stats or StatsPage()
    if word in READERS:
        page = READERS[word](page, stats, proxy.acls, report)
    elif word == "show-modules":
        report.without_effect(stats.keyword, line.place)
    elif word in ("socket", "timeout", "maxconn"):
        raise Wrong(f"'stats {word}' belongs in section 'global'")
    else:
        raise Wrong(f"'stats': unknown word '{word}'{did_you_mean(word, haproxy_words.STATS)}")
    proxy.say(stats.keyword, line.place)
    proxy.stats = page


def _enable(page: StatsPage, line: Line, acls: Acls, report: Report) -> StatsPage:
    line.at_most(0)
    return page


def _uri(page: StatsPage, line: Line, acls: Acls, report: Report) -> StatsPage:
    uri = line.one_argument("the beginning of a path")
    if not re.match(r"[!-~]+\Z", uri):
        raise Wrong(f"'stats uri': '{uri}' cannot stand in a request")
    return evolve(page, uri=uri)


def _refresh(page: StatsPage, line: Line, acls: Acls, report: Report) -> StatsPage:
    value = units.seconds(line.one_argument("a time"), "'stats refresh'", default_unit="s")
    return evolve(page, refresh=float(ceil(value)) or None)  # HAProxy rounds up, too


def _version(page: StatsPage, line: Line, acls: Acls, report: Report) -> StatsPage:
    line.at_most(0)
    return evolve(page, show_version=line.keyword == "stats show-version")


def _auth(page: StatsPage, line: Line, acls: Acls, report: Report) -> StatsPage:
    if len(line.arguments) > 1:  # what is too much may be the password, which no message is to have
        raise Wrong("'stats auth' takes one word, a name, a colon and a password: stats auth NAME:PASSWORD")
    name, colon, password = line.one_argument("a name and a password: stats auth NAME:PASSWORD").partition(":")
    if not colon or not name:
        raise Wrong("'stats auth' needs a name, a colon and a password: stats auth NAME:PASSWORD")
    if any(user.name == name for user in page.users):
        raise Wrong(f"'stats auth': the user '{name}' has a password already")
    return evolve(page, users=(*page.users, User(name, line.place, password)))


def _realm(page: StatsPage, line: Line, acls: Acls, report: Report) -> StatsPage:
    return evolve(page, realm=realm(line.one_argument("a text (one word, or quoted)"), "'stats realm'"))


def _http_request(page: StatsPage, line: Line, acls: Acls, report: Report) -> StatsPage:
    rule = read_request_rule(Line(line.place, ("http-request", *line.arguments)), acls, report)
    if not isinstance(rule.action, Allow | Authenticate) and not (
        isinstance(rule.action, Reply) and rule.action.denies
    ):
        raise Wrong("'stats http-request' takes 'allow', 'deny' and 'auth'")
    if rule.action == Authenticate():
        rule = evolve(rule, action=Authenticate(REALM))
    if page.rules and page.rules[-1].condition is None:
        text = f"the '{page.rules[-1].words}' at {page.rules[-1].place} has no condition, so no rule after it counts"
        report.warn(line.place, text)
    return evolve(page, rules=(*page.rules, evolve(rule, words=f"stats {rule.words}")))


def _admin(page: StatsPage, line: Line, acls: Acls, report: Report) -> StatsPage:
    before, words = split_condition(line.arguments)
    if before or not words:
        raise Wrong("'stats admin' needs a condition: stats admin if { http_auth_group(team) admins }, say")
    condition = read_condition(words, acls, line.place, "'stats admin'", report)
    assert condition is not None
    return evolve(page, admin=(*page.admin, condition))


def _scope(page: StatsPage, line: Line, acls: Acls, report: Report) -> StatsPage:
    return evolve(page, scope=(*page.scope, line.one_argument("the name of a section, or . for this one")))


def _show_legends(page: StatsPage, line: Line, acls: Acls, report: Report) -> StatsPage:
    line.at_most(0)
    return evolve(page, legends=True)


def _show_node(page: StatsPage, line: Line, acls: Acls, report: Report) -> StatsPage:
    line.at_most(1)
    return evolve(page, node="".join(line.arguments))


def _show_desc(page: StatsPage, line: Line, acls: Acls, report: Report) -> StatsPage:
    return evolve(page, description=" ".join(line.arguments))


READERS: dict[str, Callable[[StatsPage, Line, Acls, Report], StatsPage]] = {
    "enable": _enable,
    "uri": _uri,
    "refresh": _refresh,
    "hide-version": _version,
    "show-version": _version,
    "auth": _auth,
    "realm": _realm,
    "http-request": _http_request,
    "admin": _admin,
    "scope": _scope,
    "show-legends": _show_legends,
    "show-node": _show_node,
    "show-desc": _show_desc,
}


# The whole page.


def validate_stats(draft: ProxyDraft, report: Report) -> None:
    """Checks the lines against each other, and against those that the section has inherited."""
    page, inherited = draft.stats, draft.inherited_stats
    lost = [word for word in draft.unreadable if word == "stats" or word.startswith("stats ")]
    if page is None or lost:
        return
    if page.rules and (page.users or page.realm):
        text = f"'stats http-request' at {page.rules[0].place} decides who may see the page, so this does not count"
        if page.users:
            instead = "write 'stats http-request auth' with a 'userlist' in place of it"
            report.fault(draft.said["stats auth"], f"{text}: {instead}")
        else:
            report.warn(draft.said["stats realm"], f"{text}: 'stats http-request auth realm NAME' says the realm")
    if inherited is None:
        return
    dropped = [word for word in draft.said if word.startswith("stats ") and word not in draft.own]
    for word in dropped:
        text = f"'{word}' at {draft.said[word]} does not count in {draft.title}, which has 'stats' lines of its own"
        closed = page.scope if word == "stats scope" else page.users or page.rules
        if word in _RESTRICTING and not closed:
            report.fault(draft.place, f"{text}: the page would be open, as it is in HAProxy; say it there again")
        elif word != "stats enable":
            report.warn(draft.place, f"{text}, as in HAProxy")


def finished_stats(draft: ProxyDraft) -> StatsPage | None:
    """Returns the page with the rules that it stands for, and with all lines of the ACLs that they name."""
    page = draft.stats
    if page is None:
        return None
    rules = tuple(resolved(rule, draft.acls) for rule in page.rules)
    if page.users:
        place = page.users[0].place
        known = Criterion(place, Expression(Call("http_auth", (_list_name(draft),))), "bool")
        unless = Condition(((Term((known,)),),), unless=True)
        rules = (Rule(place, "stats auth", Authenticate(page.realm or REALM), unless),)
    admin = tuple(with_acls(condition, draft.acls) for condition in page.admin)
    return evolve(page, rules=rules, admin=admin)


def stats_users(draft: ProxyDraft) -> UserList | None:
    """Returns the list of those whom `stats auth` names; None if there are none."""
    page = draft.stats
    if page is None or not page.users:
        return None
    return UserList(_list_name(draft), page.users[0].place, {user.name: user for user in page.users})


def _list_name(draft: ProxyDraft) -> str:
    """Returns a name that no section can have."""
    return f"stats auth of {draft.kind} {draft.name}"
