"""What a client says of who it is: taken as HAProxy takes it, or not at all."""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.wire.credentials import Credentials, auth_scheme, basic_credentials


def basic(text: bytes, scheme: bytes = b"Basic ") -> bytes:
    return scheme + b64encode(text)


class BasicTests(SynchronousTestCase):
    def test_name_and_password_are_parted_at_the_first_colon(self) -> None:
        found = basic_credentials([basic(b"alice:se:cret")])
        self.assertEqual(found, Credentials(b"alice", b"se:cret"))

    def test_an_empty_password_is_one(self) -> None:
        self.assertEqual(basic_credentials([basic(b"alice:")]), Credentials(b"alice", b""))

    def test_names_are_bytes(self) -> None:
        """In whatever charset the client has written them."""
        self.assertEqual(basic_credentials([basic("zo\xeb:\xe4".encode())]), Credentials(b"zo\xc3\xab", b"\xc3\xa4"))

    def test_case_of_the_scheme_blanks_and_further_members(self) -> None:
        for value in (
            basic(b"a:b", b"bAsIC "),
            basic(b"a:b", b"Basic   "),
            basic(b"a:b") + b", Digest x",
            basic(b"a:b") + b" \t",
        ):
            found = basic_credentials([value])
            self.assertEqual((found and found.user, found and found.password), (b"a", b"b"), value)

    def test_what_is_no_name_and_password_is_none(self) -> None:
        for value in (
            b"Basic YTpi=",
            b"Basic YTpiYw===",
            b"Basic YTpiYw",
            b"",
            b"Basic",
            basic(b"a:b", b"Bearer "),
            basic(b"a:b", b"Basic\t"),
            basic(b"no colon"),
            basic(b":b"),
            basic(b"a:b") + b" x",
            basic(b"a:bcd").rstrip(b"="),
            b"Basic YTpi*",
            basic(b"a:b\0c"),
            basic(b"a\0:b"),
        ):
            self.assertIsNone(basic_credentials([value]), value)

    def test_two_fields_are_none(self) -> None:
        """Whatever stands in them: the server might look at the other one."""
        self.assertIsNone(basic_credentials([basic(b"a:b"), basic(b"a:b")]))

    def test_the_scheme_has_one_spelling_whatever_follows(self) -> None:
        """So that a rule that keeps one out is not evaded by another spelling."""
        for value, expected in (
            (basic(b"a:b"), b"Basic"),
            (basic(b"a:b", b" bAsIC  "), b"Basic"),
            (basic(b":b"), b"Basic"),
            (b"Basic *", b"Basic"),
            (b"BEARER abc", b"Bearer"),
            (b"Basic", None),
            (b"", None),
            (b"Digest x", None),
        ):
            self.assertEqual(auth_scheme([value]), expected, value)
        self.assertEqual(auth_scheme([b"Bearer a", b"Basic b"]), b"Bearer")
        self.assertIsNone(auth_scheme([]))

    def test_the_password_is_in_no_message(self) -> None:
        self.assertNotIn("secret", repr(basic_credentials([basic(b"a:secret")])))
