"""Checks sections with `option egress`, where each server is a partner that requests name, and the words that belong to
it."""

from __future__ import annotations

from ipaddress import ip_address

from reusedproxy.config.language.addresses import CLIENTS_HOSTS
from reusedproxy.config.language.report import Report
from reusedproxy.config.model.values import Place
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.sections.servers import ServerDraft


def validate_egress(draft: ProxyDraft, report: Report) -> None:
    if not draft.egress:
        return
    what = f"{draft.title}: 'option egress'"
    if draft.tcp:
        report.fault(draft.place, f"{what} is for 'mode http' only: a request names its server")
        return
    for word, said in (
        ("use-server", draft.use_servers),
        ("cookie", draft.cookie),
        ("stick", draft.stick_rules),
    ):
        if said:
            report.fault(draft.place, f"{what} leads each request to the server that it names: take out '{word}'")
    places: dict[tuple[str, int | None], Place] = {}
    for server in draft.servers:
        _partner(server, places, report)


def _partner(server: ServerDraft, places: dict[tuple[str, int | None], Place], report: Report) -> None:
    address, name = server.address, server.title
    if address.kind != "tcp" or address.host in CLIENTS_HOSTS or address.mapped is not None or not address.port:
        text = f"{name}: with 'option egress' its address is what requests name: write 'api.example.com:443', say"
        report.fault(server.place, text)
        return
    place = (address.host.removesuffix(".").lower(), address.port)
    if (before := places.setdefault(place, server.place)) is not server.place:
        report.fault(server.place, f"{name}: requests for {place[0]}:{place[1]} go to the server of {before} already")
    if server.words.backup:
        report.fault(server.place, f"{name}: 'backup' says nothing with 'option egress': take it out")
    if _is_address(address.host) and server.words.reach is None:
        text = f"{name}: {address.host} is an address: add 'egress-net {address.host}' to allow it"
        report.fault(server.place, text)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
