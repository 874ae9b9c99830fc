"""Rules through reusedproxy and through HAProxy with the same lines: samples, converters, tests, and answers."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from unittest import TestCase

from reusedproxy.rules.samples.formats import clean
from tests.integration import rulecerts
from tests.integration.beside import HOST, HAProxy, Recorder, read_answer
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, find_program, temporary_directory, wait_for
from tests.integration.test_beside_haproxy import why_not
from tests.ports import free_port
from tests.regularcases import FOUND, REPLACED
from tests.rulecases import CRITERIA, EXPRESSIONS, LINE_CRITERIA, LINE_DIFFERENCES, LINE_EXPRESSIONS, REQUEST
from tests.samplecases import BEFORE, CONVERSIONS, INPUTS, KNOWN_DIFFERENCES, REFUSED, asked
from tests.wire import certificates

EMPTY_BACKEND = "backend servers\n    http-request return status 200 content-type text/plain string no\n"


class BesideTestCase(TestCase):
    def setUp(self) -> None:
        if reason := why_not():
            self.skipTest(reason)

    def both(self, text: str, requests: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """The bodies of the answers to these requests."""
        directory = temporary_directory(self)
        answers = []
        for name, make in (("ours", Daemon), ("theirs", HAProxy)):
            daemon = make(directory / name, text)
            self.addCleanup(daemon.stop)
            daemon.start()
            answers.append([self.body(daemon.port, request) for request in requests])
            daemon.stop()
        return list(zip(*answers, strict=True))

    def body(self, port: int, request: bytes) -> bytes:
        with socket.create_connection((LOOPBACK, port), timeout=10) as client:
            client.sendall(request)
            return read_answer(client, "GET", b"")[1]


def escaped(text: str) -> str:
    """Between double quotes of a line."""
    return text.replace("\\", "\\\\").replace("$", "\\$")


class RulesBesideHAProxyTests(BesideTestCase):
    """Samples, converters and methods, one by one."""

    def test_samples_and_converters(self) -> None:
        """Each gives what the manual says, and what HAProxy makes of it."""
        rules = "".join(
            f'    http-request return status 200 content-type text/plain lf-string "<%[{escaped(expression)}]>"'
            f" if {{ req.hdr(x-case) {number} }}\n"
            for number, (expression, _) in enumerate(EXPRESSIONS)
        )
        requests = [REQUEST + b"X-Case: %d\r\n\r\n" % number for number in range(len(EXPRESSIONS))]
        outcomes = self.both(rules + EMPTY_BACKEND, requests)
        found = [(text, *pair) for (text, _), pair in zip(EXPRESSIONS, outcomes, strict=True)]
        self.assertEqual([], [each for each in found if each[1] != each[2]], "ours | HAProxy's")
        expected = [(text, b"<%b>" % value.encode()) for text, value in EXPRESSIONS]
        self.assertEqual(expected, [(text, ours) for text, ours, _ in found])

    def test_converters_of_samples_of_every_type(self) -> None:
        """Each cell of the table: what comes out, or that nothing does."""
        cells = [
            (text, value)
            for call, _, gives, expected in CONVERSIONS
            for sample, value in zip(INPUTS, expected, strict=True)
            if (text := asked(call, gives, sample)) not in KNOWN_DIFFERENCES and value != REFUSED
        ]
        rules = "".join(
            f'    http-request return status 200 content-type text/plain lf-string "<%[{quoted}]>"'
            f' if {{ req.hdr(x-case) {number} }} {{ "{quoted}" -m found }}\n'
            for number, (text, _) in enumerate(cells)
            if (quoted := escaped(text))
        )
        requests = [REQUEST + b"X-Case: %d\r\n\r\n" % number for number in range(len(cells))]
        outcomes = self.both(BEFORE + rules + EMPTY_BACKEND, requests)
        found = [(text, *pair) for (text, _), pair in zip(cells, outcomes, strict=True)]
        self.assertEqual([], [each for each in found if each[1] != each[2]], "ours | HAProxy's")
        nothing = b"no"
        expected = [
            (text, nothing if value is None else clean(b"<%b>" % value.encode("latin-1"))) for text, value in cells
        ]
        self.assertEqual(expected, [(text, ours) for text, ours, _ in found])

    def test_what_is_refused_of_converters(self) -> None:
        """By both: a sample that cannot be cast to what the converter takes."""
        refused = [
            asked(call, gives, sample)
            for call, _, gives, expected in CONVERSIONS
            for sample, value in zip(INPUTS, expected, strict=True)
            if value == REFUSED
        ]
        directory = temporary_directory(self)
        text = "".join(f'    http-request set-var(txn.x) "{each}"\n' for each in refused) + EMPTY_BACKEND
        file = HAProxy(directory, text).file
        first = file.read_text().splitlines().index(f'    http-request set-var(txn.x) "{refused[0]}"') + 1
        program = find_program("haproxy")
        assert program is not None
        lines: set[int] = set()
        while True:  # it gives up after some faults
            said = subprocess.run(
                [program, "-c", "-f", str(file)], check=False, capture_output=True, text=True, timeout=30
            )
            found = {int(number) for number in re.findall(r"ALERT.*\.cfg:(\d+)\]", said.stderr)}
            if not found:
                break
            lines |= found
            all_lines = file.read_text().splitlines()
            file.write_text(
                "\n".join("" if number in found else line for number, line in enumerate(all_lines, 1)) + "\n"
            )
        self.assertEqual([each for number, each in enumerate(refused, first) if number not in lines], [])

    def test_methods_of_matching(self) -> None:
        """Whether each criterion is true."""
        rules = "".join(
            "    http-request return status 200 content-type text/plain string yes"
            f" if {{ req.hdr(x-case) {number} }} {{ {criterion} }}\n"
            for number, (criterion, _) in enumerate(CRITERIA)
        )
        requests = [REQUEST + b"X-Case: %d\r\n\r\n" % number for number in range(len(CRITERIA))]
        outcomes = self.both(rules + EMPTY_BACKEND, requests)
        found = [(text, *pair) for (text, _), pair in zip(CRITERIA, outcomes, strict=True)]
        self.assertEqual([], [each for each in found if each[1] != each[2]], "ours | HAProxy's")
        expected = [(text, b"yes" if true else b"no") for text, true in CRITERIA]
        self.assertEqual(expected, [(text, ours) for text, ours, _ in found])

    def test_single_lines(self) -> None:
        """Each line with each of the expressions and criteria."""
        texts = sorted({text for _, text, _ in LINE_EXPRESSIONS})
        criteria = sorted({text for _, text, _ in LINE_CRITERIA})
        rules = "".join(
            f'    http-request return status 200 content-type text/plain lf-string "<%[{text}]>"'
            f" if {{ req.hdr(x-case) {number} }}\n"
            for number, text in enumerate(texts)
        )
        rules += "".join(
            "    http-request return status 200 content-type text/plain string yes"
            f" if {{ req.hdr(x-case) c{number} }} {{ {text} }}\n"
            for number, text in enumerate(criteria)
        )
        lines = sorted({line for line, _, _ in (*LINE_EXPRESSIONS, *LINE_CRITERIA)})
        cases = [(line, text, str(number)) for line in lines for number, text in enumerate(texts)]
        cases += [(line, text, f"c{number}") for line in lines for number, text in enumerate(criteria)]
        head = "GET / HTTP/1.1\r\nHost: a\r\nX-Case: {}\r\n{}\r\n\r\n"
        outcomes = self.both(rules + EMPTY_BACKEND, [head.format(case, line).encode() for line, _, case in cases])
        self.assertEqual(
            [],
            [(*case, *pair) for case, pair in zip(cases, outcomes, strict=True) if pair[0] != pair[1]],
            "ours | HAProxy's",
        )

    def test_single_lines_that_differ(self) -> None:
        """As it is written down: what has become the same is to be taken out there."""
        rules = "".join(
            f'    http-request return status 200 content-type text/plain lf-string "<%[{text}]>"'
            f" if {{ req.hdr(x-case) {number} }}\n"
            for number, (_, text, _, _) in enumerate(LINE_DIFFERENCES)
        )
        head = "GET / HTTP/1.1\r\nHost: a\r\nX-Case: {}\r\n{}\r\n\r\n"
        requests = [head.format(number, line).encode() for number, (line, *_) in enumerate(LINE_DIFFERENCES)]
        expected = [(f"<{ours}>".encode(), f"<{theirs}>".encode()) for _, _, ours, theirs in LINE_DIFFERENCES]
        self.assertEqual(self.both(rules + EMPTY_BACKEND, requests), expected)

    def test_values_are_replaced_where_they_stand(self) -> None:
        """Those of a list; a comma within quotes parts none, and what is not replaced stays as it is."""
        lines = ("a, bbb ,bb", 'a,"b,c" , b"d,e"', "b,,b", '"x,b",b', "b", ",b,", 'x , "b', "a ,  c")
        rules = (
            "    http-request replace-value X ^b.* <\\0>\n"
            '    http-request return status 200 content-type text/plain lf-string "%[req.fhdr(x)]"\n'
        )
        requests = [f"GET / HTTP/1.1\r\nHost: a\r\nX: {line}\r\n\r\n".encode() for line in lines]
        outcomes = self.both(rules + EMPTY_BACKEND, requests)
        self.assertEqual(
            [],
            [(line, *pair) for line, pair in zip(lines, outcomes, strict=True) if pair[0] != pair[1]],
            "ours | HAProxy's",
        )
        self.assertEqual([ours for ours, _ in outcomes[:2]], [b"a,<bbb>,<bb>", b'a,"b,c" ,<b"d,e">'])

    def test_regular_expressions(self) -> None:
        """Whether each is found in a text, and what `regsub` makes of one."""
        found = [pattern.removeprefix("-i ") for pattern, _, _ in FOUND]
        flags = ["-i " if pattern.startswith("-i ") else "" for pattern, _, _ in FOUND]
        rules = "".join(
            "    http-request return status 200 content-type text/plain string yes"
            f" if {{ req.hdr(x-case) {number} }} {{ req.fhdr(x-text),url_dec -m reg {flag}-- {quoted(pattern)} }}\n"
            for number, (flag, pattern) in enumerate(zip(flags, found, strict=True))
        )
        rules += "".join(
            f"    http-request set-var(txn.made) 'req.fhdr(x-text),regsub({arguments})'"
            f" if {{ req.hdr(x-case) r{number} }}\n".replace("'", '"', 1).replace("' if", '" if', 1)
            for number, (arguments, _, _) in enumerate(REPLACED)
        )
        rules += '    http-request return status 200 content-type text/plain lf-string "%[var(txn.made)]"'
        rules += " if { var(txn.made) -m found }\n"
        cases = [(str(number), text) for number, (_, text, _) in enumerate(FOUND)]
        cases += [(f"r{number}", text) for number, (_, text, _) in enumerate(REPLACED)]
        requests = [REQUEST + f"X-Text: {text}\r\nX-Case: {case}\r\n\r\n".encode() for case, text in cases]
        outcomes = self.both(rules + EMPTY_BACKEND, requests)
        named = [(said, text) for said, text, _ in (*FOUND, *REPLACED)]
        different = [(*each, *pair) for each, pair in zip(named, outcomes, strict=True) if pair[0] != pair[1]]
        self.assertEqual([], different, "ours | HAProxy's")
        expected = [b"yes" if true else b"no" for _, _, true in FOUND] + [made.encode() for _, _, made in REPLACED]
        wrong = [(*each, ours) for each, (ours, _), due in zip(named, outcomes, expected, strict=True) if ours != due]
        self.assertEqual([], wrong)


def quoted(text: str) -> str:
    """As one word of a configuration."""
    return "'" + text.replace("'", "'\\''") + "'"


#: Rules whose answers are told of in the log and counted, and what is asked of them.
ANSWERING = """
    http-request deny if { path /deny }
    http-request return status 200 content-type text/plain string ok if { path /return }
    http-request redirect location /x if { path /redirect }
    http-response return status 200 content-type text/plain string ok if { status 419 }
    redirect prefix http://b code 301 if { path_beg /old }
backend servers
    http-request deny deny_status 429 if { path /back }
    http-request return status 404 if { path /nothing }
    http-response deny if { status 418 }
    http-response redirect location /y if { status 417 }
    http-response set-status 202 if { status 203 }
    server s1 {server}
"""
ASKED = (
    *("/deny", "/return", "/redirect", "/old/x?y=1", "/back", "/nothing"),
    *("/418", "/419", "/417", "/203", "/200"),
)


class AnswersBesideHAProxyTests(BesideTestCase):
    """What rules answer, how that is logged, and what it counts as."""

    def wait_for_lines(self, daemon: Daemon) -> None:
        wait_for(lambda: daemon.output.count(' HTTP/1.1"') >= len(ASKED), "all lines of the log")

    def test_log_and_statistics(self) -> None:
        """Status, who answered, times that were not reached, letters; refused requests and answers."""
        recorder = Recorder()
        text = ANSWERING.replace("{server}", f"{HOST}:{recorder.port}")
        told = []
        for name, make in (("ours", Daemon), ("theirs", HAProxy)):
            daemon = make(temporary_directory(self) / name, text)
            self.addCleanup(daemon.stop)
            daemon.start()
            for path in ASKED:
                status = path[1:] if path[1:].isdigit() else "200"
                recorder.script(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok".encode(), closes=False)
                self.body(daemon.port, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            self.wait_for_lines(daemon)
            lines = re.findall(
                r"\] main (\S+) \d+/(-?)\d+/(-?)\d+/(-?)\d+/\d+ (\d+) \d+ - - (\S\S)-- .*\"GET (\S+)", daemon.output
            )
            rows = {(row["pxname"], row["svname"]): row for row in daemon.statistics()}
            counts = {
                key: (rows[key]["dreq"] or "0", rows[key]["dresp"])
                for key in (("main", "FRONTEND"), ("servers", "BACKEND"), ("servers", "s1"))
            }
            told.append((lines, counts))
            daemon.stop()
        ours, theirs = told
        self.assertEqual(ours, theirs)
        self.assertEqual(len(ours[0]), len(ASKED))
        self.assertEqual(
            ours[1],
            {("main", "FRONTEND"): ("2", "1"), ("servers", "BACKEND"): ("1", "1"), ("servers", "s1"): ("0", "1")},
        )


class OwnBackendTests(BesideTestCase):
    """The backend of a `listen` section is known to its rules before one is chosen."""

    def test_its_name(self) -> None:
        recorder, port = Recorder(), free_port()
        text = (
            f"backend servers\n server s1 {HOST}:{recorder.port}\nlisten l\n bind {LOOPBACK}:{port}\n"
            " http-request return status 200 content-type text/plain string first if { be_name l } { path /x }\n"
            " use_backend other if { be_name l }\n"
            "backend other\n http-request return status 200 content-type text/plain lf-string %[be_name]\n"
        )
        for make in (Daemon, HAProxy):
            daemon = make(temporary_directory(self) / make.__name__, text)
            self.addCleanup(daemon.stop)
            daemon.start()
            found = [self.body(port, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()) for path in ("/x", "/y")]
            self.assertEqual(found, [b"first", b"other"], make)
            daemon.stop()


#: What TLS has shown of the client, as an answer's text has it.
SHOWN = (
    *(
        f"ssl_c_{side}_dn{arguments}"
        for side in "si"
        for arguments in ("", "(cn)", "(CN,2)", "(CN,-1)", "(CN,9)", "(CN,0)")
    ),
    "ssl_c_s_dn(,0,rfc2253)",
    "ssl_c_i_dn(,0,rfc2253)",
    "ssl_c_s_dn(OU)",
    "ssl_c_serial,hex",
    "ssl_c_sha1,hex",
    "ssl_c_notbefore",
    "ssl_c_notafter",
    "ssl_c_version",
    "ssl_c_sig_alg",
    "ssl_c_key_alg",
    "ssl_c_der,base64",
    "ssl_c_used",
    "ssl_c_verify",
    "ssl_c_err",
    "ssl_c_ca_err",
    "ssl_c_ca_err_depth",
    "ssl_fc",
    "ssl_fc_has_crt",
    "ssl_fc_has_sni",
    "ssl_fc_sni",
    "ssl_fc_protocol",
    "ssl_fc_cipher",
    "ssl_fc_alpn",
    "ssl_fc_is_resumed",
    "ssl_fc_use_keysize",
    "ssl_fc_alg_keysize",
    *(
        f"ssl_fc_{each},hex,length"
        for each in ("session_id", "unique_id", "session_key", "client_random", "server_random")
    ),
    *("ssl_fc_npn", "ssl_fc_has_early", "ssl_fc_err", "ssl_f_s_dn", "ssl_f_i_dn(cn)", "ssl_f_s_dn(,0,rfc2253)"),
    *("ssl_f_serial,hex", "ssl_f_sha1,hex", "ssl_f_notbefore", "ssl_f_notafter", "ssl_f_version", "ssl_f_sig_alg"),
    *("ssl_f_key_alg", "ssl_f_der,base64"),
    "ssl_c_sha1",  # last, because any byte can be in it
)


#: What is told of a server.
OF_SERVERS = (
    *("ssl_bc", "ssl_bc_protocol", "ssl_bc_cipher", "ssl_bc_is_resumed", "ssl_bc_alpn"),
    *("ssl_bc_use_keysize", "ssl_bc_alg_keysize", "ssl_s_s_dn", "ssl_s_s_dn(cn)", "ssl_s_i_dn(,0,rfc2253)"),
    *("ssl_s_serial,hex", "ssl_s_sha1,hex", "ssl_s_notbefore", "ssl_s_notafter", "ssl_s_version", "ssl_s_sig_alg"),
    *(
        "ssl_s_key_alg",
        "ssl_s_der,base64",
        "ssl_s_chain_der,base64",
        "method",
        *(f"ssl_bc_{each},hex,length" for each in ("session_id", "session_key", "client_random", "server_random")),
        *("ssl_bc_unique_id,hex,length", "ssl_bc_npn"),
        "srv_name",
        "be_name",
        "fe_name",
    ),
)


#: What is captured of a client's hello; the first five are those that JA3 is made of.
CAPTURED = (
    "ssl_fc_protocol_hello_id",
    *(f"ssl_fc_{each}list_bin(1),be2dec(-,2)" for each in ("cipher", "ext", "ec")),
    "ssl_fc_ecformats_bin,be2dec(-,1)",
    *("ssl_fc_cipherlist_hex", "ssl_fc_cipherlist_hex(1)", "ssl_fc_cipherlist_str", "ssl_fc_cipherlist_xxh"),
    *("ssl_fc_extlist_bin,hex", "ssl_fc_eclist_bin,hex", "ssl_fc_ecformats_bin,hex"),
)


class CertificatesBesideHAProxyTests(TestCase):
    """Certificates whose names mislead, as both tell servers of them."""

    def setUp(self) -> None:
        if reason := why_not():
            self.skipTest(reason)
        self.directory = temporary_directory(self)
        self.files = rulecerts.make(self.directory)

    def told(self, make: type[Daemon], name: str) -> list[list[bytes]]:
        """The texts, for each client: without a certificate, with each of the others,
        and with one that is not trusted."""
        port = free_port()
        text = "".join(f"|%[{each}]" for each in SHOWN)
        daemon = make(
            self.directory / name,
            f"    bind {LOOPBACK}:{port} ssl crt {self.files.server} ca-file {self.files.ca} verify optional"
            " crt-ignore-err all ca-ignore-err all alpn http/1.1\n"
            f'    http-request return status 200 content-type text/plain lf-string "{text}"\n{EMPTY_BACKEND}',
        )
        self.addCleanup(daemon.stop)
        daemon.start()
        (self.directory / "other").mkdir(exist_ok=True)
        if not hasattr(self, "stranger"):
            self.stranger = rulecerts.make(self.directory / "other").clients["plain"]
        told = [self.texts(port, path) for path in (None, *self.files.clients.values(), self.stranger)]
        daemon.stop()
        return told

    def texts(self, port: int, path: Path | None) -> list[bytes]:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        if path is not None:
            context.load_cert_chain(path)
        name = None if path is None else "App.Example"
        plain = socket.create_connection((LOOPBACK, port), timeout=10)
        with context.wrap_socket(plain, server_hostname=name) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            return read_answer(client, "GET", b"")[1].split(b"|", len(SHOWN))[1:]

    def test_they_are_told_of_alike(self) -> None:
        """Every fetch about the client's TLS, for every name."""
        ours, theirs = self.told(Daemon, "ours"), self.told(HAProxy, "theirs")
        cases = ("none", *self.files.clients, "stranger")
        different = []
        for case, mine, others in zip(cases, ours, theirs, strict=True):
            self.assertEqual((len(mine), len(others)), (len(SHOWN), len(SHOWN)), case)
            different += [
                (case, what, one, other) for what, one, other in zip(SHOWN, mine, others, strict=True) if one != other
            ]
        self.assertEqual([], different)
        by_case = {case: dict(zip(SHOWN, mine, strict=True)) for case, mine in zip(cases, ours, strict=True)}
        self.assertEqual(by_case["control"]["ssl_c_s_dn(cn)"], b"a%0D%0AX-Evil: 1%00b%7F")
        self.assertEqual((by_case["none"]["ssl_c_used"], by_case["plain"]["ssl_c_verify"]), (b"0", b"0"))
        self.assertNotEqual(by_case["stranger"]["ssl_c_verify"], b"0")

    def test_hellos_are_captured_alike(self) -> None:
        """Whole, in too little room, and not at all."""
        text = "|".join(f"%[{each}]" for each in CAPTURED)
        for size in (800, 71, 0):
            told = []
            for name, make in ((f"ours-{size}", Daemon), (f"theirs-{size}", HAProxy)):
                port = free_port()
                head = make.HEAD.replace("global\n", f"global\n    tune.ssl.capture-buffer-size {size}\n", 1)
                daemon = type("Capturing", (make,), {"HEAD": head})(
                    self.directory / name,
                    f"    bind {LOOPBACK}:{port} ssl crt {self.files.server}\n"
                    f'    http-request return status 200 content-type text/plain lf-string "{text}"\n{EMPTY_BACKEND}',
                )
                self.addCleanup(daemon.stop)
                daemon.start()
                told.append(
                    [self.whole(port, version=version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
                )
                daemon.stop()
            self.assertEqual(told[0], told[1], size)
            self.assertEqual(told[0][0].startswith(b"771|"), size > 0)

    def test_servers_are_told_of_alike(self) -> None:
        """Every fetch about the server's TLS, in a rule for its answer."""
        port = free_port()
        bind = f"    bind {LOOPBACK}:{port} ssl crt {self.files.server} alpn http/1.1\n"
        server = HAProxy(self.directory / "server", f"{bind}    http-request return status 204\n{EMPTY_BACKEND}")
        self.addCleanup(server.stop)
        server.start()
        told = "".join(f"|%[{each}]" for each in OF_SERVERS)
        text = (
            f'    http-response return status 200 content-type text/plain lf-string "{told}"\nbackend servers\n'
            f"    server s1 {LOOPBACK}:{port} ssl verify none alpn http/1.1\n"
        )
        bodies = []
        for name, make in (("ours", Daemon), ("theirs", HAProxy)):
            daemon = make(self.directory / f"{name}-before", text)
            self.addCleanup(daemon.stop)
            daemon.start()
            with socket.create_connection((LOOPBACK, daemon.port), timeout=10) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                bodies.append(read_answer(client, "GET", b"")[1].split(b"|")[1:])
            daemon.stop()
        ours, theirs = (dict(zip(OF_SERVERS, body, strict=True)) for body in bodies)
        self.assertEqual(ours, theirs)
        self.assertEqual((ours["ssl_bc"], ours["ssl_s_s_dn(cn)"], ours["srv_name"]), (b"1", b"server", b"s1"))

    def test_a_server_that_is_refused_is_told_of_alike(self) -> None:
        """Number and words of OpenSSL's error; of a server in the clear, and of one that cannot be reached, nothing."""
        port = free_port()
        bind = f"    bind {LOOPBACK}:{port} ssl crt {self.files.server}\n"
        server = HAProxy(self.directory / "refused", f"{bind}    http-request return status 204\n{EMPTY_BACKEND}")
        self.addCleanup(server.stop)
        server.start()
        told = "%[bc_err]|%[ssl_bc_err,hex]|%[ssl_bc_err_str]"
        unknown = certificates().authority.issue("a").write(self.directory / "unknown.pem")
        for line, expected in (
            (
                f"{LOOPBACK}:{port} ssl verify required ca-file {unknown} verifyhost a",
                b"34|000000000A000086|error:0A000086:",
            ),
            (f"{LOOPBACK}:{port} ssl verify none", b"0|0000000000000000|"),
            (f"{LOOPBACK}:{server.port}", b"0||"),
        ):
            said = []
            for name, make in (("ours", Daemon), ("theirs", HAProxy)):
                text = (
                    f'    http-after-response set-header X-Told "{told}"\nbackend servers\n    retries 0\n'
                    f"    server s1 {line}\n"
                )
                daemon = make(self.directory / f"{name}-refuses", text)
                self.addCleanup(daemon.stop)
                daemon.start()
                with socket.create_connection((LOOPBACK, daemon.port), timeout=10) as client:
                    client.sendall(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
                    answer = b"".join(iter(lambda: client.recv(65536), b""))
                found = re.search(rb"(?i)x-told: ([^\r]*)", answer)
                said.append(found[1] if found else answer)
                daemon.stop()
            self.assertEqual(said[0], said[1], line)
            self.assertTrue(said[0].startswith(expected), said[0])

    def test_a_chain_is_told_of_alike(self) -> None:
        """A client's without its own certificate; none is nothing."""
        port = free_port()
        text = (
            f"    bind {LOOPBACK}:{port} ssl crt {self.files.server} ca-file {self.files.ca} verify required\n"
            "    http-request return status 200 content-type text/plain lf-string"
            f' "%[ssl_c_chain_der,hex]|%[ssl_c_der,hex]"\n{EMPTY_BACKEND}'
        )
        told = []
        shown = self.directory / "shown.pem"
        shown.write_bytes(self.files.clients["plain"].read_bytes() + self.files.ca.read_bytes())
        for name, make in (("ours", Daemon), ("theirs", HAProxy)):
            daemon = make(self.directory / f"{name}-chain", text)
            self.addCleanup(daemon.stop)
            daemon.start()
            told.append([self.whole(port, path) for path in (self.files.clients["plain"], shown)])
            daemon.stop()
        self.assertEqual(told[0], told[1])
        (alone, leaf), (above, same_leaf) = (body.split(b"|") for body in told[0])
        self.assertEqual((alone, leaf), (b"", same_leaf))
        self.assertTrue(above and not above.startswith(leaf))

    def whole(self, port: int, path: Path | None = None, version: ssl.TLSVersion | None = None) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if path is not None:
            context.load_cert_chain(path)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        plain = socket.create_connection((LOOPBACK, port), timeout=10)
        with context.wrap_socket(plain, server_hostname="a") as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            return read_answer(client, "GET", b"")[1]


#: Texts of headers and bodies, apart from dates.
FORMATS = (
    *("%ci|%fi|%f|%ft|%b|%s|%HM|%HU|%HP|%HPO|%HQ|%HV|%r", "%{+Q}HU %{+Q}b %{+Q}s", "%{+M}sslv|%sslv", "%{+Q,+M}sslv"),
    *("%{+Q}o%HM %HU%{-Q}o %HM", "%{+E}[req.hdr(x-q)]", "a%%b", "%[str(a%0ab),url_dec]"),
)
LINES = (
    *(b"GET /old/a?x=1&y HTTP/1.1", b"GET /q? HTTP/1.0", b"PURGE //x//?a?b HTTP/1.1", b"OPTIONS * HTTP/1.1"),
    *(b'GET /a"b{c}|d HTTP/1.1', b"GET http://h/abs?z HTTP/1.1"),
)


class FormatsBesideHAProxyTests(BesideTestCase):
    """Texts, and what they show of a request that rules have changed."""

    def test_aliases_and_flags(self) -> None:
        """In a body, after set-path and set-query."""
        rules = (
            "    http-request set-path /new unless METH_OPTIONS\n    http-request set-query n=1 unless METH_OPTIONS\n"
            + "".join(
                f'    http-request return status 200 content-type text/plain lf-string "{text}"'
                f" if {{ req.hdr(x-case) {number} }}\n"
                for number, text in enumerate(FORMATS)
            )
        )
        cases = [(line, number) for line in LINES for number in range(len(FORMATS))]
        requests = [
            b'%b\r\nHost: h\r\nX-Q: a"b]c\\d\r\nX-Case: %d\r\nConnection: close\r\n\r\n' % case for case in cases
        ]
        outcomes = self.both(rules + EMPTY_BACKEND, requests)
        found = [(line, FORMATS[number], *pair) for (line, number), pair in zip(cases, outcomes, strict=True)]
        self.assertEqual([], [each for each in found if each[2] != each[3]], "ours | HAProxy's")
        self.assertIn(b"GET /old/a?x=1&y HTTP/1.1", found[0][2])

    def test_the_files_own_text(self) -> None:
        """Byte for byte, with quotes of each kind, escapes and variables."""
        texts = (
            *(
                r"a\nb\tc",
                r'"a\nb\tc\r"',
                r"'a\nb'",
                r'"a\x01\x7f"',
                r'"%[path]\n%[path]"',
                r'"\xc3\xa9é"',
                r'"\"\\ \$HOME"',
                "'$HOME ${HOME}'",
            ),
            *("$HOME", r"\$HOME", '"$NOPE_X|${NOPE_X-d}"', "a\"b\"'c'"),
        )
        rules = "".join(
            f"    http-request return status 200 content-type text/plain lf-string {text}"
            f" if {{ req.hdr(x-case) {number} }}\n"
            for number, text in enumerate(texts)
        )
        requests = [REQUEST + b"X-Case: %d\r\n\r\n" % number for number in range(len(texts))]
        outcomes = self.both(rules + EMPTY_BACKEND, requests)
        self.assertEqual([], [(text, *pair) for text, pair in zip(texts, outcomes, strict=True) if pair[0] != pair[1]])


class VariablesBesideHAProxyTests(BesideTestCase):
    """How long each scope lives, on one connection, with answers of a server and of our own."""

    SCOPES = ("sess", "txn", "req", "res")

    def test_scopes(self) -> None:
        """What is shown before and after each kind of rule."""
        recorder = Recorder()
        recorder.script(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok", closes=False)
        show = "|".join(f"{scope}=%[var({scope}.a)],%[var({scope}.b)],%[var({scope}.c)]" for scope in self.SCOPES)

        def sets(keyword: str, name: str, value: str) -> str:
            return "".join(f"    {keyword} set-var({scope}.{name}) {value}\n" for scope in self.SCOPES)

        text = (
            f'    http-request set-var-fmt(txn.before) "{show}"\n{sets("http-request", "a", "path")}'
            f'    http-request return status 200 content-type text/plain lf-string "{show}" if {{ path /own }}\n'
            f'    http-request deny if {{ path /deny }}\n    http-response set-header X-Before "%[var(txn.before)]"\n'
            f'    http-response set-header X-1 "{show}"\n{sets("http-response", "b", "str(b)")}'
            f'    http-after-response set-header X-2 "{show}"\n{sets("http-after-response", "c", "str(c)")}'
            f'    http-after-response set-header X-3 "{show}"\n'
            f"backend servers\n    server s1 {HOST}:{recorder.port}\n"
        )
        told = []
        for name, make in (("ours", Daemon), ("theirs", HAProxy)):
            daemon = make(temporary_directory(self) / name, text)
            self.addCleanup(daemon.stop)
            daemon.start()
            with socket.create_connection((LOOPBACK, daemon.port), timeout=10) as client:
                told.append([self.shown(client, path) for path in ("/1", "/own", "/2", "/deny")])
            daemon.stop()
        self.assertEqual(told[0], told[1])
        self.assertIn(b"req=,,", b"".join(told[0][0]))

    def shown(self, client: socket.socket, path: str) -> list[bytes]:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += client.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length is not None
        while len(body) < int(length[1]):
            body += client.recv(65536)
        lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"x-")]
        return [
            *(name.lower() + value for name, _, value in (line.partition(b":") for line in lines)),
            body if path == "/own" else b"",
        ]
