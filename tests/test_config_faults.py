"""What a stranger reads when a configuration is refused: all faults, in line order, each once, each with a way out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.servers.lines import CONNECT_TIMEOUT
from reusedproxy.config.language import haproxy_words
from reusedproxy.config.language.report import nearest
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.config.sections.globals import _READERS as GLOBAL_READERS
from reusedproxy.config.sections.globals import OUR_WORDS as GLOBAL_OUR_WORDS
from reusedproxy.config.sections.proxies import KEYWORDS, OUR_WORDS
from reusedproxy.config.validate.proxies import CONNECT_TIMEOUT as JUDGED_CONNECT_TIMEOUT

HEAD = "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 60s\n"
LINES = HEAD.count("\n")


def faults(text: str, head: str = HEAD) -> list[str]:
    """The faults of `text` as "line: text", lines counted after the head."""
    try:
        read_configuration([Source("t.cfg", head + text)], {})
    except ConfigurationError as error:
        return [f"{fault.place.line - head.count(chr(10))}: {fault.text}" for fault in error.faults]
    return []


def warnings(text: str) -> list[str]:
    return [notice.text for notice in read_configuration([Source("t.cfg", HEAD + text)], {}).notices]


class WordTests(SynchronousTestCase):
    """Unknown words, and words that only HAProxy does."""

    def test_each_wrong_line_of_a_backend_says_why(self) -> None:
        """The nearest word, the right place, or that it is not done yet."""
        table = [
            ("balnce roundrobin", "unknown keyword 'balnce' in section 'backend': did you mean 'balance'?"),
            ("xyzzy", "unknown keyword 'xyzzy' in section 'backend'"),
            (
                "stick-table type ip",
                "'stick-table' needs 'size': stick-table type ip size 100k expire 10m store http_req_rate(10s), say",
            ),
            ("nbthread 4", "unknown keyword 'nbthread' in section 'backend': it belongs in section 'global'"),
            (
                "httpclose",
                "unknown keyword 'httpclose' in section 'backend': it is an option, write 'option httpclose'",
            ),
            ("contimeout 5s", "'contimeout' is gone: HAProxy removed it in 2.1: write 'timeout connect'"),
            (
                "balance rdp-cookie",
                "'balance rdp-cookie' is a HAProxy keyword that reusedproxy does not do yet: write 'balance hash"
                " rdp_cookie(mstshash)', or 'stick on rdp_cookie(mstshash)'",
            ),
            (
                "balance url_param id check_post",
                "'balance url_param … check_post' is a HAProxy keyword that reusedproxy does not do yet: without it the"
                " parameter is looked for in the query only",
            ),
            ("balance uri deep 3", "'balance uri': unknown word 'deep': did you mean 'depth'?"),
            ("balance uri depth", "'balance uri depth' needs a number"),
            ("balance hdr", "'balance hdr' needs the name of a header: balance hdr(host), say"),
            ("balance hdr(host", "'balance hdr': the ')' is missing in 'hdr(host'"),
            (
                "balance hash res.hdr(x)",
                "'balance hash': 'res.hdr(x)' needs a response, and a server is chosen before there is one",
            ),
            ("balance source 3", "'balance source' takes nothing after it: '3'"),
            ("balance first(2)", "'balance first' takes nothing in parentheses: 'first(2)'"),
            ("hash-type avalanche", "'hash-type avalanche' is gone: write 'hash-type map-based sdbm avalanche'"),
            (
                "hash-type consistent md5",
                "'hash-type': the function is one of 'sdbm', 'djb2', 'wt6', 'crc32', 'none', not 'md5'",
            ),
            (
                "hash-balance-factor 90",
                "'hash-balance-factor' is a percentage of the mean load, above 100: write 150, say, not 90",
            ),
            (
                "hash-preserve-affinity never",
                "'hash-preserve-affinity' is one of 'always', 'maxconn', 'maxqueue', not 'never'",
            ),
            ("use-server a", "'use-server a' needs 'if' or 'unless' and a condition"),
            (
                "use-server other if { path /x }",
                "'use-server': there is no server 'other' in backend 'b'",
            ),
            ("balance roundrobbin", "unknown balance algorithm 'roundrobbin': did you mean 'roundrobin'?"),
            ("option forwrdfor", "unknown option 'forwrdfor': did you mean 'forwardfor'?"),
            ("option http-buffer-request x", "'option http-buffer-request' takes nothing after it: 'x'"),
            (
                "option forceclose",
                "'option forceclose' is gone: HAProxy removed it in 2.0: take it out, or write 'option httpclose',"
                " which ends each connection at its answer",
            ),
            ("no option httpchk", "'no' cannot stand before 'option httpchk'"),
            ("no balance", "'no' stands before 'option' and 'log' only, not before 'balance'"),
            ("timeout", "'timeout' needs a name and a time: timeout client 30s, say"),
            ("timeout conect 5s", "unknown timeout 'conect': did you mean 'connect'?"),
            ("timeout tarpit soon", "'timeout tarpit' needs a time such as 500ms, 5s, 10m, 1h or 1d, not 'soon'"),
            (
                "stick-table type ip size 1m store http_req_rate",
                "'stick-table': 'store http_req_rate' takes a period between its parentheses: http_req_rate(10s),"
                " gpc(2), say",
            ),
            ("timeout connect", "'timeout connect' needs a time"),
            ("timeout connect 5s 6s", "'timeout connect' takes one time: '6s' is too much"),
            (
                "http-check connect via-socks4",
                "'http-check connect': 'via-socks4' is a HAProxy word that reusedproxy does not do yet: checks connect"
                " directly",
            ),
            (
                "tcp-check connect alpn h2",
                "'tcp-check connect': 'alpn': 'alpn h2' is a HAProxy word that reusedproxy does not do yet: checks"
                " speak HTTP/1",
            ),
            ("tcp-check expect binary 2b5", "'tcp-check expect': '2b5' is not pairs of hexadecimal digits"),
            (
                "tcp-check expect status 200",
                "'tcp-check expect': unknown word 'status': did you mean 'ok-status'?",
            ),
            (
                "tcp-check send a b",
                "'tcp-check send': 'b' is too much: one text, which may be quoted, and then: comment TEXT",
            ),
            (
                "tcp-check set-var(txn.a) int(1)",
                "'tcp-check set-var': 'txn.a' is no variable that a check sets: write check.NAME or proc.NAME, of"
                " letters, digits, _ and .",
            ),
            (
                "tcp-check send-lf %[src]",
                "'tcp-check send-lf': 'src' has no value in a check, which has neither client nor request",
            ),
            (
                "http-check send hdr X %[str(a),map(f)]",
                "'http-check send hdr X': 'map' is not done in checks, which have no maps",
            ),
            (
                "http-check expect hdr x",
                "'http-check expect': 'hdr' needs 'name' or 'name-lf' after it: hdr name x-ready value -m str yes, say",
            ),
            (
                "http-check expect hdr name x vlaue y",
                "'http-check expect': unknown word 'vlaue' behind 'hdr': did you mean 'value'?",
            ),
            (
                "http-check expect status 200 204",
                "'http-check expect': unknown word '204' behind 'status': codes are one list: 200,204,300-399, say",
            ),
            (
                "tcp-check expect string a b",
                "'tcp-check expect': unknown word 'b' behind 'string': quote a text that has blanks",
            ),
            ("tcp-check expect string a comment", "'tcp-check expect': 'comment' needs a value"),
            (
                "tcp-check expect string a ! binary 00",
                "'tcp-check expect': 'binary' is too much: one line expects one thing, and 'string' is before it",
            ),
            (
                "http-check expect ! comment x status 200",
                "'http-check expect': '!' stands before what is not to come, such as '!string'",
            ),
            ("option pgsql-check", "'option pgsql-check' needs a user: option pgsql-check user NAME"),
            ("http-check expect status 300-200", "'http-check expect status': the range '300-200' goes backwards"),
            ("http-check snd", "'http-check': unknown word 'snd': did you mean 'send'?"),
            ("http-check send hdr a", "'http-check send': 'hdr' needs a name and a value"),
            (
                "option httpchk GET / HTTP/1.1 host more",
                "'option httpchk' takes a method, a URI, a version and a host: 'more' is too much",
            ),
            (
                "option httpchk GET / HTTPP/1.1",
                "'HTTPP/1.1' is not a version that a check can speak: write HTTP/1.0 or HTTP/1.1",
            ),
            ("http-reuse sometimes", "'http-reuse' is one of 'never', 'safe', 'aggressive', 'always', not 'sometimes'"),
            ("retries x", "'retries' needs a whole number, not 'x'"),
            ("mode tpc", "'mode' is one of 'tcp', 'http', not 'tpc': did you mean 'tcp'?"),
            ("stats auth a", "'stats auth' needs a name, a colon and a password: stats auth NAME:PASSWORD"),
            ("stats", "'stats' needs a word after it: stats enable, say"),
            ("stats uri", "'stats uri' needs the beginning of a path"),
            ("option", "'option' needs the name of an option"),
            ("option check", "unknown option 'check': did you mean 'timeout check'?"),
            ("option balance", "unknown option 'balance': it is a keyword of its own, write it without 'option'"),
            ("option allbackups x", "'option allbackups' takes nothing after it: 'x'"),
            (
                "option forwardfor except fe80::1%lo",
                "'option forwardfor except' needs an address or a network such as 10.0.0.0/8, not 'fe80::1%lo'",
            ),
            (
                "option forwardfor except x",
                "'option forwardfor except' needs an address or a network such as 10.0.0.0/8, not 'x'",
            ),
            ("option forwardfor heder X", "'option forwardfor': unknown word 'heder': did you mean 'header'?"),
            ("option forwardfor header", "'option forwardfor header' needs a value"),
            (
                "option redispatch often",
                "'option redispatch' needs a whole number "
                "(n: every n-th retry, -n: the n-th from the last), not 'often'",
            ),
            *(
                (
                    f"option redispatch {number}",
                    "'option redispatch' needs a whole number "
                    f"(n: every n-th retry, -n: the n-th from the last), not '{number}'",
                )
                for number in ("٣", "1_0")
            ),
            ("retry-on", "'retry-on' needs one or more of: none, conn-failure, empty-response, a status such as 503"),
            ("hedge p95", "'hedge' takes 'after p95' (or a time), 'budget 5%', or 'off' alone, not 'p95'"),
            ("hedge after", "'hedge after' needs p95, or a time"),
            ("hedge budget", "'hedge budget' needs a share such as 5%"),
            ("hedge after p95 after p90", "'hedge': 'after' is said twice"),
            ("hedge off budget 5%", "'hedge' takes 'after p95' (or a time), 'budget 5%', or 'off' alone, not 'off'"),
            ("hedge after p30", "'hedge after p30': the percentile has to be between p50 and p99.9"),
            ("hedge after p100", "'hedge after' needs a percentile such as p95 or p99.5, or a time, not 'p100'"),
            ("hedge after 2m", "'hedge after': '2m' is too long: at most 60s"),
            ("hedge after 0", "'hedge after' has to be longer than 0"),
            ("hedge budget 5", "'hedge budget' needs a share of requests above 0% and up to 50%, not '5'"),
            ("hedge budget 0%", "'hedge budget' needs a share of requests above 0% and up to 50%, not '0%'"),
            ("hedge budget 60%", "'hedge budget' needs a share of requests above 0% and up to 50%, not '60%'"),
            ("retry-on none 503", "'retry-on none' stands alone: nothing can be retried beside it"),
            ("option httpchk /a\\ b", "'/a b' is not a URI to check"),
            ("option httpchk G@T /", "'G@T' is not an HTTP method"),
            ("option httpchk GET / HTTP/1.1\\r\\nHost", "'option httpchk': 'Host' behind the version is not a header"),
            ("http-check", "'http-check' needs a word after it: http-check expect status 200, say"),
            ("http-check expect", "'http-check expect' needs what to expect: http-check expect status 200-399, say"),
            ("http-check expect sttaus 200", "'http-check expect': unknown word 'sttaus': did you mean 'status'?"),
            ("http-check send haeder a b", "'http-check send': unknown word 'haeder': did you mean 'hdr'?"),
            (
                "http-check send hdr a: b",
                "'http-check send hdr': 'a:' cannot be the name of a header: leave out the colon",
            ),
            (
                "http-check send hdr 'Authorization Basic' eDp5",
                "'http-check send hdr': name and value of a header are two words: write them apart",
            ),
            ("http-check send hdr é b", "'http-check send hdr': 'é' cannot be the name of a header"),
            ("http-check send hdr a b\\nc", "the header value 'b\\nc' has a control character in it"),
            (
                "mode log",
                "'mode log' is HAProxy's; reusedproxy does not do it yet: there are 'mode http' and 'mode tcp'",
            ),
            ("no log x", "'log' does not take another argument: 'x'"),
            ("stats socket /s", "'stats socket' belongs in section 'global'"),
            ("stats urii /", "'stats': unknown word 'urii': did you mean 'uri'?"),
        ]
        for line, expected in table:
            self.assertEqual(faults(f"backend b\n server a h:1\n {line}\n"), [f"3: {expected}"])

    def test_each_wrong_line_of_a_frontend_says_why(self) -> None:
        """The frontend's own words."""
        table = [
            (
                "bind :81 ssl crt /c.pem alpn h2,h3",
                "bind '*:81': 'alpn': reusedproxy does not speak 'h2' yet: write 'alpn http/1.1'",
            ),
            (
                "bind :81 namespace x",
                "'bind :81': 'namespace' is a HAProxy bind option that reusedproxy does not do yet: start the daemon in"
                " that network namespace (ip netns exec, NetworkNamespacePath= of systemd)",
            ),
            ("bind :81 mss 99999", "'bind :81': 'mss': 99999 is out of range: Linux takes 88 to 32767"),
            ("bind :81 mss 87", "'bind :81': 'mss': 87 is out of range: Linux takes 88 to 32767"),
            ("bind :81 mss 0", "'bind :81': 'mss': 0 is out of range: Linux takes 88 to 32767"),
            (
                "bind :81 mss -40",
                "'bind :81': 'mss': -40 would take so many bytes off the segments of connections that stand, which"
                " Linux does not do: write the size itself, such as 1420 (over IPv4, 1460 is usual)",
            ),
            (
                "bind /a.sock interface eth0",
                "'bind /a.sock': 'interface' says from where clients of a TCP socket come: this line has another one",
            ),
            (
                "option idle-close-on-response",
                "'option idle-close-on-response' is a HAProxy keyword that reusedproxy does not do yet: take it out: a"
                " reload keeps idle clients, so that no request meets a closed connection",
            ),
            ("bind :81 nmae x", "'bind :81': unknown word 'nmae': did you mean 'name'?"),
            (
                "bind :80 name x",
                "'bind *:80' stands already at t.cfg:7, with other words: HAProxy listens twice, and chance decides"
                " which of the two each client gets. Take one out",
            ),
            (
                "use_backend b if true",
                "'use_backend': there is no acl 'true' before this line: write TRUE",
            ),
            ("bind", "'bind' needs an address: bind *:80, say"),
            (
                "bind :81 mode rwx",
                "'bind :81': 'mode' needs the permissions of a socket in octal, such as 660, not 'rwx'",
            ),
            (
                "bind :81 proto h2",
                "'bind :81': 'proto h2' is a HAProxy bind option that reusedproxy does not do yet:"
                " clients speak HTTP/1 only",
            ),
            ("option tcplog x", "'option tcplog' takes nothing, or 'clf', after it: 'x'"),
            ("log-format %HX", "'log-format': unknown alias '%HX': did you mean 'H'?; write '%%' for a plain '%'"),
            ("default_backend", "'default_backend' needs the name of a backend"),
            (
                "default_backend %[req.hdr(host)]",
                "'default_backend' with an expression (%[…]) is HAProxy's; reusedproxy does not do it yet",
            ),
            ("use_backend bb", "there is no backend 'bb': did you mean 'b'?"),
            ("server a h:1", "'server' cannot stand in frontend 'f': servers belong in a 'backend' or 'listen'"),
            (
                "capture request x len 9",
                "'capture' is followed by 'request header', 'response header' or 'cookie', a name, 'len' and a number",
            ),
        ]
        for line, expected in table:
            text = f"frontend f\n bind :80\n default_backend b\n {line}\nbackend b\n server a h:1\n"
            self.assertEqual(faults(text), [f"4: {expected}"])

    def test_each_wrong_line_of_the_global_section_says_why(self) -> None:
        """And where a proxy's word belongs."""
        table = [
            ("nbthred 4", "unknown keyword 'nbthred' in section 'global': did you mean 'nbthread'?"),
            (
                "timeout client 5s",
                "unknown keyword 'timeout' in section 'global':"
                " it belongs in a 'defaults', 'frontend', 'backend' or 'listen' section",
            ),
            (
                "bind :80",
                "unknown keyword 'bind' in section 'global':"
                " it belongs in a 'defaults', 'frontend', 'backend' or 'listen' section",
            ),
            ("xyzzy", "unknown keyword 'xyzzy' in section 'global'"),
            ("log global", "'log global' belongs in a proxy or 'defaults' section; here write where to log to"),
            (
                "log 0.0.0.0 local0",
                "'log': '0.0.0.0:514' is every address, and nobody's: write one, 127.0.0.1 for this machine",
            ),
            ("no maxconn", "'no' cannot stand before 'maxconn' in section 'global'"),
            (
                "stats socket",
                "'stats socket' needs an address: stats socket /run/reusedproxy.sock mode 600 level admin, say",
            ),
            ("stats socket :1-2", "'stats socket' takes one address, not ':1-2'"),
            ("tune.bufsize 100", "'tune.bufsize': fewer than 1024 bytes do not hold a request's head"),
            (
                "manhole :22 authorized-kyes /k",
                "'manhole' gives away the whole daemon: let it listen on 127.0.0.1, [::1] or a unix socket's path",
            ),
            (
                "manhole localhost:22 authorized-kyes /k",
                "'manhole': unknown word 'authorized-kyes': did you mean 'authorized-keys'?",
            ),
            ("manhole /run/m authorized-keys /k host-key", "'manhole': 'host-key' needs the name of a file"),
            (
                "manhole /run/m host-key /k",
                "'manhole' needs 'authorized-keys <file>': only those who hold one of these keys may come in",
            ),
            ("setenv A", "'setenv' needs the name of a variable and its value"),
            ("unsetenv", "'unsetenv' needs the name of a variable"),
            ("lua-load /x", "'lua-load' is a HAProxy keyword that reusedproxy does not do yet: no Lua is run"),
            ("unix-bind moed 600", "'unix-bind': unknown word 'moed': did you mean 'mode'?"),
            ("unix-bind prefix", "'unix-bind': 'prefix' needs a value"),
            (
                "unix-bind mode rwx",
                "'unix-bind': 'mode' needs the permissions of a socket in octal, such as 660, not 'rwx'",
            ),
            (
                "ssl-default-server-options strict-sni",
                "'ssl-default-server-options': 'strict-sni' cannot stand here, on the 'bind' line only",
            ),
            (
                "ssl-default-server-options no-tlsv31",
                "'ssl-default-server-options': unknown word 'no-tlsv31': did you mean 'no-tlsv13'?",
            ),
            ("tune.bufsize big", "'tune.bufsize' needs a size in bytes, or with k, m or g after the number, not 'big'"),
            ("manhole 127.0.0.1:22", "write 'manhole <address> authorized-keys <file> [host-key <file>]'"),
            (
                "manhole *:22 authorized-keys /k",
                "'manhole' gives away the whole daemon: let it listen on 127.0.0.1, [::1] or a unix socket's path",
            ),
            (
                "manhole abns@m authorized-keys /k",
                "'manhole': anybody on this machine could listen at an abstract socket in the daemon's place, and"
                " nobody owns it: use the path of a unix socket",
            ),
            ("stats socket /x mdoe 600", "'stats socket': unknown word 'mdoe': did you mean 'mode'?"),
            (
                "stats socket /x severity-output no",
                "'stats socket': 'severity-output' is one of 'none', 'number', 'string', not 'no': did you mean"
                " 'none'?",
            ),
            (
                "ssl-watch 10",
                "'ssl-watch': '10' is too short: the files are looked at once a second at most: did you mean '10s'?",
            ),
            ("ssl-watch 999ms", "'ssl-watch': '999ms' is too short: the files are looked at once a second at most"),
            ("ssl-watch", "'ssl-watch' needs a time"),
            ("spiffe-workload-api", "'spiffe-workload-api' needs the socket of an agent, unix:/PATH"),
            *(
                (
                    f"spiffe-workload-api {socket}",
                    f"'spiffe-workload-api': '{socket}' is no socket of an agent: it is unix:/PATH, as in"
                    " SPIFFE_ENDPOINT_SOCKET",
                )
                for socket in ("tcp://127.0.0.1:8081", "unix:agent.sock", "/agent.sock")
            ),
            ("stats sokket /x", "'stats' in section 'global': unknown word 'sokket': did you mean 'socket'?"),
        ]
        for line, expected in table:
            self.assertEqual(faults(f"global\n {line}\n"), [f"2: {expected}"])

    def test_what_the_article_says_of_timeouts_is_answered_with_the_right_word(self) -> None:
        """`http-server-close 10` and `keepalive-timeout 10` are not settings of HAProxy."""
        for line in ("option http-server-close 10", "http-server-close 10"):
            (fault,) = faults(f"backend b\n server a h:1\n {line}\n")
            self.assertIn("takes no number", fault)
            self.assertIn("'pool-idle-timeout 10s'", fault)
        for line in ("keepalive-timeout 10", "http-keep-alive-timeout 10s"):
            for section in ("backend b\n server a h:1", "global\n maxconn 1"):
                (fault,) = faults(f"{section}\n {line}\n")
                self.assertIn("'timeout http-keep-alive 10s'", fault)

    def test_a_name_or_an_address_that_was_forgotten_is_missed(self) -> None:
        """The words behind it are not taken for it."""
        table = [
            ("server 127.0.0.1:18443 sni str(x)", "the name is missing: 'server NAME 127.0.0.1:18443 sni …'"),
            ("server [::1]:80 ssl", "the name is missing: 'server NAME [::1]:80 ssl …'"),
            ("server /run/x.sock check", "the name is missing: 'server NAME /run/x.sock check …'"),
            ("server 127.0.0.1:80", "the name is missing: 'server NAME 127.0.0.1:80'"),
            ("server web1 check", "server 'web1': the address is missing: 'server web1 ADDRESS:PORT check …'"),
            ("bind ssl crt /c.pem", "'bind': the address is missing: 'bind ADDRESS:PORT ssl …'"),
            ("bind 127.0.0.1:", "'bind': the port is missing in '127.0.0.1:': write '127.0.0.1:80', say"),
            (
                "bind run/it.sock",
                "'bind': the port is missing in 'run/it.sock': a unix socket's path begins with '/', or with"
                " 'unix@': write 'unix@run/it.sock'",
            ),
            ("bind fe80::", "'bind': the port is missing in 'fe80::': write 'fe80:::80', say"),
            ("acl path_beg /x", "'acl': the name is missing: 'acl NAME path_beg /x …'"),
            ("acl hdr(host) x", "'acl': the name is missing: 'acl NAME hdr(host) x …'"),
            ("http-request if { path / }", "'http-request': an action is missing before 'if'"),
        ]
        for line, expected in table:
            self.assertEqual(faults(f"listen l\n bind :80\n server a h:1\n {line}\n"), [f"4: {expected}"])
        (fault,) = faults("global\n log local0 info\n")
        self.assertIn("'log': the target is missing before 'local0': log <stdout", fault)
        (fault,) = faults("global\n stats socket mode 600\n")
        self.assertIn("'stats socket' needs an address", fault)

    def test_who_may_connect_is_said_of_unix_sockets_only(self) -> None:
        """On a line without one, nobody would be shut out. HAProxy ignores the words there."""
        for words in ("mode 600", "user root", "gid 0"):
            for address in ("127.0.0.1:80", ":80,:81", "fd@3"):
                (fault,) = faults(f"listen l\n bind {address} {words}\n server a h:1\n")
                self.assertIn(f"2: 'bind {address}': 'mode', 'user' and 'group' say who may connect to a unix", fault)
            (fault,) = faults(f"global\n stats socket 127.0.0.1:80 {words} level admin\n")
            self.assertIn("2: 'stats socket': 'mode', 'user' and 'group' say who may connect to a unix", fault)
            self.assertEqual(faults(f"listen l\n bind :80,/run/s {words}\n server a h:1\n"), [])

    def test_a_log_may_go_to_a_host_that_is_called_as_a_facility(self) -> None:
        """A facility follows it."""
        self.assertEqual(faults("global\n log syslog local0 info\n log mail alert\n log cron len 80 local0\n"), [])

    def test_a_server_may_be_called_as_a_word_of_its_line(self) -> None:
        """A name and an address are known by where they stand."""
        self.assertEqual(faults("backend b\n server check check:80 check\n server 10.0.0.1:80 10.0.0.1:80\n"), [])

    def test_an_acl_may_be_called_as_what_it_tests(self) -> None:
        """If that follows."""
        self.assertEqual(faults("backend b\n server a h:1\n acl path path /a\n acl src src 10.0.0.1\n"), [])
        (fault,) = faults("backend b\n server a h:1\n acl url path_begg /a\n")
        self.assertIn("did you mean 'path_beg'?", fault)

    def test_the_nearest_word_is_found_whatever_its_case(self) -> None:
        """The spelling that is nearest where several differ in case only."""
        self.assertEqual(nearest("WEBB", ["APP", "WEB"]), "WEB")
        self.assertEqual(nearest("webb", ["APP", "WEB"]), "WEB")
        self.assertEqual([nearest(word, ["Web", "web"]) for word in ("Webb", "webb")], ["Web", "web"])
        self.assertIsNone(nearest("x", ["APP", "WEB"]))

    def test_what_we_do_is_among_the_words_of_haproxy(self) -> None:
        """The data module would otherwise suggest less than what is valid."""
        self.assertEqual(set(KEYWORDS) - haproxy_words.PROXY, OUR_WORDS)
        self.assertEqual(set(GLOBAL_READERS) - haproxy_words.GLOBAL, GLOBAL_OUR_WORDS)


class SectionTests(SynchronousTestCase):
    """Section words, names and what refers to them."""

    def test_a_section_that_is_not_done_is_one_fault(self) -> None:
        """Its lines are nobody's."""
        self.assertEqual(
            faults("traces\n trace h1 sink stderr\n bogus\nglobal\n"),
            ["1: 'traces' is a HAProxy section that reusedproxy does not do yet"],
        )

    def test_a_mistyped_section_word_is_one_fault(self) -> None:
        """Its lines are read as what it was meant to be, so nothing else is missed."""
        text = "fronted f\n bind :80\n default_backend b\nbackend b\n server a h:1\n"
        self.assertEqual(faults(text), ["1: unknown section 'fronted': did you mean 'frontend'?"])
        self.assertEqual(
            faults("default\n mode http\n", head=""), ["1: unknown section 'default': did you mean 'defaults'?"]
        )

    def test_names_that_cannot_be(self) -> None:
        """Each with its own message, and without followers."""
        table = [
            ("backend\n server a h:1\n", "1: 'backend' needs a name"),
            ("backend a/b\n server a h:1\n", "1: the name 'a/b' has a character"),
            (
                "backend b *:80\n server a h:1\n",
                "1: backend 'b': '*:80' is too much (write an address on a 'bind' line)",
            ),
            ("backend b from nope\n", "1: there is no 'defaults nope' before this line"),
            (
                "backend b\n server a h:1\nbackend b\n server a h:1\n",
                "3: backend 'b' has the same name as backend 'b' at t.cfg:6",
            ),
            (
                "listen b\n stats enable\nfrontend b\n stats enable\n",
                "3: frontend 'b' has the same name as listen 'b' at t.cfg:6",
            ),
            ("global x\n", "1: 'global' does not take another argument: 'x'"),
            (
                "defaults a\n mode http\ndefaults a\n mode http\nbackend b from a\n server x h:1\n",
                "5: 'defaults a' stands at t.cfg:6 and at t.cfg:8",
            ),
            (
                "defaults a\n mode http\nbackend b from a\n server x h:1\nbackend c\n server x h:1\n",
                "5: backend 'c': 'defaults a' (t.cfg:6) is used by 'from' elsewhere",
            ),
        ]
        for text, expected in table:
            said = faults(text)
            self.assertEqual(len(said), 1, said)
            self.assertTrue(said[0].startswith(expected), said)

    def test_a_line_before_the_first_section(self) -> None:
        """Is nobody's."""
        for line, where in (
            ("mode http", "it belongs in section 'defaults', 'frontend', 'backend' or 'listen'"),
            ("use_backend b if { path / }", "it belongs in section 'defaults', 'frontend', 'backend' or 'listen'"),
            ("nbthread 4", "it belongs in section 'global'"),
            ("option_httplog_backend", ""),
            ("backnd b", "did you mean 'backend'?"),
        ):
            said = faults(f" {line}\n", head="")
            tail = f": {where}" if where else ""
            self.assertEqual(said, [f"1: '{line.split()[0]}' stands before the first section{tail}"])

    def test_incomplete_proxies_are_warned_of(self) -> None:
        """They start, as in HAProxy, and do less than somebody may think."""
        table = [
            ("frontend f\n default_backend b\nbackend b\n server a h:1\n", "frontend 'f' has no 'bind'"),
            ("frontend f\n bind :80\n", "no 'default_backend' and no 'use_backend'"),
            (
                "frontend f\n bind :80\n http-request deny if { path /a }\n redirect location /b if { path /c }\n",
                "no 'default_backend' and no 'use_backend': what no rule answers is answered with 503",
            ),
            ("backend b\n", "backend 'b' has no 'server': every request is answered with 503"),
            ("backend b\n http-request deny if HTTP\n", "has no 'server': what no rule answers is answered with 503"),
            (
                "defaults\n mode http\n errorfile 503 /dev/null\nbackend b\n",
                "has no 'server': every request is answered with the page for 503 (t.cfg:8)",
            ),
            ("backend b\n errorfile 404 /dev/null\n", "has no 'server': every request is answered with 503"),
            (
                "frontend f\n bind :80\n errorfile 503 /dev/null\n default_backend b\nbackend b\n",
                "has no 'server': every request ends with the error 503",
            ),
            ("backend b\n server a h:1\n timeout server 0\n", "backend 'b' has no 'timeout server'"),
            ("backend b\n server a h:1\n bind :80\n", "'bind' is ignored: backend 'b' has no frontend side"),
            (
                "frontend f\n bind :80\n stats enable\n retries 3\n",
                "'retries' is ignored: frontend 'f' has no backend side",
            ),
            ("frontend f\n bind :80\n stats enable\n option httpchk\n", "'option httpchk' is ignored"),
        ]
        for text, expected in table:
            (warning,) = warnings(text)
            self.assertIn(expected, warning)

    def test_a_log_format_without_a_log_is_warned_of(self) -> None:
        """Where the option stands, or at each section that inherits it."""
        httplog, rest = " option httplog\n", " default_backend b\nbackend b\n server a h:1\n"
        none = "'option httplog' does nothing, no request is logged: there is no 'log' line; write"
        global_ = "'log global' stands for the 'log' lines of section 'global', which has none"
        table = [
            (f"frontend f\n bind :80\n{httplog}{rest}", none, 8),
            (f"frontend f\n bind :80\n{httplog} no log\n{rest}", none, 8),
            (f"listen f\n bind :80\n{httplog} server a h:1\n", none, 8),
            (f"frontend f\n bind :80\n{httplog} log global\n{rest}", global_, 8),
            (f"defaults\n mode http\n{httplog} timeout client 1s\nfrontend f\n bind :80\n stats enable\n", none, 10),
            (
                f"defaults\n mode http\n{httplog} log global\n"
                " timeout client 1s\nfrontend f\n bind :80\n stats enable\n",
                global_,
                11,
            ),
        ]
        for text, expected, line in table:
            (notice,) = read_configuration([Source("t.cfg", HEAD + text)], {}).notices
            self.assertIn(expected, notice.text)
            self.assertEqual((notice.level, notice.place.line), ("warning", line))

    def test_a_log_format_with_a_log_is_not_warned_of(self) -> None:
        """One of the section or of `global`, or none because the section says so."""
        listen = "listen l\n bind :80\n server a h:1\n {}\n"
        for text in (
            "defaults\n mode http\n timeout client 1s\n option httplog\n"
            "frontend f\n bind :80\n stats enable\n no log\n",
            listen.format("option httplog\n log stdout local0"),
            listen.format("option httplog\n log global\nglobal\n log stdout local0"),
            listen.format("no log"),
        ):
            self.assertEqual(warnings(text), [], text)

    def test_what_comes_of_a_missing_timeout_is_said_of_each(self) -> None:
        """A connection is not tried for ever; who fell silent is waited for."""
        silent = "that fell silent is waited for without end"
        tried = "a connection to a server is tried for 30 s"
        table = [
            (
                "",
                "",
                "'timeout client' and no 'timeout connect' and no 'timeout server':"
                f" {tried}; a client or a server {silent}",
            ),
            (" timeout client 1s\n", "", f"'timeout connect' and no 'timeout server': {tried}; a server {silent}"),
            (" timeout client 1s\n timeout server 1s\n", "", f"'timeout connect': {tried}"),
            (" timeout client 1s\n timeout connect 1s\n", "", f"'timeout server': a server {silent}"),
            (" timeout server 1s\n timeout connect 1s\n", "", f"'timeout client': a client {silent}"),
            (
                " timeout server 1s\n timeout connect 1s\n timeout http-request 1s\n",
                "",
                "'timeout client': a client that fell silent within a body or an answer is waited for without end",
            ),
            (
                " timeout client 1s\n timeout server 1s\n",
                "maxconn 9",
                f"'timeout connect': {tried}; a request waits for a full server without end",
            ),
            (" timeout client 1s\n timeout server 1s\n timeout queue 1s\n", "maxconn 9", f"'timeout connect': {tried}"),
        ]
        for said, words, expected in table:
            text = f"listen l\n mode http\n bind :80\n{said} server a h:1 {words}\n"
            (notice,) = read_configuration([Source("t.cfg", text)], {}).notices
            self.assertEqual(notice.text, f"listen 'l' has no {expected}")
        self.assertEqual(JUDGED_CONNECT_TIMEOUT, CONNECT_TIMEOUT)

    def test_proxies_that_answer_everything_need_no_server(self) -> None:
        """Redirections, and pages that are said in the file."""
        for rule in ("redirect scheme https", "http-request return status 200", "http-request deny"):
            self.assertEqual(warnings(f"frontend f\n bind :80\n {rule}\n"), [], rule)
            self.assertEqual(warnings(f"backend b\n {rule}\n"), [], rule)

    def test_what_is_redirected_to_https_wherever_clients_speak_in_the_clear_needs_no_server(self) -> None:
        """The condition is true of every request where no `bind` line has `ssl`."""
        condition = [
            "unless { ssl_fc }",
            "if !{ ssl_fc }",
            "if ! { ssl_fc }",
            "code 301 unless { ssl_fc }",
            "unless tls",
            "if TRUE",
        ]
        for head in ("http-request redirect scheme https", "redirect scheme https"):
            for each in condition:
                lines = f" acl tls ssl_fc\n {head} {each}\n"
                self.assertEqual(warnings(f"frontend f\n bind :80\n{lines}"), [], lines)
                self.assertEqual(warnings(f"listen f\n bind :80\n bind :81\n{lines}"), [], lines)
                self.assertEqual(warnings(f"frontend f\n bind :80\n default_backend b\nbackend b\n{lines}"), [], lines)

    def test_sections_that_are_there_to_answer_without_a_server_are_not_warned_of(self) -> None:
        """Those with a page for 503 of their own, for the monitor alone, or with nothing but a table."""
        for lines in (
            "backend b\n errorfile 503 /dev/null\n",
            "backend b\n errorloc 503 http://other/\n",
            "backend b\n http-error status 503 content-type text/plain string later\n",
            "http-errors e\n errorfile 503 /dev/null\nbackend b\n errorfiles e\n",
            "frontend f\n bind :80\n errorfile 503 /dev/null\n",
            "frontend f\n bind :80\n monitor-uri /up\n",
            "listen f\n bind :80\n monitor-uri /up\n",
            "backend b\n stick-table type ip size 1m\n",
        ):
            self.assertEqual(warnings(lines), [], lines)

    def test_what_is_not_redirected_needs_a_server(self) -> None:
        """Those that come over TLS, those that a condition spares, and those that an earlier rule lets pass."""
        redirect = " http-request redirect scheme https unless { ssl_fc }\n"
        table = [
            f"frontend f\n bind :80\n bind :443 ssl crt /c\n{redirect}",
            f"listen f\n bind :443 ssl crt /c\n{redirect}",
            f"frontend f\n bind :443 ssl crt /c\n default_backend b\nbackend b\n{redirect}",
            "frontend f\n bind :80\n http-request redirect scheme https if { ssl_fc }\n",
            "frontend f\n bind :80\n http-request redirect scheme https unless { ssl_fc } || { path /up }\n",
            "frontend f\n bind :80\n http-request redirect scheme https if !{ ssl_fc } { path /up }\n",
            f"frontend f\n bind :80\n http-request allow if {{ path /up }}\n{redirect}",
        ]
        for text in table:
            (warning,) = warnings(text)
            self.assertIn("what no rule answers is answered with 503", warning)

    def test_bytes_that_are_not_utf_8(self) -> None:
        """Are told with their line, and harm nobody in a comment. (As a file is read with `surrogateescape`.)"""
        strange = b"caf\xe9".decode("utf-8", "surrogateescape")
        self.assertEqual(faults(f"backend b # {strange}\n # {strange}\n server a h:1\n"), [])
        (fault,) = faults(f"backend b\n server a h:1\n http-request set-header X {strange}\n")
        self.assertEqual(
            fault, "3: the byte 0xe9 is no character in UTF-8: save the file as UTF-8; single bytes are not done yet"
        )


class AllAtOnceTests(SynchronousTestCase):
    """One run tells everything, and nothing twice."""

    def test_all_faults_come_at_once_in_line_order(self) -> None:
        """Whenever they were found; the text is one line for each."""
        text = (
            "frontend f\n bind :99999\n default_backend nope\nbackend b\n balnce x\n server a h:x\nglobal\n maxconn x\n"
        )
        self.assertEqual([fault.partition(":")[0] for fault in faults(text)], ["2", "3", "5", "6", "8"])

    def test_the_words_are_counted(self) -> None:
        """Each once, however often it stands there; errors that come of several lines are none of one word."""
        text = (
            "frontend f\n bind :81\n bind :82\n timeout client 5s\n option contstats\n"
            " option forwardfor x\n nonsense 1\n default_backend nope\n"
        )
        error = self.assertRaises(ConfigurationError, read_configuration, [Source("t.cfg", text)], {})
        said = "4 words done, 1 without effect here, 2 refused (3 errors in all)"
        self.assertEqual(error.summary, said)
        text = "frontend f\n bind :81\n nonsense 1\n default_backend b\nbackend b\n server a h:1\n"
        error = self.assertRaises(ConfigurationError, read_configuration, [Source("t.cfg", text)], {})
        self.assertTrue(error.summary.endswith(", 1 refused (1 error in all)"), error.summary)

    def test_a_faulty_line_has_no_followers(self) -> None:
        """No second fault and no warning comes of what it failed to say."""
        table = [
            "frontend f\n bind :x\n default_backend b\nbackend b\n server a h:1\n",
            "backend b\n server a h:x\n",
            "backend b\n mode htpp\n server a h:1\n",
            "backend b\n timeout server x\n server a h:1\n",
            "frontend f\n bind :80\n use_backend b if x\nbackend b\n server a h:1\n",
            'frontend f\n bind :80\n default_backend b\nbackend b "\n server a h:1\n',
            "backend b from nope\n server a h:1\n",
            "defaults\n mode http\n default_backend x\n timeout client 1s\n"
            "frontend a\n bind :1\nfrontend b\n bind :2\n",
            "global\n ssl-server-verify nonee\nbackend b\n server a h:1 ssl sni str(x)\n",
            "global\n tune.bufsize 32kk\n tune.maxrewrite 20000\n",
            "global\n stats socket mode 600\n",
            "listen l\n bind :80\n server a h:1\n option httplog\n log stdout\n",
            "global\n log stdout\nlisten l\n bind :80\n server a h:1\n option httplog\n log global\n",
            ".if definde(X)\nbackend b\n server a h:1\n.endif\nfrontend f\n bind :80\n default_backend b\n",
        ]
        for text in table:
            self.only_one(HEAD + text)

    def test_nothing_is_missed_that_a_faulty_line_was_meant_to_say(self) -> None:
        """Words with a slip in them, words that are not done or gone, and lines that cannot be cut into words."""
        defaults = [
            "timeoutt client 5s",
            "timeout clientt 5s",
            "clitimeout 5s",
            "timeout client five",
            'timeout client "5s',
        ]
        for line in defaults:
            self.only_one(f"{HEAD.replace('timeout client 30s', line)}listen l\n bind :80\n server a h:1\n")
        self.only_one(f"{HEAD.replace('mode http', 'mod http')}listen l\n bind :80\n server a h:1\n")
        frontend = [
            "default_backendd b",
            "use_backendd b if { path / }",
            "http-request redirectt scheme https",
            "http-reques redirect scheme https",
            "redirect scheme https iff TRUE",
            "block if { path / }",
            "statss enable",
            'http-request return status 200 string "$',
        ]
        for line in frontend:
            self.only_one(f"{HEAD}frontend f\n bind :80\n {line}\n")
        self.only_one(f"{HEAD}frontend f\n bindd :80\n default_backend b\nbackend b\n server a h:1\n")
        for line in ("serverr a h:1", "dispatch h:1", "server-template a 0 h:1", "option transparent", 'server a "$'):
            self.only_one(f"{HEAD}backend b\n {line}\n")
        backend = [
            "option httpchkk\n http-check send hdr A b",
            "optionn httpchk\n http-check send hdr A b",
            "httpchk GET /\n http-check expect status 200",
            "option httpchk GET / HTTP/2.0\n http-check send hdr A b",
            "http-reuse always\n option httpchk GET / HTTP/1.1\n http-check send hdr Host: b",
            "option httpchk\n http-reusee always",
            "option httpchk\n server b h:1 pool-min-con 5",
            "option httpchk\n default-server pool-min-con 5",
            "acll x path /\n http-request deny if x",
            "acl x pathh /\n http-request deny if x",
            'acl x path "/\n http-request deny if x',
        ]
        for lines in backend:
            self.only_one(f"{HEAD}backend b\n server a h:1\n {lines}\n")

    def test_a_mode_that_is_said_behind_a_faulty_one_counts(self) -> None:
        """Two lines, two faults."""
        backend = "backend b\n mode htpp\n mode {}\n server a h:1\n"
        (wrong,) = faults(f"frontend f\n bind :81\n default_backend b\n{backend.format('http')}")
        self.assertIn("'mode' is one of", wrong)
        both = faults(f"frontend f\n bind :81\n default_backend b\n{backend.format('tcp')}")
        self.assertEqual(len(both), 2)
        self.assertIn("frontend 'f' is in mode http, and backend 'b' in mode tcp", "".join(both))

    def only_one(self, text: str) -> None:
        """There is one fault, and no notice."""
        error = self.assertRaises(ConfigurationError, read_configuration, [Source("t.cfg", text)], {})
        self.assertEqual((len(error.faults), error.notices), (1, ()), f"{text}{error}{error.notices}")

    def test_the_text_of_the_error_is_one_line_a_fault(self) -> None:
        """`file:line: text`, for people and for editors."""
        error = self.assertRaises(
            ConfigurationError, read_configuration, [Source("a.cfg", "x\n"), Source("b.cfg", "y\n")], {}
        )
        self.assertEqual(
            str(error).splitlines(),
            ["a.cfg:1: 'x' stands before the first section", "b.cfg:1: 'y' stands before the first section"],
        )

    def test_each_file_begins_without_a_section(self) -> None:
        """A rule at its beginning is none of the section that the file before ends with, as in HAProxy."""
        sources = [
            Source("a.cfg", f"{HEAD}listen l\n bind :81\n server a 192.0.2.1:1\n"),
            Source("b.cfg", " http-request deny\n"),
        ]
        error = self.assertRaises(ConfigurationError, read_configuration, sources, {})
        self.assertEqual(
            [str(each) for each in error.faults],
            [
                "b.cfg:1: 'http-request' stands before the first section: it"
                " belongs in section 'defaults', 'frontend', 'backend' or 'listen'"
            ],
        )

    def test_operators_listen_where_nobody_else_does(self) -> None:
        """A start would find it taken."""
        manhole, api = "manhole {} authorized-keys k", "stats socket {}"
        for word, address, bind, clashes in (
            (manhole, "127.0.0.1:81", ":81", True),
            (manhole, "127.0.0.1:81", "127.0.0.1:81", True),
            (manhole, "/run/x", "/run/x", True),
            (api, "/run/x", "/run/x", True),
            (manhole, "127.0.0.2:81", "127.0.0.1:81", False),
            (manhole, "127.0.0.1:82", ":81", False),
            (manhole, "/run/y", "/run/x", False),
            (api, "/run/y", "/run/x", False),
        ):
            text = f"listen l\n mode http\n bind {bind}\n server a 192.0.2.1:1\nglobal\n {word.format(address)}\n"
            said = faults(text)
            self.assertEqual(
                any(f"at t.cfg:{LINES + 3} listens there already: say another address" in each for each in said),
                clashes,
            )
        (fault,) = faults("global\n stats socket /run/x\n manhole /run/x authorized-keys k\n", head="")
        self.assertEqual(fault, "3: 'manhole': 'stats socket' at t.cfg:2 listens there already: say another address")

    @settings(deadline=None)
    @given(st.lists(st.lists(st.sampled_from(sorted(
        haproxy_words.SECTIONS | haproxy_words.PROXY | haproxy_words.GLOBAL
        | set(haproxy_words.SERVER) | set(haproxy_words.OPTIONS)
        | {"from", "no", "default", "a", ":80", "h:1", "5s", "-1", "0", "/x", "#", '""', '"$A"', "http",
           "connect", "send", "expect", "status", ".if", ".endif", "1"}
    )), max_size=5), max_size=12))  # fmt: skip
    def test_any_lines_of_known_words_are_read_or_refused(self, lines: list[list[str]]) -> None:
        """Nothing but the reader's own exception ever comes out."""
        try:
            read_configuration([Source("t.cfg", "\n".join(map(" ".join, lines)))], {"A": "x y"})
        except ConfigurationError as error:
            self.assertTrue(error.faults)


KEY = (
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCxHfJiKiuWKbmz",
    "z9piwYrNpOi9hjLYeer3iMdcCaKaGxojws0misfF1MIs04P1gGSKNju5bRYjI3D3",
    "d66nxnwxBZs3Om65a3/6pjE=",
)
PEM = "\n".join(("-----BEGIN PRIVATE KEY-----", *KEY, "-----END PRIVATE KEY-----", ""))


class MissedTests(SynchronousTestCase):
    def test_http_2_is_named_and_so_is_the_service_that_was_meant(self) -> None:
        (h2,) = faults("backend b\n server s 127.0.0.1:1 proto h2\n")
        self.assertIn("'proto' is a HAProxy server option that reusedproxy does not do yet: servers are spoken", h2)
        self.assertIn("HTTP/2", h2)
        (check,) = faults("backend b\n server s 127.0.0.1:1 check-proto h2\n")
        self.assertIn("HTTP/2", check)
        (service,) = faults("backend b\n http-request use-service prom\n server s 127.0.0.1:1\n")
        self.assertIn("did you mean 'prometheus-exporter'?", service)


class ForeignFileTests(SynchronousTestCase):
    """A file that was named by mistake, and a key that was pasted: nothing of it is repeated."""

    def test_what_is_no_configuration_is_one_fault(self) -> None:
        certificate = PEM.replace("PRIVATE KEY", "CERTIFICATE")
        table = [
            (PEM, "1: this is a PEM file (PRIVATE KEY), no configuration"),
            (f"Bag Attributes\n name: a\n{certificate}{PEM}", "1: this is a PEM file (CERTIFICATE, PRIVATE KEY), no"),
            ("\x7fELF\2\1\nlisten x\n", "1: this is a program, no configuration"),
            ("PK\3\4\0\0\nabc\n", "1: this is a binary file, no configuration"),
        ]
        for text, said in table:
            found = faults(text, head="")
            self.assertEqual(len(found), 1, found)
            self.assertTrue(found[0].startswith(said), found)

    def test_a_key_among_the_lines_is_not_repeated(self) -> None:
        """With its marks or without them, and as a word of a line."""
        backend = "backend b\n server s 127.0.0.1:1\n"
        table = [
            (backend + PEM, "3: a PEM block (PRIVATE KEY) stands here, down to line 12, which is no configuration"),
            (backend + PEM.split("-----END")[0], "3: a PEM block without its end (PRIVATE KEY) stands here"),
            (backend + "\n".join(KEY) + "\n", "3: base64, as of a key or certificate stands here, down to line 10"),
            (f"backend b\n server s 127.0.0.1:1 {KEY[0]}\n", "2: server 's': unknown word '… (64 characters, as of a"),
        ]
        for text, said in table:
            found = faults(text)
            self.assertEqual(len(found), 1, found)
            self.assertTrue(found[0].startswith(said), found)
            for line in KEY:
                self.assertNotIn(line[:20], "".join(found))

    def test_what_stands_behind_a_key_is_read(self) -> None:
        found = faults(f"backend b\n{PEM} server s 127.0.0.1:1 wait 3\n")
        self.assertEqual([each.partition(":")[0] for each in found], ["2", "7"], found)

    def test_very_many_unknown_words_are_one_fault(self) -> None:
        text = "backend b\n" + "".join(f" word{number} a\n" for number in range(101)) + " mode nonsense\n"
        found = faults(text)
        self.assertEqual(len(found), 2, found[:3])
        self.assertTrue(found[0].startswith("2: unknown keyword 'word0' in section 'backend'"), found)
        self.assertIn("and 100 more lines with unknown words", found[0])
        self.assertTrue(found[1].startswith("103: "), found)

    def test_a_long_name_of_a_file_is_said(self) -> None:
        name = "/usr/local/share/ca/certificates/of/the/Company/Authority/no/3/of/them"
        self.assertIn(name, faults(f"backend b\n server s 127.0.0.1:1 {name}\n")[0])
