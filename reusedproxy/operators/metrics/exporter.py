"""Answers requests with all metrics in Prometheus' text format (`http-request use-service prometheus-exporter`).

HAProxy's come first, in the order of its scopes, each scope with ours behind them. The answer is made in pieces of
little work each, and sent as it is made: for 1,000 servers it has some ten megabytes. It must never know who may ask;
that is for the rule's condition to say.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from types import MappingProxyType

from attrs import evolve, frozen

from reusedproxy import __version__
from reusedproxy.backends.server import MAINT
from reusedproxy.exchanges.own_answers import error_page
from reusedproxy.exchanges.serving import Made
from reusedproxy.measures.histogram import Histogram
from reusedproxy.operators.logs.targets import LogTargets
from reusedproxy.operators.metrics import extra, families, haproxy, pools, process
from reusedproxy.operators.metrics.exposition import CONTENT_TYPE, labels, line, sample_lines, title
from reusedproxy.operators.metrics.pools import Family, Sample
from reusedproxy.operators.metrics.query import BadQuery, Query, read_query
from reusedproxy.operators.metrics.tables import of_tables
from reusedproxy.operators.stats.figures import Row, Section
from reusedproxy.operators.stats.moment import Moment, Moments
from reusedproxy.operators.view.values import ServerView
from reusedproxy.tables.table import Table
from reusedproxy.wire.heads import RequestHead

#: Samples that are written in one piece.
AT_ONCE = 20
_LETTERS = {word: letter for letter, word in haproxy.KINDS.items()}


@frozen
class Installation:
    """Holds what the configuration says of this one: `node`, `description`, and the number of its `stats socket`
    lines."""

    node: str = ""
    description: str = ""
    sockets: int = 0


class Exporter:
    """Serves the metrics of one proxy."""

    log_name = "<PROMEX>"

    def __init__(
        self,
        moments: Moments,
        logs: LogTargets,
        installation: Installation = Installation(),
        wall: Callable[[], float] = time.time,
        tables: Mapping[str, Table] = MappingProxyType({}),
    ) -> None:
        self._moments = moments
        self._logs = logs
        self._installation = installation
        self._wall = wall
        self._tables = tables

    def answer(self, head: RequestHead) -> Made:
        """Describes the answer, whatever the method is, as in HAProxy: 400 where it is not clear what is asked for."""
        try:
            query = read_query(head.target)
        except BadQuery:
            return Made(400, "text/html", iter((error_page(400),)))
        return Made(200, CONTENT_TYPE, self._pieces(query))

    def _pieces(self, query: Query) -> Iterator[bytes]:
        if not query.scopes:
            return
        moment = yield from self._moments.between_pieces(measures="server" in query.scopes)
        for text in self._texts(moment, query):
            yield text.encode()

    def _texts(self, moment: Moment, query: Query) -> Iterator[str]:
        view = moment.view
        if "global" in query.scopes:
            at = self._wall() - (self._moments.reader.now() - view.at)
            said = self._installation
            about = process.Process(
                version=__version__,
                files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                started=at - view.uptime,
                log_lines_dropped=self._logs.dropped,
                sockets=said.sockets,
                node=said.node,
                description=said.description,
            )
            found = process.of_process(view, about)
            if query.desc_labels and said.description:
                found = map(partial(process.described, said.description), found)
            yield from _written(
                (*found, *process.of_event_loop(view), *process.of_files(view), *families.of_lists(view.lists)), query
            )
        if "frontend" in query.scopes:
            yield from _rows(moment.sections, "F", query)
            yield from _in_parts(families.parts_of_frontends(view.frontends), query)
        if "listener" in query.scopes:
            yield from _rows(moment.sections, "L", query)
        if "backend" in query.scopes:
            yield from _rows(moment.sections, "B", query)
            yield from _in_parts(families.parts_of_backends(view.backends), query)
        if "server" in query.scopes:
            yield from _rows(moment.sections, "S", query)
            servers = [each for each in view.servers if not query.no_maint or each.state != MAINT]
            for family, read in pools.FAMILIES:
                if not query.wants(family.name):
                    continue
                if family.kind == pools.HISTOGRAM and not query.server_histograms:
                    yield from _by_backend(family, read, view.servers)
                else:
                    yield from _family(family, pools.samples(family, read, servers))
        if "sticktable" in query.scopes and self._tables:
            yield from _written(of_tables(self._tables.values()), query)


def _rows(sections: Sequence[Section], kind: str, query: Query) -> Iterator[str]:
    """Writes the metrics of all rows of this kind."""
    found: list[tuple[Row, Section, str]] = []
    for section in sections:
        description = section.description if query.desc_labels else ""
        for number, row in enumerate(haproxy.rows_of(section, kind)):
            if not number % AT_ONCE:
                yield ""
            if not query.no_maint or row.server is None or row.server.state != MAINT:
                found.append((row, section, labels(haproxy.labels_of(row, kind, description))))
    word = haproxy.KINDS[kind]
    wanted = [each for each in haproxy.METRICS if kind in each.kinds]
    if query.extra_counters:
        wanted += extra.metrics(kind)
    for metric in wanted:
        name = f"haproxy_{word}_{metric.name}"
        if query.wants(name):
            yield from _titled(title(name, metric.kind, metric.help), _metric_lines(metric, name, found))


def _metric_lines(metric: haproxy.Metric, name: str, rows: Iterable[tuple[Row, Section, str]]) -> Iterator[str]:
    for row, section, within in rows:
        for further, value in metric.read(row, section):
            yield line(name, f"{within},{labels(further)}" if further else within, value)


def _written(found: Iterable[Family], query: Query) -> Iterator[str]:
    return _in_parts(((family, family.samples) for family in found), query)


def _in_parts(found: Iterable[tuple[Family, Iterable[Sample]]], query: Query) -> Iterator[str]:
    for family, samples in found:
        if query.wants(family.name):
            yield from _family(family, samples)


def _by_backend(family: Family, read: pools.Read, servers: Iterable[ServerView]) -> Iterator[str]:
    """Writes the histograms of servers, added up by backend: those of each server are two thirds of all samples."""
    sums: dict[tuple[str, ...], Histogram] = {}
    for number, server in enumerate(servers, 1):
        for further, value in read(server).items():
            assert isinstance(value, tuple)
            one, key = Histogram(value[0], [*value[1]], value[2]), (server.full_name.partition("/")[0], *further)
            sums[key] = sums[key].joined(one) if key in sums else one
        if not number % AT_ONCE:
            yield ""
    samples = (Sample(key, pools.distribution(each)) for key, each in sums.items())
    yield from _family(evolve(family, labels=("backend", *family.labels[1:])), samples)


def _family(family: Family, samples: Iterable[Sample]) -> Iterator[str]:
    heading = title(family.name, family.kind, family.help)
    return _titled(heading, (sample_lines(family, sample) for sample in samples))


def _titled(heading: str, lines: Iterator[str]) -> Iterator[str]:
    """Returns lines in pieces, behind their heading; nothing if there are none."""
    while some := [*islice(lines, AT_ONCE)]:
        yield heading + "".join(some)
        heading = ""
