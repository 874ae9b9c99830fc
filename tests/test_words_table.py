"""docs/words.md: each line in its tables is done, or refused, as it says; and none of HAProxy's words is missing."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.balance import HASHES
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration

HEAD = "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 60s\n"
SERVER = " server a 192.0.2.1:80 weight 2"
#: Where the lines under each heading stand.
PLACES = {
    "In a backend: balance": f"backend b\n {{}}\n{SERVER}\n",
    "In a backend with `hash-type consistent`": f"backend b\n balance uri\n hash-type consistent\n {{}}\n{SERVER}\n",
    "In a backend: persistence": f"backend b\n {{}}\n dynamic-cookie-key k\n{SERVER} cookie a\n"
    "backend t\n stick-table type string size 1k\n",
    "In a backend: late answers": f"backend b\n {{}}\n{SERVER}\n",
    "In a backend: checks": f"backend b\n {{}}\n{SERVER} check\n",
    "In a backend with `external-check` in `global`": "global\n external-check\nbackend b\n {}\n"
    f" option external-check\n external-check command /bin/true\n{SERVER} check\n",
    "In a backend with `option httpchk`": f"backend b\n option httpchk\n {{}}\n{SERVER} check\n",
    "In a backend with `option tcp-check`": f"backend b\n option tcp-check\n {{}}\n{SERVER} check\n",
    "On a server that has `check`": "backend b\n server z 192.0.2.2:80 check\n server a 192.0.2.1:80 check {}\n",
    "On a server: its pool": "backend b\n server a 192.0.2.1:80 {}\n",
    "On a server without `check`": "backend b\n server z 192.0.2.2:80 check\n server a 192.0.2.1:80 {}\n",
    "In a frontend: logs": "ring r\n server s 192.0.2.3:514\nfrontend f\n bind :80\n declare capture request len 9\n"
    f" declare capture response len 9\n {{}}\n unique-id-format %rt\n default_backend b\nbackend b\n{SERVER}\n",
    "In a frontend: bandwidth": "frontend f\n bind :80\n stick-table type ip size 9 store bytes_in_rate(1s),"
    f"bytes_out_rate(1s)\n filter bwlim-in up default-limit 1k default-period 1s\n {{}}\n default_backend b\n"
    f"backend b\n{SERVER}\n",
    "In a frontend": "frontend f\n bind :80\n acl down nbsrv(b) lt 1\n {}\n default_backend b\n"
    f"backend b\n{SERVER} check\n",
}
#: HAProxy's words (3.4), by what stands before them.
WORDS = {
    "balance": "roundrobin static-rr leastconn first random source uri url_param hdr hash rdp-cookie log-hash sticky",
    "balance uri": "len depth whole path-only",
    "balance url_param": "check_post",
    "balance hdr": "use_domain_only",
    "hash-type": "map-based consistent sdbm djb2 wt6 crc32 none avalanche",
    "hash-": "balance-factor preserve-affinity key type",
    "cookie": "rewrite insert prefix indirect nocache postonly preserve httponly secure domain maxidle maxlife attr"
    " dynamic",
    "option": "allbackups prefer-last-server persist redispatch httpchk tcp-check redis-check mysql-check pgsql-check"
    " ldap-check smtpchk ssl-hello-chk spop-check external-check log-health-checks httplog httpslog tcplog logasap"
    " dontlognull dontlog-normal log-separate-errors",
    "stick": "on match store-request store-response",
    "http-check": "comment connect disable-on-404 expect send send-state set-var set-var-fmt unset-var",
    "filter": "bwlim-in bwlim-out compression trace spoe fcgi-app cache",
    "filter bwlim-in": "default-limit default-period min-size limit key table",
    "http-request set-bandwidth-limit": "limit period",
    "http-check connect": "default port addr send-proxy via-socks4 ssl sni alpn linger proto comment",
    "http-check expect": "status rstatus string rstring hdr fhdr ! min-recv ok-status error-status tout-status"
    " on-success on-error status-code comment",
    "http-check send": "meth uri ver hdr body uri-lf body-lf",
    "tcp-check": "comment connect expect send send-lf send-binary send-binary-lf set-var set-var-fmt unset-var",
    "tcp-check expect": "string rstring string-lf binary rbinary binary-lf !",
    "external-check": "command path",
    "capture": "request response cookie",
    "declare": "capture",
    "log-": "format format-sd tag steps",
    "unique-id-": "format header",
    "monitor": "fail -uri -net",
    "": "dynamic-cookie-key force-persist ignore-persist use-server max-keep-alive-queue fullconn stick-table persist"
    " weight backup slowstart id guid cookie redir maxconn minconn maxqueue inter fastinter downinter rise fall port"
    " addr check-ssl check-sni check-alpn check-proto check-send-proxy check-via-socks4 check-reuse-pool"
    " check-pool-conn-name agent-check agent-port agent-addr agent-inter agent-send observe error-limit on-error"
    " on-marked-down on-marked-up init-state track disabled appsession",
}
TEXT = (Path(__file__).resolve().parent.parent / "docs" / "words.md").read_text()


def rows() -> list[tuple[str, str, str]]:
    """Returns heading, line and verdict of each row."""
    found, heading = [], ""
    for line in TEXT.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif row := re.match(r"\| `(.+)` \| (.+) \|$", line):
            found.append((heading, row[1], row[2]))
        elif line.startswith("|"):
            assert line in ("| line | |", "| --- | --- |"), line
    return found


class TableTests(SynchronousTestCase):
    def test_each_line_is_done_or_refused_as_it_says(self) -> None:
        for heading, line, verdict in rows():
            text = HEAD + PLACES[heading].format(line)
            try:
                read_configuration([Source("t.cfg", text)], {})
                said = "done"
            except ConfigurationError as error:
                (fault,) = error.faults
                said = fault.text
            refused, _, why = verdict.partition(": ")
            self.assertIn(refused, ("done", "refused"), line)
            self.assertTrue(said.endswith(why) if why else said == verdict, f"{line}: {said}")

    def test_none_of_haproxys_words_is_missing(self) -> None:
        lines = [line for _, line, _ in rows()]
        for before, words in WORDS.items():
            for word in words.split():
                separate = "" if before.endswith("-") or word.startswith("-") else r"\b.*?"
                pattern = rf"{re.escape(before)}{separate}(?<![\w-]){re.escape(word)}(?![\w-])"
                if not separate or not before:
                    pattern = rf"{re.escape(before)}{re.escape(word)}(?![\w-])"
                self.assertTrue(any(re.match(pattern, line) for line in lines), f"{before} {word}")
        hashing = {line.split()[1].partition("(")[0] for line in lines if line.startswith("balance ")}
        self.assertLessEqual(set(HASHES), hashing)

    def test_every_place_is_used(self) -> None:
        self.assertEqual({heading for heading, _, _ in rows()}, {*PLACES})
