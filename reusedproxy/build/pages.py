"""Adds what the proxy shows of itself: statistics pages to frontends and backends, and the exporter of metrics where a
rule uses it. What is not shown is not loaded (`daemon.parts`)."""

from __future__ import annotations

import os
import platform
from functools import partial
from typing import TYPE_CHECKING

from reusedproxy.build.rule_sets import RuleSets, asks_for_host, uses_service
from reusedproxy.config import model
from reusedproxy.config.model.rules import Rule
from reusedproxy.config.rules.actions import SERVICES
from reusedproxy.operators.logs.targets import LogTargets
from reusedproxy.operators.runtime.proxy import Running
from reusedproxy.rules.verifying import users_asked

if TYPE_CHECKING:
    from reusedproxy.operators.stats.handler import StatsPage
    from reusedproxy.operators.stats.moment import Moments
    from reusedproxy.operators.view.rates import Rates


def add_pages(
    configuration: model.Configuration,
    proxy: Running,
    logs: LogTargets,
    rule_sets: RuleSets,
    before: Rates | None,
) -> Rates | None:
    """Adds statistics pages: a frontend's own page first, then its backend's (after the rules, if it has any). `before`
    are the rates of the previous proxy. Returns this one's; None: nothing shows them."""
    if not shows_itself(configuration):
        return None
    from reusedproxy.operators.stats.moment import Moments
    from reusedproxy.operators.view.rates import Rates
    from reusedproxy.operators.view.reading import Reader

    history = before.history if before is not None else None
    rates = Rates(proxy.frontends, proxy.backends, proxy.deadlines, history)
    moments = Moments(Reader(proxy, rates))
    global_ = configuration.global_
    shown = bool(global_.stats_sockets)
    for frontend in [each for each in proxy.frontends if each.guide is None]:
        own = frontend.settings.stats
        places = [(frontend.pages, own, frontend.name, _content_of(configuration, frontend.settings))]
        if frontend.routing is not None:
            for route in frontend.routing.routes.values():
                settings = route.backend.settings
                places.append((route.pages, settings.stats, route.backend.name, settings.rules.response_content))
        elif frontend.backend is not None:
            settings = frontend.backend.settings
            places.append((frontend.pages, settings.stats, frontend.backend.name, settings.rules.response_content))
        for pages, page, section, content in places:
            if page is not None and (page != own or not frontend.pages):
                pages.append(_page(configuration, proxy, logs, page, section, content, moments, rule_sets))
                shown = True
    if exports(configuration):
        from reusedproxy.operators.metrics.exporter import Exporter, Installation

        installation = Installation(global_.node or platform.node(), global_.description, len(global_.stats_sockets))
        exporter = Exporter(moments, logs, installation, tables=proxy.tables)
        for frontend in proxy.frontends:
            frontend.services = dict.fromkeys(SERVICES, exporter)
        shown = True
    return rates if shown else None


def shows_itself(configuration: model.Configuration) -> bool:
    """Tells whether statistics are shown anywhere: on a page, in metrics, or at a `stats socket`."""
    return has_page(configuration) or exports(configuration) or bool(configuration.global_.stats_sockets)


def has_page(configuration: model.Configuration) -> bool:
    """Tells whether a section that is not disabled has a statistics page."""
    return any(each.stats is not None for each in _in_use(configuration))


def exports(configuration: model.Configuration) -> bool:
    """Tells whether a rule of a section that is not disabled has metrics exported."""
    return any(map(uses_service, _in_use(configuration)))


def _in_use(configuration: model.Configuration) -> list[model.Frontend | model.Backend]:
    sections: list[model.Frontend | model.Backend] = [*configuration.frontends.values()]
    sections += configuration.backends.values()
    return [each for each in sections if not each.disabled]


def _content_of(configuration: model.Configuration, settings: model.Frontend) -> tuple[Rule, ...]:
    """Returns the rules for contents of answers of a frontend that is a `listen` section: others have none."""
    backend = configuration.backends.get(settings.name)
    return backend.rules.response_content if backend is not None and backend.place == settings.place else ()


def _page(
    configuration: model.Configuration,
    proxy: Running,
    logs: LogTargets,
    page: model.StatsPage,
    section: str,
    content: tuple[Rule, ...],
    moments: Moments,
    rule_sets: RuleSets,
) -> StatsPage:
    from reusedproxy.operators.runtime.form import obey
    from reusedproxy.operators.stats.handler import StatsPage

    global_ = configuration.global_
    rules, admin, answer_rules = rule_sets.page(page, content)
    return StatsPage(
        page,
        moments,
        logs,
        section=section,
        rules=rules,
        admin=admin,
        answer_rules=answer_rules,
        users=users_asked([page]),
        orders=partial(obey, proxy, section) if admin else None,
        names=None if asks_for_host(page.rules) or all(map(asks_for_host, page.admin)) else _own_names(configuration),
        node=global_.node,
        description=global_.description,
    )


def _own_names(configuration: model.Configuration) -> set[str]:
    """Returns the names of this machine, and those that it listens on, in small letters."""
    frontends = configuration.frontends.values()
    hosts = [bind.address.host for frontend in frontends for bind in frontend.binds]
    return {name.lower() for name in (os.uname().nodename, configuration.global_.node, *hosts) if name}
