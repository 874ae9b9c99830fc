"""
`mode tcp` beside HAProxy: the same file, the same bytes, the same ends; what clients and servers see, and what is
logged, must be the same.

What is not, on purpose, is in `DIFFERENCES`.
"""

from __future__ import annotations

import pytest

from tests.integration.beside import haproxy_version
from tests.integration.streams import BesideTestCase, Scenario
from tests.test_wire_client_hello import hello_of

S = Scenario
TIMES = "timeout client {}\n timeout server {}"
DEAD = "server d 127.0.0.1:{dead}"
DELAY = "tcp-request inspect-delay 1s"
WAITS = "tcp-request inspect-delay 1s\n tcp-request content accept if {{ req.len gt 4 }}\n tcp-request content reject"
HELLO = "tcp-request inspect-delay 1s\n tcp-request content accept if {{ req.ssl_hello_type 1 }}"
MUX = "tcp-request inspect-delay 400ms\n tcp-request content accept if {{ req_ssl_hello_type 1 }}"
BACKENDS = "backend {name}a\n server s 127.0.0.1:{s}\nbackend {name}b\n server t 127.0.0.1:{t}\n"
#: In mode http, in mode tcp, and in mode http with a header that rules of the frontend say.
WEB = (
    "backend {name}a\n mode http\n server s 127.0.0.1:{s}\n"
    "backend {name}b\n server t 127.0.0.1:{t}\n"
    "backend {name}c\n mode http\n http-request set-header seen %[var(txn.a)]\n server s 127.0.0.1:{s}\n"
)
BOTH = "tcp-request inspect-delay 500ms\n tcp-request content accept if {{ req.len gt 9 }} !HTTP"
ASK = r"GET_/_HTTP/1.1\r\nhost:_x\r\n\r\n"
SEEN = r"GET_/_HTTP/1.1\r\nhost:_x\r\nseen:_/\r\n\r\n"
ANSWER = r"HTTP/1.1_200_OK\r\ncontent-length:_2\r\n\r\nok"
#: One exchange and both ends, with server s.
TALK = "c:hello s<hello s:bye c<bye c.fin s.end s.fin c.end"
BAD = "tcp-response content reject if {{ res.payload(0,3) -m str bad }}"
NO_ADM = f"{DELAY}\n tcp-request content reject if {{{{ path_beg /adm }}}}"
NO_B = (
    "tcp-request inspect-delay 500ms\n tcp-request content reject if {{ req.ssl_sni -i b.example }}\n"
    " default_backend {name}a"
)
ADM = ASK.replace("/_", "/adm_")
OLD = (
    "tcp-request inspect-delay 500ms\n tcp-request content reject if {{ req.ssl_ver lt 3.3 }}\n default_backend {name}a"
)
PREFACE = r"PRI_*_HTTP/2.0\r\n\r\nSM\r\n\r\n"


def escaped(data: bytes) -> str:
    """Returns bytes as a step of a scenario spells them."""
    return "".join(f"\\x{byte:02x}" for byte in data)


def asked(first_line: str, *fields: str) -> str:
    """Returns the steps of a client who sends this head of a request, whether it comes to a server or not."""
    head = "\\r\\n".join((first_line, *fields, "", "")).replace(" ", "_")
    return f"c:{head} c.end s.none"


RECORD = hello_of(b"b.example")
MESSAGE = RECORD[5:]
HALF = len(MESSAGE) // 2
#: The same hello in two records, in one of another version, behind an alert, and the beginning of it.
TWO_RECORDS = b"".join(
    b"\x16\x03\x01" + len(each).to_bytes(2, "big") + each for each in (MESSAGE[:HALF], MESSAGE[HALF:])
)
VERSION_4 = b"\x16\x04\x00" + RECORD[3:]
SSLV2 = b"\x80\x1c\1\3\1\0\3\0\0\0\x10" + b"\0\0\x2f" + bytes(16)
MONGODB = b"\x16\1\0\0\1\0\0\0\0\0\0\0\xdd\x07\0\0"
BEHIND_ALERT = b"\x15\x03\x01\x00\x02\x01\x5a" + RECORD

SCENARIOS = [
    # Bytes and ends.
    S("bytes both ways", "", TALK),
    S("the server ends first", "", "c:hello s<hello s:bye s.fin c<bye c.end c:more s<more c.fin s.end"),
    S("the client resets", "", "c:hello s<hello c.rst s.end"),
    S("the server resets", "", "c:hello s<hello s.rst c.end"),
    S("the server answers late, after the client's end", "", "c:hello c.fin s<hello s.end s:late c<late s.fin c.end"),
    S("nobody says a word", "", "c.end s.end c.fin s.end"),
    S("the server speaks first", "", "c.open s:welcome c<welcome c:bye s<bye s.fin c.end c.fin s.end"),
    S("two clients", "", "c:one s<one d:two s2<two s2:b d<b s:a c<a c.fin s.end d.fin s2.end s.fin s2.fin c.end d.end"),
    # Times.
    S("silence of both", TIMES.format("1s", "1100ms"), "c:hello s<hello wait=1.4 c.end s.end"),
    S("silence of the client", TIMES.format("600ms", "3s"),
      "c:hello s<hello wait=0.9 c.end s.end s:late c.end wait=2 s.end"),
    S("silence of the client, whose server then ends", TIMES.format("600ms", "3s"),
      "c:hello s<hello wait=0.9 s.end s:late c.end s.fin c.end"),
    S("silence of the server", TIMES.format("3s", "600ms"), "c:hello s<hello wait=0.9 c.end s.end c:late s.end"),
    S("silence of the server, whose client then ends", TIMES.format("3s", "600ms"),
      "c:hello s<hello wait=0.9 c.end c.fin s.end c.end"),
    S("tunnel", f"{TIMES.format('400ms', '400ms')}\n timeout tunnel 1s",
      "c:hello s<hello wait=0.6 c:more s<more wait=1.3 c.end s.end"),
    S("client-fin", "timeout client-fin 500ms", "c:hello s<hello s.fin c.end wait=0.8 c.end s.end"),
    S("server-fin", "timeout server-fin 500ms", "c:hello s<hello c.fin s.end wait=0.8 c.end s.end"),
    S("client-fin longer than client", "timeout client 600ms\n timeout client-fin 2s",
      "c:hello s<hello s.fin c.end wait=1 c.end s.end wait=2 c.end s.end"),
    # Servers that do not take it.
    S("nobody listens", f"{DEAD}\n retries 0", "c:hello c.end", server=False),
    # HAProxy tries again after a second, we when the pool's pace allows it: after 0.25 to 0.75 s, at random.
    S("nobody listens, twice", f"{DEAD}\n retries 1", "c:hello wait=1.5 c.end", server=False),
    S("nobody listens, and the client has said all", f"{DEAD}\n retries 1", "c:hello c.fin wait=1.5 c.end",
      server=False),
    S("redispatch", f"{DEAD}\n server s 127.0.0.1:{{s}}\n retries 1\n option redispatch",
      "c:hello s<hello s:a c<a c.fin s.fin", server=False),
    S("no server at all", f"{DEAD} disabled", "c:hello c.end", server=False),
    S("a backup", f"{DEAD} disabled\n server s 127.0.0.1:{{s}} backup", TALK, server=False),
    # Queues.
    S("timeout queue", "server s 127.0.0.1:{s} maxconn 1\n timeout queue 500ms",
      "c:hello s<hello d:x d.end wait=0.4 d.end c.fin s.fin", server=False),
    S("a place becomes free", "server s 127.0.0.1:{s} maxconn 1",
      "c:hello s<hello d:x wait=0.2 c.fin s.fin c.end s2<x d.fin s2.fin d.end", server=False),
    S("a client leaves the queue", "server s 127.0.0.1:{s} maxconn 1",
      "c:hello s<hello d.open wait=0.2 d.fin d.end c.fin s.fin c.end", server=False),
    S("abortonclose", "server s 127.0.0.1:{s} maxconn 1\n option abortonclose",
      "c:hello s<hello d:x wait=0.2 d.fin d.end c.fin s.fin c.end", server=False),
    # Balance.
    S("roundrobin", "server s 127.0.0.1:{s}\n server t 127.0.0.1:{t}", "c:a s<a d:b t<b c.fin s.fin d.fin t.fin",
      server=False),
    S("first", "balance first\n server s 127.0.0.1:{s} maxconn 1\n server t 127.0.0.1:{t}",
      "c:a s<a d:b t<b c.fin s.fin d.fin t.fin", server=False),
    S("source", "balance source\n server s 127.0.0.1:{s}\n server t 127.0.0.1:{t} weight 0",
      "c:a s<a d:b s2<b c.fin s.fin d.fin s2.fin", server=False),
    S("uri, which is roundrobin there", "balance uri\n server s 127.0.0.1:{s}\n server t 127.0.0.1:{t}",
      "c:a s<a d:b t<b c.fin s.fin d.fin t.fin", server=False),
    S("use-server", "use-server t if {{ src 127.0.0.1 }}\n server s 127.0.0.1:{s}\n server t 127.0.0.1:{t}",
      "c:a t<a d:b t2<b c.fin t.fin d.fin t2.fin", server=False),
    # Rules about contents.
    S("reject", "tcp-request content reject", "c:hello c.end s.none"),
    S("silent-drop", f"{DELAY}\n tcp-request content silent-drop if {{{{ req.len gt 0 }}}}", "c:hello s.none"),
    S("a rule that waits, and accepts", WAITS, "c:ab wait=0.2 s.none c:cde s<abcde s:x c<x c.fin s.end s.fin c.end"),
    S("a rule that waits in vain", WAITS.replace("1s", "500ms"), "c:ab wait=0.6 c.end s.none"),
    S("a rule that waits, and the client ends", WAITS, "c:ab c.fin c.end s.none"),
    S("a rule that waits, and the client resets", WAITS, "c:ab c.rst s.none"),
    S("a rule that waits for longer than the client's time", f"timeout client 300ms\n {WAITS}",
      "c:ab wait=0.6 c.end s.none"),
    S("WAIT_END", "tcp-request inspect-delay 500ms\n tcp-request content accept if WAIT_END",
      "c:ab s.none wait=0.3 s<ab c.fin s.fin"),
    S("without a delay nothing is waited for", "tcp-request content reject if {{ req.len gt 0 }}",
      f"c.open wait=0.6 {TALK}"),
    S("payload", f"{DELAY}\n tcp-request content reject unless {{{{ req.payload(1,2) -m str el }}}}", TALK),
    S("payload that differs",
      "tcp-request inspect-delay 1s\n tcp-request content reject unless {{ req.payload(1,2) -m str xx }}",
      "c:hello c.end s.none"),
    S("payload_lv", f"{DELAY}\n tcp-request content reject unless {{{{ req.payload_lv(0,1) -m str abc }}}}",
      "c:\\x03ab wait=0.1 c:c s<\\x03abc c.fin s.end s.fin c.end"),
    S("HTTP", f"{DELAY}\n tcp-request content reject unless HTTP",
      "c:GET_/_HTTP/1.0\\r\\n\\r\\n s<GET_/_HTTP/1.0\\r\\n\\r\\n c.fin s.end s.fin c.end"),
    S("HTTP/1.1 without Host", f"{DELAY}\n tcp-request content reject if {{{{ path_beg /a }}}}",
      "c:GET_/a_HTTP/1.1\\r\\n\\r\\n c.end s.none"),
    S("a request whose lines end with LF", f"{DELAY}\n tcp-request content reject if {{{{ path_beg /a }}}}",
      "c:GET_/a_HTTP/1.1\\nHost:a\\n\\n c.end s.none"),
    S("a request of HTTP/0.9", f"{DELAY}\n tcp-request content reject if {{{{ path_beg /a }}}}",
      "c:GET_/a\\r\\n c.end s.none"),
    S("a request with a line that is no field", f"{DELAY}\n tcp-request content reject if {{{{ path_beg /a }}}}",
      "c:GET_/a_HTTP/1.1\\r\\nnone\\r\\n\\r\\n c.end s.none"),
    # Requests that rules of mode tcp look at, and servers may read otherwise.
    S("any version", NO_ADM, asked("GET /adm RTSP/1.0", "host: h")),
    S("any three words that end in a version", NO_ADM.replace("path_beg /adm", "url_sub adm"),
      asked("GET @adm ICE/1.0", "host: h")),
    S("other words", NO_ADM.replace("path_beg /adm", "url_sub adm"), r"c:set_adm_v\r\n s<set_adm_v\r\n c.fin s.fin"),
    S("a path behind the word of another protocol", NO_ADM, r"c:nSCAN_/adm\n s<nSCAN_/adm\n c.fin s.fin"),
    S("a request without a version, with fields", NO_ADM, asked("POST /adm", "host: h")),
    S("a version that is no word of HTTP", NO_ADM, asked("GET /adm x", "host: h")),
    S("three words behind the method", NO_ADM, asked("GET /adm x HTTP/1.1", "host: h")),
    S("two lengths of a body", NO_ADM,
      asked("POST /adm HTTP/1.1", "host: h", "content-length: 1", "content-length: 2")),
    S("a target with a byte above 127", NO_ADM, asked("GET /adm/\\xe4 HTTP/1.1", "host: h")),
    S("a fragment", NO_ADM, asked("GET /adm#/ HTTP/1.1", "host: h")),
    S("two hosts", f"{DELAY}\n tcp-request content reject if {{{{ hdr(host) b }}}}",
      asked("GET / HTTP/1.1", "host: a", "host: b")),
    S("CR without LF", NO_ADM, asked("GET /adm HTTP/1.1", "host: h", "x: a\\ry")),
    S("a head that does not come to its end", f"tcp-request inspect-delay 500ms\n{NO_ADM.partition(chr(10))[2]}",
      r"c:GET_/adm_HTTP/1.1\r\nhost:_h\r\n s.none wait=0.3 s<GET_/adm c.fin s.fin"),
    S("the second request of a connection", NO_ADM,
      f"c:{ASK} s<{ASK} s:{ANSWER} c<{ANSWER} c:{ADM} s<{ADM} c.fin s.fin"),
    S("HTTP/2 without TLS", NO_ADM, f"c:{PREFACE} s<{PREFACE} c.fin s.fin c.end"),
    S("HTTP/2 without TLS, by its method", f"{DELAY}\n tcp-request content reject if {{{{ method PRI }}}}",
      f"c:{PREFACE} c.end s.none"),
    S("not HTTP", f"{DELAY}\n tcp-request content reject unless HTTP", "c:\\x01\\x02\\r\\n\\r\\n c.end"),
    S("set-var", "tcp-request inspect-delay 1s\n tcp-request content set-var(sess.a) req.payload(0,1)\n"
      " use-server t if {{ var(sess.a) -m str b }}\n server s 127.0.0.1:{s}\n server t 127.0.0.1:{t}",
      "c:b t<b c.fin t.fin c.end", server=False),
    # Names in TLS.
    S("SNI", f"{HELLO}\n use_backend {{name}}b if {{{{ req.ssl_sni -i b.example }}}}\n default_backend {{name}}a",
      "c!b.example t.hello c.fin t.fin d!a.example s.hello d.fin s.fin d.end", BACKENDS, server=False),
    S("SNI that nobody waits for", "use_backend {name}b if {{ req.ssl_sni -i b.example }}\n default_backend {name}a",
      "c.open wait=0.6 c!b.example s.hello c.fin s.fin c.end", BACKENDS, server=False),
    S("a backend named by SNI", f"{HELLO}\n use_backend {{name}}%[req.ssl_sni,field(1,.)]\n default_backend {{name}}a",
      "c!b.example t.hello c.fin t.fin d!x.example s.hello d.fin s.fin d.end", BACKENDS, server=False),
    S("the extensions of a hello",
      f"{HELLO}\n use_backend {{name}}b if {{{{ req.ssl_ec_ext }}}} {{{{ req.ssl_st_ext 1 }}}}\n"
      " default_backend {name}a", "c!b.example t.hello c.fin t.fin c.end", BACKENDS, server=False),
    S("a hello in two records", NO_B, f"c:{escaped(TWO_RECORDS)} c.end s.none", BACKENDS, server=False),
    S("a hello in a record of another version", NO_B, f"c:{escaped(VERSION_4)} c.end s.none", BACKENDS, server=False),
    S("a hello in SSLv2's form", OLD, f"c:{escaped(SSLV2)} c.end s.none", BACKENDS, server=False),
    S("MongoDB, whose first byte is that of a hello", NO_B, f"c:{escaped(MONGODB)} s.open c.fin s.end s.fin", BACKENDS,
      server=False),
    S("a hello behind an alert", NO_B, f"c:{escaped(BEHIND_ALERT)} c.end s.none", BACKENDS, server=False),
    S("a hello that does not come to its end", NO_B, f"c:{escaped(RECORD[:60])} wait=0.7 c.end s.none", BACKENDS,
      server=False),
    S("no hello at all", f"{HELLO}\n tcp-request content reject", "c:GET_/ c.end s.none"),
    S("SSH and TLS on one port", f"{MUX}\n acl ssh payload(0,7) -m bin 5353482d322e30\n"
      " tcp-request content accept if ssh\n use_backend {name}b if ssh\n default_backend {name}a",
      "c:SSH-2.0-x t<SSH-2.0-x c.fin t.fin c.end d!a.example s.hello d.fin s.fin d.end", BACKENDS, server=False),
    S("SSH whose client waits", f"{MUX}\n use_backend {{name}}b if {{{{ req.len 0 }}}}\n default_backend {{name}}a",
      "c.open t.none t:SSH-2.0 c<SSH-2.0 c.fin t.fin c.end", BACKENDS, server=False),
    S("rules of a backend", "default_backend {name}a",
      "c:no wait=0.6 c.end s.none d:yes s<yes d.fin s.fin d.end",
      "backend {name}a\n tcp-request inspect-delay 400ms\n"
      " tcp-request content reject unless {{ req.payload(0,3) -m str yes }}\n server s 127.0.0.1:{s}\n", server=False),
    # Bytes that become requests: the backend is in mode http.
    S("a backend in mode http", "default_backend {name}a",
      f"c:{ASK} s<{ASK} s:{ANSWER} c<{ANSWER} c:{ASK} s<{ASK} s:{ANSWER} c<{ANSWER} c.fin c.end", WEB, server=False),
    S("a request in pieces, and with more behind it", "default_backend {name}a",
      f"c:{ASK[:9]} wait=0.1 c:{ASK[9:]}{ASK} s<{ASK} s:{ANSWER} c<{ANSWER} s<{ASK} s:{ANSWER} c<{ANSWER} c.fin c.end",
      WEB, server=False),
    S("HTTP/2 for a backend in mode http", "default_backend {name}a", f"c:{PREFACE} c.end", WEB, server=False),
    S("a client of a backend in mode http that says nothing", "default_backend {name}a", "c.open c.fin c.end", WEB,
      server=False),
    S("both kinds of backends", f"{BOTH}\n use_backend {{name}}a if HTTP\n default_backend {{name}}b",
      f"c:{ASK} s<{ASK} s:{ANSWER} c<{ANSWER} c:{ASK} s<{ASK} s:{ANSWER} c<{ANSWER} c.fin c.end"
      " d:RAW t<RAW d.fin t.fin", WEB, server=False),
    S("a request for a backend in mode tcp, behind another",
      f"{BOTH}\n use_backend {{name}}b if {{{{ path /b }}}}\n default_backend {{name}}a",
      f"c:{ASK} s<{ASK} s:{ANSWER} c<{ANSWER} c:{ASK.replace('/_', '/b_')} c.end t.none", WEB, server=False),
    S("what rules for contents say of each request",
      f"{BOTH}\n tcp-request content set-var(txn.a) path\n tcp-request content reject if {{{{ path /no }}}}\n"
      " default_backend {name}c",
      f"c:{ASK} s<{SEEN} s:{ANSWER} c<{ANSWER} c:{ASK.replace('/_', '/no_')} c.end", WEB, server=False),
    S("switch-mode", f"{BOTH}\n tcp-request content switch-mode http if HTTP\n"
      " http-request set-header front yes\n use_backend {name}a if {{ path_beg / }}\n default_backend {name}b",
      f"c:{ASK} s<{ASK[:-4]}front:_yes\\r\\n\\r\\n s:{ANSWER} c<{ANSWER} c.fin c.end d:RAW t<RAW d.fin t.fin", WEB,
      server=False),
    S("switch-mode, and a backend in mode tcp",
      f"{BOTH}\n tcp-request content switch-mode http if HTTP\n default_backend {{name}}b", f"c:{ASK} c.end t.none",
      WEB, server=False),
    # Rules about what the server says.
    S("a rejected answer", f"tcp-response inspect-delay 1s\n {BAD}", "c:hello s<hello s:bad c.end s.end"),
    S("an accepted answer", f"tcp-response inspect-delay 1s\n {BAD}",
      "c:hello s<hello s:good c<good s.fin c.end c.fin s.end"),
    S("an answer that is waited for", f"tcp-response inspect-delay 700ms\n {BAD}",
      "c:hello s<hello s:ok wait=0.2 c.end wait=0.8 c<ok s.fin c.end c.fin s.end"),
    S("WAIT_END of an answer", "tcp-response inspect-delay 500ms\n tcp-response content reject if WAIT_END",
      "c:hello s<hello s:ok wait=0.8 c.end s.end"),
    # Of a server that has said nothing: what it has said, HAProxy 2.6 gives the client, and 2.8 does not.
    S("close", "tcp-response inspect-delay 300ms\n tcp-response content close if WAIT_END",
      "c:hello s<hello wait=0.6 c.end c.fin s.end"),
    # PROXY headers.
    S("send-proxy", "server s 127.0.0.1:{s} send-proxy", "c:hello s.line s<hello c.fin s.fin c.end", server=False),
    S("send-proxy, and the server speaks first", "server s 127.0.0.1:{s} send-proxy",
      "c.open s.line s:220 c<220 c.fin s.fin c.end", server=False),
    # The log.
    S("dontlognull", "option dontlognull",
      "c.open s.open wait=0.1 c.fin s.end s.fin c.end d:x s2<x d.fin s2.fin d.end"),
    S("httplog, which is tcplog there", "option httplog", TALK),
]  # fmt: skip

_NO_BACKEND = "the line in the log names the frontend in place of that backend, at which no request ever is"
_PASSES = "a rule that looks at it refuses the client; HAProxy sees no request there, and lets it in"
_HELLO_PASSES = "a rule that asks for the name refuses the client; HAProxy finds none there, and lets it in"
#: By the scenario's name: why the outcomes differ.
DIFFERENCES = {
    "a request with a line that is no field": "rules that look at it refuse the client, as servers may read it"
    " (nginx leaves such lines out)",
    "any three words that end in a version": f"{_PASSES}; 2.8 refuses it, too",
    "a request without a version, with fields": _PASSES,
    "a version that is no word of HTTP": f"{_PASSES}; 2.8 refuses it, too",
    "three words behind the method": _PASSES,
    "two lengths of a body": _PASSES,
    "a target with a byte above 127": _PASSES,
    "a fragment": _PASSES,
    "two hosts": _PASSES,
    "CR without LF": _PASSES,
    "a hello in two records": _HELLO_PASSES,
    "a hello behind an alert": _HELLO_PASSES,
    "a hello that does not come to its end": _HELLO_PASSES,
    "HTTP/2 for a backend in mode http": "the client is answered 505; HAProxy speaks HTTP/2 with it from then on",
    "a client of a backend in mode http that says nothing": "it is answered 400, and has a line in the log;"
    " HAProxy closes, and logs nothing",
    "a request for a backend in mode tcp, behind another": _NO_BACKEND,
    "switch-mode, and a backend in mode tcp": _NO_BACKEND,
}


@pytest.mark.alone
class StreamTests(BesideTestCase):
    """Each scenario with both programs."""

    def test_what_both_do(self) -> None:
        """Outcomes, and lines of the log."""
        different = self.differing(SCENARIOS, DIFFERENCES)
        said = "\n".join(different.values())
        self.assertEqual(set(different), set(DIFFERENCES), f"HAProxy {haproxy_version()}:\n{said}")
