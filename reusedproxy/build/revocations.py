"""Finds which files of revoked certificates are to be fetched, and from where (`crl-url`).

Knows the configuration's values. Must never know how a list is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.proxies import Configuration, Server
from reusedproxy.config.model.tls import ListURL, Revocations
from reusedproxy.measures.list_fetches import ListFetches


@frozen
class Source:
    """Says where the lists of one `crl-file` come from. `ca_files` are those of the servers that use it: their CAs must
    have signed what is fetched."""

    file: str
    revocations: Revocations
    ca_files: tuple[str, ...]

    @property
    def urls(self) -> tuple[ListURL, ...]:
        return self.revocations.urls


def sources_of(configuration: Configuration, faults: list[Fault]) -> dict[str, Source]:
    """Returns the files that are fetched, by their names; adds to `faults`."""
    sources: dict[str, Source] = {}
    for backend in configuration.backends.values():
        for server in backend.servers if not backend.disabled else ():
            _add(server, f"{backend.name}/{server.name}", sources, faults)
    return sources


def _add(server: Server, name: str, sources: dict[str, Source], faults: list[Fault]) -> None:
    tls = server.tls or server.check_tls or server.step_tls
    if server.revocations is None or tls is None or tls.crl_file is None or tls.ca_file is None:
        return
    source = sources.setdefault(tls.crl_file, Source(tls.crl_file, server.revocations, ()))
    if source.revocations != server.revocations:
        text = f"server {name}: 'crl-file {tls.crl_file}' is fetched for other servers with other 'crl-url' words"
        faults.append(Fault(server.place, f"{text}: say the same for all, in 'default-server' perhaps"))
    elif tls.ca_file not in source.ca_files:
        sources[source.file] = evolve(source, ca_files=(*source.ca_files, tls.ca_file))


def fetches_of(sources: Mapping[str, Source], previous: Mapping[str, ListFetches]) -> dict[str, ListFetches]:
    """Returns the counts for each URL of these files, which go on at a reload."""
    urls = dict.fromkeys(url.text for source in sources.values() for url in source.urls)
    return {url: previous.get(url) or ListFetches(url) for url in urls}
