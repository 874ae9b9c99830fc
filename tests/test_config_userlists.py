"""`userlist` sections, and who may ask them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import ConfigurationError
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.config.rules.actions import Authenticate
from tests.rulefakes import DEFAULTS


def read(users: str, rules: str = "") -> Configuration:
    frontend = f"{DEFAULTS}frontend fe\n bind :80\n{rules}\n default_backend be\nbackend be\n server s h:1\n"
    return read_configuration([Source("t.cfg", f"userlist L\n{users}\n{frontend}")], {})


def faults(users: str, rules: str = "") -> list[str]:
    try:
        read(users, rules)
    except ConfigurationError as error:
        return [str(fault) for fault in error.faults]
    return []


class UserListTests(SynchronousTestCase):
    def test_users_have_the_groups_of_both_lines(self) -> None:
        users = " group a users x,y\n group b\n user x password $1$a$b groups b\n user y insecure-password 'a b'"
        found = read(users).user_lists["L"].users
        self.assertEqual((found["x"].groups, found["x"].hashed), ({"a", "b"}, True))
        self.assertEqual((found["y"].groups, found["y"].hashed, found["y"].password), ({"a"}, False, "a b"))

    def test_no_password_is_shown(self) -> None:
        self.assertNotIn("secret", repr(read(" user x insecure-password secret")))
        self.assertNotIn("secret", "".join(faults(" user x secret")))

    def test_a_user_without_a_password_is_warned_of(self) -> None:
        """HAProxy 2.6 ends with a segmentation fault when that user logs in."""
        (notice,) = [each for each in read(" user x").notices if "password" in each.text]
        self.assertIn("nobody can log in", notice.text)

    def test_faults_have_their_line(self) -> None:
        for users, text in (
            (" user x insecure-password a groups no", "t.cfg:2: userlist 'L' has no group 'no'"),
            (" group g users no", "t.cfg:2: userlist 'L' has no user 'no'"),
            (" user x insecure-password a\n user x insecure-password b", "t.cfg:3: user 'x' stands already at t.cfg:2"),
            (" group g\n group g", "t.cfg:3: group 'g' stands already at t.cfg:2"),
            (" user x password a insecure-password b", "t.cfg:2: user 'x' has two passwords: one is enough"),
            (" user x password", "t.cfg:2: user 'x': 'password' needs a value"),
            (" user", "t.cfg:2: 'user' needs a name"),
            (" users x", "t.cfg:2: unknown keyword 'users' in section 'userlist': did you mean 'user'?"),
            (" group g x", "t.cfg:2: group 'g': after the name can follow 'users' and their names, not 'x'"),
            (
                " user a:b insecure-password c",
                "t.cfg:2: user 'a:b': a client's name ends at its first colon, so nobody can log in as this user",
            ),
        ):
            self.assertEqual(faults(users), [text])

    def test_two_sections_of_one_name_are_refused(self) -> None:
        self.assertEqual(faults("userlist L"), ["t.cfg:2: userlist 'L' stands already at t.cfg:1"])

    def test_a_list_that_is_asked_must_exist(self) -> None:
        for rule in ("acl a http_auth(M)", "http-request auth unless { http_auth_group(M) g }"):
            self.assertEqual(faults("", rule), ["t.cfg:10: there is no userlist 'M'"])

    def test_a_list_that_a_server_or_a_page_asks_must_exist(self) -> None:
        """And a server's must not have hashes: no connection waits until one is checked."""
        for line in (
            'http-error status 403 content-type a/b lf-string "%[http_auth_group(M)]"',
            "server t h:1 send-proxy-v2 set-proxy-v2-tlv-fmt(0xE5) %[http_auth_group(M)]",
            "server t h:1 pool-conn-name http_auth_group(M)",
        ):
            self.assertIn("there is no userlist 'M'", "\n".join(self.faults_of_backend(line)), line)
            self.assertEqual(self.faults_of_backend(line.replace("(M)", "(L)")), [])
        (fault,) = self.faults_of_backend("server t h:1 pool-conn-name http_auth_group(H)")
        self.assertIn("server 't' asks userlist 'H', whose passwords are hashed", fault)
        for line in (
            'http-error status 403 content-type a/b lf-string "%[nbsrv(none)]"',
            "server t h:1 pool-conn-name nbsrv(none)",
        ):
            self.assertIn("there is no backend 'none'", "\n".join(self.faults_of_backend(line)), line)

    def faults_of_backend(self, line: str) -> list[str]:
        lists = " user x insecure-password a\nuserlist H\n user y password $1$a$b\n"
        text = f"userlist L\n{lists}{DEFAULTS}frontend fe\n bind :80\n default_backend be\nbackend be\n {line}\n"
        try:
            read_configuration([Source("t.cfg", text + " server s h:1\n")], {})
        except ConfigurationError as error:
            return [fault.text for fault in error.faults]
        return []

    def test_a_group_that_is_asked_for_must_exist(self) -> None:
        """Or a rule that is to keep its members out keeps nobody out."""
        users = " group g users x\n user x insecure-password a"
        for rule, text in (
            ("http-request deny if { http_auth_group(L) h }", "userlist 'L' has no group 'h'"),
            ("http-request deny if { http_auth_group(L) -i G }", "userlist 'L' has no group 'G'"),
            ("acl a http_auth_group(L) g grp", "userlist 'L' has no group 'grp'"),
            *(
                (f"http-request deny if {{ http_auth_group(L){other} }}", "is compared with names of groups alone")
                for other in (
                    ",lower g",
                    " -m str y",
                    " -m str -i G",
                    " -m beg g",
                    " -m reg ^g",
                    " -m found",
                    " -m bool",
                )
            ),
            ("http-request deny if { http_auth_group(L) }", "'http_auth_group(L)' needs names of groups behind it"),
        ):
            (fault,) = faults(users, f" {rule}")
            self.assertIn(text, fault)
        self.assertEqual(faults(users, " http-request deny if { http_auth_group(L) g }"), [])
        self.assertEqual(faults(users, " http-request set-header X %[http_auth_group(L),lower]"), [])


class AuthTests(SynchronousTestCase):
    def test_the_realm(self) -> None:
        rules = read("", " http-request auth realm 'my place' if FALSE\n http-request auth").frontends["fe"].rules
        self.assertEqual([rule.action for rule in rules.request], [Authenticate("my place"), Authenticate()])

    def test_a_backslash_takes_the_meaning_of_a_character_in_the_realm(self) -> None:
        """It is sent as it is written, as in HAProxy, within quotes."""
        for said, realm in ((r"Stats\ \(dev\)", r"Stats \(dev\)"), (r"'a\"b'", r"a\"b"), (r"'a\\'", "a\\\\")):
            (rule,) = read("", f" http-request auth realm {said}").frontends["fe"].rules.request
            self.assertEqual(rule.action, Authenticate(realm))
        for said in ("'a\\'", "'a\\\\\\'", "'\"'"):
            (fault,) = faults("", f" http-request auth realm {said}")
            self.assertIn("cannot stand in a header: no control character can, and a quote or a backslash", fault)

    def test_what_cannot_stand_there(self) -> None:
        for words, text in (
            ("auth x", "'http-request auth': 'realm' and its text can follow, not 'x'"),
            ("auth realm", "'http-request auth': 'realm' needs one text (one word, or quoted)"),
            ("auth realm 'a\"b'", "'http-request auth': the realm 'a\"b' cannot stand in a header:"),
        ):
            (fault,) = faults("", f" http-request {words}")
            self.assertIn(text, fault)
