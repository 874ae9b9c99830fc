"""No message about an order that is refused quotes what may be secret in it: keys of certificates, passwords, and what
clients are known by. Programs write such answers into their own logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO

from reusedproxy.net.tls.crl_files import revoked_in
from reusedproxy.net.tls.files import TLSConfigurationError, blocks_in
from reusedproxy.operators.runtime.commands import COMMANDS
from reusedproxy.operators.runtime.told import LEFT_OUT, without
from reusedproxy.operators.shell.commands import namespace
from tests.integration.peers import LOOPBACK
from tests.services import HEAD, OrdersTestCase

SECRET = "s3cret"
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
IN_ONE_LINE = KEY.replace("\n", "")

#: Orders with secrets that are refused, by their commands; behind "<<" is a payload. {m} is a map, {l} a list.
REFUSED = {
    "add acl": (
        "{l}ip SECRET", "{l}ip SECRET'SECRET", "{l}reg SECRET(", "{l}reg (?P=SECRET)", "{l}int SECRET",
        "{l}none SECRET", "@9 {l}ip SECRET", "@1 {l}ip SECRET",
    ),
    "add map": (
        "{m}ip SECRET 1", "{m}reg SECRET( 1", "{m}num a SECRET", "{m}int SECRET 1", "{m}none SECRET SECRET",
        "{m}ip<<SECRET", "{m}ip<<SECRET 1", "{m}num<<a 1\nb SECRET", "@1 {m}ip SECRET 1", "@1 {m}num<<a SECRET",
        "@1 {m}num<<SECRET", "@9 {m}num<<SECRET 1",
    ),
    "add server": (
        f"b/new {LOOPBACK}:9 agent-check agent-send SECRET", f"b/new {LOOPBACK}:9 agent-send SECRET wieght 3",
        f"b/s {LOOPBACK}:9 agent-send SECRET",
    ),
    "add ssl ca-file": ("{crt}<<KEY", "none<<KEY", "{ca}<<KEY", "{ca}<<LINE"),
    "add ssl crt-list": ("{list}<<KEY", "{list}<<LINE", "{list}<<SECRET", "{list}<<{crt} [SECRET]", "none<<SECRET"),
    "clear acl": ("@1 {l}none SECRET",),
    "clear map": ("@1 {m}none SECRET",),
    "clear table": ("none key SECRET", "t key SECRET", "t data.SECRET gt 1", "t data.gpc0 gt SECRET"),
    "commit acl": ("@9 {l}ip SECRET",),
    "commit map": ("@9 {m}ip SECRET",),
    "del acl": ("{l}ip SECRET", "{l}none SECRET", "{l}ip #0xSECRET"),
    "del map": ("{m}ip SECRET", "{m}none SECRET", "{m}ip #0xSECRET"),
    "set dynamic-cookie-key backend": ("none SECRET",),
    "set map": ("{m}num SECRET 1", "{m}num k SECRET", "{m}none k SECRET", "{m}num #0xSECRET SECRET"),
    "set server": ("b/s agent-send SECRET", "b/none agent-send SECRET", "b/s agent-sned SECRET"),
    "set ssl ca-file": ("{crt}<<KEY", "none<<KEY", "{ca}<<KEY", "{ca}<<LINE"),
    "set ssl cert": (
        "{crt}<<KEY", "none<<KEY", "{crt}<<LINE", "{crt}.key<<SECRET", "{crt}.ocsp<<SECRET", "{crt} SECRET",
    ),
    "set ssl crl-file": ("{crt}<<KEY", "none<<KEY", "{crl}<<KEY", "{crl}<<LINE", "{crl}<<SECRET"),
    "set table": ("none key SECRET", "t key SECRET", "t key 1 data.gpc0 SECRET", "t key 1 data.SECRET 2", "t SECRET"),
    "set var": (
        "proc.v SECRET", "proc.v str(SECRET", "proc.v str('SECRET'", "proc.v expr str(x),SECRET(1)",
        "proc.v fmt %[SECRET]", "proc.v fmt %[str(SECRET)", "proc.v SECRET x", "proc.v str(x),regsub(SECRET(,y)",
        "proc.v str(a),add(SECRET)",
    ),
}  # fmt: skip
#: Commands of which the log leaves words out, though they have no secrets that they could refuse.
NAMED = frozenset(
    f"{verb} {what}"
    for verb, what in (
        *(
            (verb, f"ssl {kind}")
            for verb in ("abort", "commit", "del", "new")
            for kind in ("ca-file", "cert", "crl-file")
        ),
        *(("prepare", what) for what in ("acl", "map")),
    )
)  # fmt: skip
#: Those whose answers quote what cannot be read.
QUOTING = ("add acl", "add map", "set map", "set var")


class RefusedTests(OrdersTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.crt, self.list = self.write("front.pem"), ""
        self.ca = str(self.authority.write(self.folder / "ca.pem"))
        self.list = self.text("list", f"{self.crt}\n")
        lists = {kind: self.text(f"l{kind}", "") for kind in ("ip", "reg", "int")}
        maps = {kind: self.text(f"m{kind}", "") for kind in ("ip", "reg", "num", "int")}
        conditions = (("ip", "src"), ("reg", "path -m reg"), ("int", "path_len"))
        looks = (
            ("ip", "src,map_ip"),
            ("reg", "path,map_reg"),
            ("num", "path,map_str_int"),
            ("int", "src_port,map_int"),
        )
        self.start_with(
            self.text(
                "proxy.cfg",
                f"global\n stats socket {self.folder}/a.sock level admin\n{HEAD}"
                f"frontend f\n bind {LOOPBACK}:0 ssl crt-list {self.list} ca-file {self.ca} verify optional\n"
                + "".join(f" http-request deny if {{ {each} -f {lists[kind]} }}\n" for kind, each in conditions)
                + "".join(f" http-request set-header {kind} %[{each}({maps[kind]})]\n" for kind, each in looks)
                + f" default_backend b\nbackend b\n server s {LOOPBACK}:1\n"
                "backend t\n stick-table type integer size 9 store gpc0\n",
            )
        )
        self.names = {"l": f"{self.folder}/l", "m": f"{self.folder}/m"}
        self.names |= {"crt": self.crt, "list": self.list, "ca": self.ca, "crl": f"{self.folder}/crl.pem"}
        self.context.modes = frozenset(("experimental-mode",))
        self.tell(f"prepare acl {lists['ip']}")
        for kind in ("ip", "num"):
            self.tell(f"prepare map {maps[kind]}")
        self.announced.clear()

    def orders(self, command: str) -> Iterator[tuple[str, str | None]]:
        for written in REFUSED[command]:
            line, sign, payload = written.format_map(self.names).replace("SECRET", SECRET).partition("<<")
            payload = payload.replace("KEY", KEY).replace("LINE", IN_ONE_LINE)
            yield f"{command} {line}", f"{payload}\n" if sign else None

    def test_each_command_that_may_have_secrets_is_here(self) -> None:
        """Whoever adds one says how it refuses them."""
        words = [f"w{number}" for number in range(9)]
        for command in COMMANDS:
            shown = None if command.shown is None else command.shown(self.context, ["a", "key", *words])
            name = " ".join(command.words)
            if name not in NAMED and shown is not None and LEFT_OUT in shown:
                self.assertIn(name, REFUSED)

    def test_neither_the_answer_nor_the_log_quotes_them(self) -> None:
        """But for an answer about an entry or an expression, which says, as in HAProxy, what is wrong with it."""
        for command in REFUSED:
            for line, payload in self.orders(command):
                said = self.tell(line, payload)
                self.assertNotEqual(said, "", line) if command != "clear table" else None
                if command not in QUOTING:
                    self.assertNotIn(SECRET, said, line)
                self.assertNotIn(SECRET, f"{self.announced}", line)

    def test_a_password_with_blanks_is_not_told_in_part(self) -> None:
        """Who has forgotten to escape them is obeyed as in HAProxy: the agent is sent the first word."""
        self.tell(f"add server b/n {LOOPBACK}:9 agent-check agent-port 9")
        self.tell("enable agent b/n")
        self.tell(f"set server b/n agent-send one {SECRET}")
        self.assertIn("set server b/n agent-send ...", f"{self.announced}")
        self.assertNotIn(SECRET, f"{self.announced}")

    def test_the_manhole_does_not_quote_what_it_has_not_done(self) -> None:
        with redirect_stdout(StringIO()) as output:
            namespace(self.service, "x")["run"](
                f"wait 1h; set server b/s agent-send {SECRET}; set map m k {SECRET}; x y"
            )
        self.assertIn("Not done: set server b/s agent-send ...; set map m ...; x y", output.getvalue())


class WordsTests(OrdersTestCase):
    def test_words_are_left_out_wherever_they_stand(self) -> None:
        for message, said, expected in (
            ("'a b' is no number", "a b", "'...' is no number"),
            ("in 'abcd(efgh' at efgh", "abcd(efgh", "in '...' at ..."),
            ("abcdef is no abcd", "abcd", "abcdef is no ..."),
            (r"bad \g<abcd>", "abcd", r"bad \g<...>"),
            ("'a' is in abc", "a", "'...' is in abc"),
            ("nothing of it", "", "nothing of it"),
        ):
            self.assertEqual(without(message, said), expected)
        self.assertEqual(without("'upper' of 'upper(abcd'", "upper(abcd", ("upper",)), "'upper' of '...'")

    def test_a_key_whose_line_ends_are_lost_is_not_quoted_from_its_file(self) -> None:
        """It stands in the line of its dashes, and would be taken for the name of a block."""
        for read in (blocks_in, revoked_in):
            for content in (IN_ONE_LINE + "\n-----END X-----\n", KEY.replace("END PRIVATE", "END OTHER")):
                with self.assertRaises(TLSConfigurationError) as raised:
                    read("crt x", content.encode())
                self.assertNotIn(SECRET, str(raised.exception))
        self.assertIn("more than the name of a block", self.fault(IN_ONE_LINE + "\n-----END X-----\n"))
        expected = "a block -----BEGIN PRIVATE KEY----- does not end with -----END PRIVATE KEY-----"
        self.assertIn(expected, self.fault(KEY.replace("END PRIVATE", "END OTHER")))

    def fault(self, content: str) -> str:
        with self.assertRaises(TLSConfigurationError) as raised:
            blocks_in("crt x", content.encode())
        return str(raised.exception)
