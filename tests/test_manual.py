"""The manual and the samples say what the program does: no word is left out, none is promised that is refused.

The reader's own tables are asked, some of them private, because a second list of words here would be the one that is
forgotten. Where a word is decided by code and not by a table, a line with it is read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from unittest import SkipTest

from attrs import fields_dict
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.command import Options
from reusedproxy.config.language import conditions, haproxy_words, units
from reusedproxy.config.language.report import Line, Report, Wrong
from reusedproxy.config.model.balance import BALANCE
from reusedproxy.config.model.names import Holds
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.model.values import Place
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.config.rules import acls, patterns
from reusedproxy.config.rules import actions as rules
from reusedproxy.config.rules import samples as sample_table
from reusedproxy.config.sections import crt_stores, logs, options, peers, proxies, resolvers, rings, server_words, stats
from reusedproxy.config.sections import globals as global_section
from reusedproxy.config.sections.binds import read_bind
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.tls.words import TLSDefaults
from reusedproxy.doctor.options import DoctorOptions
from reusedproxy.operators.metrics.families import of_backends, of_frontends, of_lists
from reusedproxy.operators.metrics.pools import of_servers
from reusedproxy.operators.metrics.process import of_event_loop, of_files
from reusedproxy.operators.runtime.commands import COMMANDS, UNLISTED
from reusedproxy.operators.runtime.proxy import LEVELS
from reusedproxy.operators.view.values import ProxyView
from reusedproxy.pool.reasons import WORDS

NOTHING = ProxyView(0.0, 0.0, 0, 0, 0, 0.0, (), ())
ROOT = Path(__file__).parent.parent
PLACE = Place("a.cfg", 1)
REFUSED = "NOT DONE YET"
IGNORED = "ACCEPTED WITHOUT EFFECT"
#: A line of a macro with another of mdoc(7) in it that is obeyed there, too. Those that the pages use so are not among
#: them;
#: 'No' is, but only behind other words.
TAKEN_FOR_MACROS = re.compile(
    r"(?m)^\.\w+ (?:No|(?:.* )?(?:A[cdnopqt]|B[coqx]|Br[coq]|Bsx|Cd|D[cox]|E[cmnorsv]|F[acnortx]|Hf|In|L[bk]|M[st]"
    r"|Nx|O[tx]|Pf"
    r"|Q[cloq]|S[cmoqty]|Tn|Ux|V[at]|X[co]))(?: .*)?$"
)


class Page:
    """The source of a manual page (mdoc): `words` of its keyword macros, by section and subsection."""

    def __init__(self, name: str) -> None:
        self.path = ROOT / "man" / name
        self.text = self.path.read_text()
        self.words: dict[str, set[str]] = {}
        section = part = ""
        for line in self.text.splitlines():
            if found := re.match(r"\.(Sh|Ss) (.*)", line):
                section = found[2] if found[1] == "Sh" else section
                part = found[2]
            elif re.match(r"\.(It |Pq [^.]*)*Ic ", line):
                for title in {section, part}:
                    self.words.setdefault(title, set()).update(re.split(r"[\s,|()]+", line))

    def lacks(self, words: Iterable[str], *sections: str) -> list[str]:
        """Those of `words` that none of these sections has."""
        known = set().union(*(self.words[section] for section in sections))
        return sorted(set(words) - known)


def taken_on_bind_lines() -> set[str]:
    return {word for word, takes in haproxy_words.BIND.items() if _bind_takes(word, takes)}


def _bind_takes(word: str, takes: int) -> bool:
    values = {"proto": "h1", "mss": "900", "verify": "none", "alpn": "http/1.1", "npn": "http/1.1"}
    value = values.get(word, "TLSv1.2" if word.startswith("ssl-m") else "1")
    address = ":80" if word == "interface" else "/a.sock"
    try:
        read_bind(Line(PLACE, ("bind", address, word, *([value] * takes))), TLSDefaults(), Report(("a.cfg",)))
    except Wrong:
        return False
    return True


def taken_by(keyword: str, words: Iterable[str], *values: str) -> set[str]:
    """Those of `words` that may follow `keyword` in a proxy section."""

    def takes(word: str) -> bool:
        draft = ProxyDraft("listen", "web", PLACE)
        for count in range(len(values) + 1):
            try:
                proxies.KEYWORDS[keyword].read(draft, Line(PLACE, (keyword, word, *values[:count])), Report(("a.cfg",)))
            except Wrong:
                continue
            return True
        return False

    return {word for word in words if takes(word)}


class ConfigurationPageTests(SynchronousTestCase):
    """reusedproxy.cfg(5) and the reader know the same words."""

    page = Page("reusedproxy.cfg.5")

    def test_every_global_keyword_is_explained(self) -> None:
        done = {*global_section._READERS, *haproxy_words.GLOBAL_BY_TWISTD, *haproxy_words.GLOBAL_BY_SERVICE_MANAGER}
        self.assertEqual([], self.page.lacks(done, "GLOBAL SECTION"))

    def test_every_proxy_keyword_is_explained(self) -> None:
        self.assertEqual([], self.page.lacks(proxies.KEYWORDS, "PROXY SECTIONS", "OPTIONS", "RULES"))

    def test_every_word_of_rules_is_explained(self) -> None:
        self.assertEqual([], self.page.lacks({*rules.REQUEST_ACTIONS, *rules.RESPONSE_ACTIONS}, "Actions"))
        self.assertEqual([], self.page.lacks({*patterns.METHODS, *patterns.OPERATORS, *acls.PREDEFINED}, "Tests"))
        fetches = {re.sub(r"^sc[0-2]_", "sc_", name) for name in sample_table.FETCHES}
        names = {*fetches, *sample_table.CONVERTERS, *sample_table.SAME}
        self.assertEqual([], self.page.lacks(names, "Sample expressions"))
        for alias in sample_table.ALIASES:
            self.assertRegex(self.page.text, rf"(?m)^\.Li .*%{alias}( |$)")

    def test_every_balance_algorithm_is_explained(self) -> None:
        self.assertEqual([], self.page.lacks(BALANCE, "PROXY SECTIONS"))

    def test_every_timeout_is_explained(self) -> None:
        self.assertEqual([], self.page.lacks({*proxies._TIMEOUT_FIELDS}, "PROXY SECTIONS"))

    def test_every_option_is_explained(self) -> None:
        self.assertEqual([], self.page.lacks(options._READERS, "OPTIONS"))

    def test_every_word_of_bind_lines_is_explained(self) -> None:
        done = taken_on_bind_lines() - haproxy_words.BIND_WITHOUT_EFFECT
        self.assertEqual([], self.page.lacks(done, "BIND WORDS"))

    def test_every_word_of_peers_is_explained(self) -> None:
        self.assertEqual([], self.page.lacks(peers.WORDS, "PEERS SECTIONS"))

    def test_every_word_of_resolvers_is_explained(self) -> None:
        """With the kinds of answers that may be held."""
        self.assertEqual([], self.page.lacks(resolvers.READERS, "RESOLVERS SECTIONS"))
        part = self.page.text.partition(".Sh RESOLVERS SECTIONS")[2].partition(".Sh")[0]
        for kind in fields_dict(Holds):
            self.assertRegex(part, rf"(?m)^\.It Ic hold Cm (.* )?{kind} ")

    def test_every_word_of_server_lines_is_explained(self) -> None:
        self.assertEqual([], self.page.lacks({*server_words.SETTERS, *server_words.OUR_WORDS}, "SERVER WORDS"))

    def test_every_word_of_the_statistics_is_explained(self) -> None:
        done = {*stats.READERS, "show-modules"}
        self.assertEqual([], self.page.lacks(done, "PROXY SECTIONS", IGNORED))

    def test_every_word_of_http_check_is_explained(self) -> None:
        done = taken_by("http-check", haproxy_words.HTTP_CHECK, "status", "200") | {"status"}
        sends, expects = haproxy_words.HTTP_CHECK_SEND, {*haproxy_words.HTTP_CHECK_EXPECT} - {"header"}
        self.assertEqual([], self.page.lacks({*done, *sends, *expects}, "PROXY SECTIONS"))

    def test_every_word_of_tcp_check_is_explained(self) -> None:
        words = haproxy_words.TCP_CHECK | haproxy_words.TCP_CHECK_EXPECT | haproxy_words.CHECK_CONNECT
        undone = {"custom", "via-socks4", "alpn", "proto"}
        self.assertEqual([], self.page.lacks(words - undone, "PROXY SECTIONS"))

    def test_every_word_of_log_lines_is_explained(self) -> None:
        words = {*haproxy_words.LOG_FORMATS, *logs._DESCRIPTORS, *haproxy_words.LOG_FACILITIES}
        words |= {*haproxy_words.LOG_LEVELS}
        self.assertEqual([], self.page.lacks(words, "GLOBAL SECTION"))

    def test_every_section_directive_and_predicate_is_explained(self) -> None:
        self.assertEqual([], self.page.lacks(haproxy_words.SECTIONS, "SECTIONS"))
        self.assertEqual([], self.page.lacks({*conditions.DIRECTIVES, *conditions.PREDICATES}, "Conditions"))

    def test_every_unit_is_named(self) -> None:
        part = self.page.text.partition(".Ss Units")[2].partition(".Ss")[0]
        for unit in (*units.TIME_UNITS, *units.SIZE_UNITS):
            self.assertRegex(part, rf"(?m)^\.Li (.* , )?{unit}( |$)")

    def test_every_word_without_effect_is_named(self) -> None:
        prefixes = {f"{prefix}*" for prefix in haproxy_words.GLOBAL_WITHOUT_EFFECT_PREFIXES}
        words = haproxy_words.GLOBAL_WITHOUT_EFFECT | haproxy_words.OPTIONS_WITHOUT_EFFECT | prefixes
        words |= haproxy_words.BIND_WITHOUT_EFFECT | server_words.NOTHING_TO_DO
        self.assertEqual([], self.page.lacks(words, IGNORED))

    def test_nothing_is_promised_that_the_reader_does_not_take(self) -> None:
        known = {
            *global_section._READERS,
            *haproxy_words.GLOBAL_BY_TWISTD,
            *haproxy_words.GLOBAL_BY_SERVICE_MANAGER,
            *proxies.KEYWORDS,
            *options._READERS,
            *proxies._TIMEOUT_FIELDS,
            *resolvers.READERS,
            *rings.WORDS,
            *crt_stores.WORDS,
            *peers.WORDS,
            *server_words.SETTERS,
            *BALANCE,
            *rules.REQUEST_ACTIONS,
            *rules.RESPONSE_ACTIONS,
            *taken_on_bind_lines(),
        }
        headings = re.findall(r"(?m)^\.It Ic (\S+)", self.page.text.partition(".Sh GLOBAL SECTION")[2])
        self.assertEqual([], sorted(set(headings) - known))

    def test_what_is_called_not_done_yet_is_refused(self) -> None:
        items = dict(re.findall(r"(?ms)^\.It (?:\\&)?([A-Z][^\n]*)\n(.*?)(?=^\.It|^\.El)", self.page.text))

        def named(title: str) -> set[str]:
            return set(re.split(r"[\s,.]+", " ".join(re.findall(r"(?m)^\.Ic (.*)", items[title])))) - {""}

        self.assertEqual(haproxy_words.SECTIONS_NOT_DONE, named("Sections"))
        self.assertEqual(haproxy_words.MODES_NOT_DONE, named("Modes"))
        self.assertEqual(haproxy_words.BALANCE.difference(BALANCE), named("Algorithms"))
        self.assertEqual(set(), haproxy_words.TIMEOUTS - {*proxies._TIMEOUT_FIELDS})
        self.assertEqual(haproxy_words.STATS - {*stats.READERS, "show-modules"}, set())
        for title, known, done in (
            ("In proxy sections", haproxy_words.PROXY, set(proxies.KEYWORDS)),
            (
                "In rules",
                rules.REQUEST_NOT_DONE | rules.RESPONSE_NOT_DONE,
                {*rules.REQUEST_ACTIONS, *rules.RESPONSE_ACTIONS},
            ),
            ("Options", set(haproxy_words.OPTIONS), {*options._READERS, *haproxy_words.OPTIONS_WITHOUT_EFFECT}),
            ("On bind lines", set(haproxy_words.BIND), taken_on_bind_lines()),
            ("On server lines", set(haproxy_words.SERVER), {*server_words.SETTERS, *server_words.NOTHING_TO_DO}),
        ):
            self.assertEqual(set(), named(title) - (known - done), title)

    def test_its_example_is_valid(self) -> None:
        example = re.findall(r"(?ms)^\.Bd -literal -offset indent\n(global.*?)^\.Ed", self.page.text)[0]
        self.assertEqual((), read_configuration([Source("example", example)], {}).notices)


class ProgramPageTests(SynchronousTestCase):
    """reusedproxy(8) and the command line know the same options."""

    page = Page("reusedproxy.8")

    def test_every_option_of_the_help_is_explained(self) -> None:
        listed = re.findall(r"(?m)^ +(?:-(\w), )?--([a-z-]+)", str(Options()) + str(DoctorOptions()))
        explained = "\n".join(re.findall(r"(?m)^\.It (Fl .*)", self.page.text))
        self.assertGreater(len(listed), 4)
        for short, name in listed:
            self.assertRegex(explained, rf"Fl -{name}\b")
            if short:
                self.assertRegex(explained, rf"Fl {short} , Fl -{name}\b")

    def test_every_metric_is_explained_with_its_labels(self) -> None:
        """One line for each, in their order."""
        listed = re.findall(r"(?m)^\.It Ic (\S+)(?: Pq (.*))?\n.*\.$", self.page.text.partition(".Sh METRICS")[2])
        known = [
            (each.name.removeprefix("reusedproxy_"), " ".join(each.labels))
            for each in (
                *(*of_servers([]), *of_frontends([]), *of_backends([])),
                *(*of_lists([]), *of_event_loop(NOTHING), *of_files(NOTHING)),
            )
        ]
        self.assertEqual(known, listed)

    def test_every_command_of_the_runtime_api_is_explained(self) -> None:
        part = self.page.text.partition("The runtime API")[2].partition("The manhole")[0]
        for command in COMMANDS:
            self.assertRegex(part, rf"(?m)^\.It (.* )?Ic {' '.join(command.words)}\b")

    def test_a_table_has_every_command_of_the_runtime_api_with_its_level(self) -> None:
        """And says which HAProxy does not have."""
        part = self.page.text.partition("The runtime API")[2].partition("The manhole")[0]
        rows = re.findall(r"(?m)^\.It Cm (.*) Ta (.*) Ta (.*)$", part)
        known = sorted((*COMMANDS, *UNLISTED), key=lambda each: each.words)
        self.assertEqual([(name, level) for name, level, _ in rows], [
            (" ".join(each.words), LEVELS[each.level]) for each in known
        ])  # fmt: skip
        self.assertEqual({whose for *_, whose in rows}, {"HAProxy", "ours"})
        ours = {name for name, _, whose in rows if whose == "ours"}
        pools = {name for name, *_ in rows if name.endswith("pool") or name.startswith("show pool")}
        self.assertEqual(ours, pools | {"hand over", "what-if"})

    def test_every_reason_for_an_end_is_named(self) -> None:
        named = re.findall(r"(?m)^\.Li (.*)", self.page.text.partition("Reasons of")[2].partition(".Sh")[0])
        self.assertEqual(WORDS, set(re.split(r"[ ,.]+", " ".join(named))) - {""})

    def test_no_option_is_explained_that_is_not_in_the_help(self) -> None:
        for name in re.findall(r"(?m)^\.It Fl (?:\w , Fl )?-([a-z-]+)", self.page.text):
            self.assertIn(f"--{name}", str(Options()) + str(DoctorOptions()))


class FormTests(SynchronousTestCase):
    """What readers of manual pages demand of them."""

    def test_no_word_of_a_sentence_is_taken_for_a_macro(self) -> None:
        """On a macro's line, 'In general' would be read as a C header and shown as '<general>'; '\\&In' is the word."""
        for page in sorted((ROOT / "man").iterdir()):
            self.assertEqual([], TAKEN_FOR_MACROS.findall(page.read_text()), page.name)

    def test_groff_has_nothing_to_complain_of(self) -> None:
        if shutil.which("groff") is None:
            raise SkipTest("groff not installed: apt-get install groff")
        for page in sorted((ROOT / "man").iterdir()):
            command = ["groff", "-mandoc", "-Tutf8", "-ww", "-z", str(page)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            self.assertEqual((0, ""), (done.returncode, done.stderr), page.name)

    def test_mandoc_has_nothing_to_complain_of(self) -> None:
        if shutil.which("mandoc") is None:
            raise SkipTest("mandoc not installed: apt-get install mandoc")
        for page in sorted((ROOT / "man").iterdir()):
            command = ["mandoc", "-T", "lint", "-W", "warning", str(page)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            self.assertEqual("", done.stdout, page.name)


class ReadmeTests(SynchronousTestCase):
    """The lines that set up the service."""

    def test_they_set_up_what_the_unit_asks_for(self) -> None:
        lines = (ROOT / "README.md").read_text().splitlines()
        unit = (ROOT / "etc" / "systemd" / "reusedproxy.service").read_text()
        copied = dict(line.split()[1:] for line in lines if line.startswith("cp "))
        self.assertEqual([], [path for path in copied if not (ROOT / path).is_file()])
        (user,) = re.findall(r"(?m)^User=(.*)", unit)
        (configuration,) = re.findall(r"(?m)^Environment=CONFIG=(.*)", unit)
        self.assertIn(f"adduser --system --group {user}", lines)
        self.assertEqual(str(Path(configuration).parent), copied[f"etc/{Path(configuration).name}"])
        self.assertIn(f"mkdir {Path(configuration).parent}", lines)


class SampleConfigurationTests(SynchronousTestCase):
    """etc/reusedproxy.cfg, which a stranger starts from."""

    def read(self, **environment: str) -> Configuration:
        text = (ROOT / "etc" / "reusedproxy.cfg").read_text()
        return read_configuration([Source("reusedproxy.cfg", text)], environment)

    def test_it_is_valid_as_it_stands_and_nothing_is_to_be_remarked(self) -> None:
        self.assertEqual((), self.read().notices)

    def test_with_certificates_it_keeps_warm_connections(self) -> None:
        configuration = self.read(CERTIFICATES="/tls")
        self.assertEqual((), configuration.notices)
        for server in configuration.backends["application"].servers:
            assert server.tls is not None
            self.assertEqual((4, "/tls/client.pem"), (server.pool.min_conn, server.tls.crt))

    def test_haproxy_reads_it_too(self) -> None:
        haproxy = shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
        if haproxy is None:
            raise SkipTest("haproxy not installed: apt-get install haproxy")
        command = [haproxy, "-c", "-f", str(ROOT / "etc" / "reusedproxy.cfg")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env={})
        self.assertEqual(0, done.returncode, done.stderr)
