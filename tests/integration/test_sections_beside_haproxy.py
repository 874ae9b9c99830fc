"""Each keyword in each kind of section, before `haproxy -c` and before our reader:
who takes it, ignores it, refuses it."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from unittest import TestCase

from attrs import frozen

from reusedproxy.config.language import haproxy_words
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from tests.integration.beside import haproxy_version
from tests.integration.peers import find_program, temporary_directory

SERVED = "frontend other from base\n bind 127.0.0.1:18096\n default_backend first\n"
BASE = (
    "defaults base\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
    "backend first from base\n server s0 127.0.0.1:1\n" + SERVED
)
SECTIONS = {
    "defaults": "defaults d{number} from base\n {line}\n",
    "frontend": "frontend f{number} from base\n bind 127.0.0.1:18097\n default_backend first\n {line}\n",
    "listen": "listen l{number} from base\n bind 127.0.0.1:18097\n server s0 127.0.0.1:1\n {line}\n",
    "backend": "backend b{number} from base\n server s0 127.0.0.1:1\n {line}\n",
}
#: Sections that `haproxy -c` is shown at once, where it is expected to say nothing.
AT_ONCE = 20

#: One line of each keyword of the manual's matrix (section 4.1), and several of those whose first argument decides.
LINES = """
acl a path /
backlog 10
balance roundrobin
bind 127.0.0.1:18099
capture cookie x len 10
capture request header Host len 10
capture response header Server len 10
compression algo gzip
cookie SRV insert
declare capture request len 10
default-server check
default_backend first
description text
disabled
dispatch 127.0.0.1:1
email-alert from a@b
enabled
errorfile 400 /dev/null
errorloc 400 /x
errorloc302 400 /x
errorloc303 400 /x
error-log-format x
force-persist if { path / }
filter trace
fullconn 10
hash-balance-factor 0
hash-type consistent
http-after-response set-header X y
http-check comment x
http-check connect
http-check disable-on-404
http-check expect status 200
http-check send meth GET
http-check send-state
tcp-check comment x
tcp-check connect
tcp-check expect string x
tcp-check send x
tcp-check set-var(check.x) int(1)
http-error status 400
http-request deny if { path / }
http-request set-header X y
http-response deny if { status 500 }
http-reuse always
http-send-name-header X
id 77
ignore-persist if { path / }
load-server-state-from-file none
log 127.0.0.1:514 local0
log global
log-format x
log-format-sd x
log-tag x
max-keep-alive-queue 1
max-session-srv-conns 1
maxconn 10
mode http
monitor fail if { path / }
monitor-uri /x
persist rdp-cookie
rate-limit sessions 10
redirect location /x
retries 3
retry-on 503
server s1 127.0.0.1:1
server-state-file-name x
server-template t 1 127.0.0.1:1
source 127.0.0.1
stats admin if { path / }
stats auth a:b
stats enable
stats hide-version
stats http-request deny if { path / }
stats realm x
stats refresh 5s
stats scope .
stats show-legends
stats show-node
stats uri /x
stick match src table first
stick on src table first
stick store-request src table first
stick-table type ip size 1k
tcp-check connect
tcp-check expect string x
tcp-request connection reject if { src 192.0.2.1 }
tcp-request content reject if { src 192.0.2.1 }
tcp-request inspect-delay 1s
tcp-request session reject if { src 192.0.2.1 }
tcp-response content reject if { src 192.0.2.1 }
tcp-response inspect-delay 1s
transparent
unique-id-format x
unique-id-header X
use_backend first if { path / }
use-server s0 if { path / }
no log
""".strip().splitlines()
LINES += [f"timeout {name} 1s" for name in sorted(haproxy_words.TIMEOUTS - {"client-hs"})]  # that one came after 2.6
#: Those that came after 2.6, and those that need an argument or another place.
_NOT_ALONE = {"external-check", "http-restrict-req-hdr-names", "forwarded", "pgsql-check"} | haproxy_words.words(
    "accept-unsafe-violations-in-http-request accept-unsafe-violations-in-http-response http-drop-request-trailers"
    " http-drop-response-trailers idle-close-on-response spop-check use-small-buffers"
)
LINES += [f"option {name}" for name in sorted(haproxy_words.OPTIONS.keys() - _NOT_ALONE)]
LINES += ["option http-restrict-req-hdr-names preserve", "option pgsql-check user x", "no option httpclose"]

TAKEN, IGNORED, REFUSED, NOT_DONE = "taken", "taken with a warning", "refused", "not done yet"
#: What is about who may come in, or what a client or a server may say: whoever wrote it counts on it.
RESTRICTS = ("acl", "http-request", "http-response", "tcp-request", "tcp-response", "stats auth", "stats http-request")

# Where we differ. (line, sections): why.
DIFFERENCES = {
    (
        "default_backend first",
        "listen",
    ): "HAProxy warns of servers that are never used; requests may still be sent there",
    ("option abortonclose", "frontend"): "HAProxy takes it in frontends since 3.3",
    ("hash-balance-factor 0", "frontend"): "HAProxy takes it there, where it can do nothing",
    ("option httpslog", "backend"): "HAProxy refuses this one log option, and ignores the others",
}


# The same in mode tcp, besides those that differ in both modes.
_REFUSED = "HAProxy ignores it with a warning, and lets everybody in"
_NO_EFFECT = "HAProxy warns of what is without effect in either mode"
TCP_DIFFERENCES = {
    ("http-request deny if { path / }", "frontend listen backend"): _REFUSED,
    ("http-response deny if { status 500 }", "frontend listen backend"): _REFUSED,
    ("option disable-h2-upgrade", "frontend listen"): _NO_EFFECT,
    ("option http-no-delay", "frontend listen backend"): _NO_EFFECT,
    ("retry-on 503", "listen backend"): "HAProxy does not say that it does nothing",
    (
        "use_backend first if { path / }",
        "frontend listen",
    ): "HAProxy does not say that the path is there by chance only: nothing waits for it",
}


@frozen
class Verdict:
    kind: str
    text: str


def ours(text: str) -> Verdict:
    try:
        configuration = read_configuration([Source("t.cfg", text)], {})
    except ConfigurationError as error:
        said = "; ".join(fault.text for fault in error.faults)
        return Verdict(NOT_DONE if "does not do yet" in said or "not done" in said else REFUSED, said)
    warnings = [notice.text for notice in configuration.notices if notice.level == "warning"]
    return Verdict(IGNORED if warnings else TAKEN, "; ".join(warnings))


class SectionsBesideHAProxyTests(TestCase):
    """The manual's keyword matrix (section 4.1), as the program has it."""

    def setUp(self) -> None:
        if not haproxy_version():
            self.skipTest("needs haproxy")
        self.directory = temporary_directory(self)

    def theirs(self, name: str, text: str) -> Verdict:
        file = self.directory / f"{name}.cfg"
        file.write_text(text)
        program = find_program("haproxy")
        assert program is not None
        run = subprocess.run([program, "-c", "-f", file], check=False, capture_output=True, text=True, timeout=20)
        said = run.stdout + run.stderr
        return Verdict(REFUSED if run.returncode else IGNORED if "[WARNING]" in said else TAKEN, said)

    def test_each_keyword_in_each_section(self) -> None:
        """What HAProxy refuses we refuse; what it takes we take, or say that it is not done;
        what it ignores is warned of."""
        self.compare(BASE, DIFFERENCES)

    def test_each_keyword_in_mode_tcp(self) -> None:
        """What is about requests is ignored there, unless it would keep somebody out."""
        both = {case: why for case, why in DIFFERENCES.items() if "httpslog" not in case[0]}
        self.compare(BASE.replace("mode http", "mode tcp"), both | TCP_DIFFERENCES, "mode tcp")

    def verdicts(self, base: str, cases: list[tuple[str, str]], taken: set[int]) -> list[Verdict]:
        """HAProxy's, of lines in sections. Those whose numbers are in `taken` go in files of several: what it says
        nothing of there, it would take alone. The others, and what it speaks of, are judged one by one."""
        shown = [SECTIONS[section].format(line=line, number=n) for n, (line, section) in enumerate(cases)]
        files = []
        for section in SECTIONS:
            several = [n for n in sorted(taken) if cases[n][1] == section]
            files += [several[n : n + AT_ONCE] for n in range(0, len(several), AT_ONCE)]

        def judged(numbers: list[int]) -> Verdict:
            return self.theirs(str(numbers[0]), base + "".join(shown[n] for n in numbers))

        found: dict[int, Verdict] = {}
        with ThreadPoolExecutor(4) as threads:
            for numbers, verdict in zip(files, threads.map(judged, files), strict=True):
                if verdict.kind == TAKEN:
                    found |= dict.fromkeys(numbers, verdict)
            rest = [n for n in range(len(cases)) if n not in found]
            found |= zip(rest, threads.map(judged, [[n] for n in rest]), strict=True)
        return [found[n] for n in range(len(cases))]

    def compare(self, base: str, known: dict[tuple[str, str], str], mode: str = "mode http") -> None:
        lines = [mode if line == "mode http" else line for line in LINES]
        cases = [(line, section) for line in lines for section in SECTIONS]
        # A table is wanted by the lines that name one.
        base = base.replace(" server s0", " stick-table type ip size 1k\n server s0", 1)
        said = [ours(base + SECTIONS[section].format(line=line, number=0)) for line, section in cases]
        found = self.verdicts(base, cases, {n for n, mine in enumerate(said) if mine.kind == TAKEN})
        differences = {(line, section) for (line, sections) in known for section in sections.split()}
        unexpected = []
        for case, mine, theirs in zip(cases, said, found, strict=True):
            alike = mine.kind in (theirs.kind, NOT_DONE)
            if alike == (case in differences):
                unexpected.append((*case, f"{theirs.kind} by HAProxy, {mine.kind} by us", mine.text))
        self.assertEqual(unexpected, [])

    def test_no_word_that_restricts_access_is_ignored(self) -> None:
        """In whatever section it stands: it is done, or the file is refused."""
        for line in LINES:
            if line.startswith(RESTRICTS):
                for section, text in SECTIONS.items():
                    mine = ours(BASE + text.format(line=line, number=0))
                    self.assertNotEqual(mine.kind, IGNORED, (line, section, mine.text))
