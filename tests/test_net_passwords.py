"""Passwords against hashes: by the system's crypt(3), in a thread, with bounds."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Event

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net import passwords as module
from reusedproxy.net.passwords import (
    OF_NETWORK,
    UNPROVEN,
    WAITING,
    WAITING_OF_ONE,
    WRONG_KEPT,
    Passwords,
    crypt,
    trouble_with,
)

HASH = b"$5$rounds=1000$abcdefgh$okyjw/83AAX.UipXCtjVrkKTDWdqFQkp6Bg/O6/KuPB"


class Loop:
    """A reactor that runs what its thread hands over when a test says so."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        self.calls.put(lambda: call(*args))

    def run(self, count: int = 1) -> None:
        for _ in range(count):
            self.calls.get(timeout=10)()


def same(password: bytes, hashed: bytes) -> bytes:
    """In place of crypt(3): a password is its own hash."""
    return password


class CryptTests(SynchronousTestCase):
    def test_it_is_the_system_s(self) -> None:
        if module._library() is None:
            self.skipTest("no libcrypt")
        self.assertEqual(crypt(b"hello", HASH), HASH)
        self.assertNotEqual(crypt(b"hellO", HASH), HASH)

    def test_a_password_that_it_cannot_take_has_no_hash(self) -> None:
        self.assertIsNone(crypt(b"x" * 600, HASH))
        self.assertIsNone(crypt(b"hello\0", HASH))
        self.assertIsNone(crypt(b"hello", b"*0"))

    def test_trouble_with_a_hash_is_told_before_anybody_logs_in(self) -> None:
        if module._library() is None:
            self.skipTest("no libcrypt")
        self.assertEqual(trouble_with(HASH.decode()), "")
        self.assertIn("mkpasswd", trouble_with("secret!"))


class PasswordsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = Loop()
        self.told: list[str] = []

    def made(self, crypt: Callable[[bytes, bytes], bytes | None] = same) -> Passwords:
        return Passwords(self.loop, crypt)

    def tell(self, word: str = "told") -> Callable[[], None]:
        return lambda: self.told.append(word)

    def test_what_was_found_out_is_kept(self) -> None:
        passwords = self.made()
        self.assertIsNone(passwords.known(b"a", b"a"))
        self.assertTrue(passwords.check(b"a", b"a", "host", self.tell()))
        self.assertTrue(passwords.check(b"b", b"a", "host", self.tell()))
        self.loop.run(2)
        self.assertEqual((passwords.known(b"a", b"a"), passwords.known(b"b", b"a")), (True, False))
        self.assertEqual((self.told, passwords.waiting), (["told", "told"], 0))

    def test_hash_and_password_are_kept_apart(self) -> None:
        """The bytes of one never count as bytes of the other."""
        passwords = self.made()
        passwords.check(b"bc", b"bc", "host", self.tell())
        self.loop.run()
        self.assertIsNone(passwords.known(b"cbc", b"b"))

    def test_equal_questions_are_one(self) -> None:
        passwords = self.made()
        for word in "abcdef":
            self.assertTrue(passwords.check(b"a", b"a", "host", self.tell(word)))
        self.loop.run()
        self.assertEqual(self.told, [*"abcdef"])
        self.assertTrue(self.loop.calls.empty())

    def test_guesses_of_one_address_wait_for_each_other(self) -> None:
        """Others are not kept waiting by them, and the number of all is bounded."""
        hold = Event()
        self.addCleanup(hold.set)

        def held(password: bytes, hashed: bytes) -> bytes:
            hold.wait(10)
            return password

        passwords = self.made(held)
        taken = [passwords.check(b"%d" % number, b"x", "one", self.tell()) for number in range(WAITING_OF_ONE + 1)]
        self.assertEqual(taken, [True] * WAITING_OF_ONE + [False])
        others = [
            passwords.check(b"o%d" % number, b"x", number, self.tell(), network=number) for number in range(WAITING)
        ]
        most = int(WAITING * UNPROVEN)
        self.assertEqual(others.count(True), most - WAITING_OF_ONE)
        hold.set()
        self.loop.run(most)
        self.assertEqual((passwords.waiting, len(self.told)), (0, most))
        self.assertTrue(passwords.check(b"again", b"x", "one", self.tell()))
        self.loop.run()

    def test_a_share_is_for_those_from_whom_a_right_password_has_come(self) -> None:
        """However many addresses guess; and one network has not all of the rest."""
        passwords = self.made()
        for source in range(3):
            passwords.check(b"x", b"x", source, self.tell(), b"%d" % source)
            self.loop.run()
        hold = Event()
        self.addCleanup(hold.set)
        self.patch(passwords, "_crypt", lambda password, hashed: hold.wait(10) and password)

        def asked(source: object, network: object) -> bool:
            self.asked += 1
            return passwords.check(b"%d" % self.asked, b"x", source, self.tell(), network=network)

        self.asked = 0
        of_one = [asked(f"a{number}", "net") for number in range(WAITING)]
        self.assertEqual(of_one.count(True), WAITING * OF_NETWORK)
        others = [asked(f"b{number}", number) for number in range(WAITING)]
        self.assertEqual(others.count(True), WAITING * (UNPROVEN - OF_NETWORK))
        proven = [asked(source, "net") for source in range(3) for _ in range(WAITING_OF_ONE + 1)]
        self.assertEqual(proven.count(True), 3 * WAITING_OF_ONE)
        hold.set()
        self.loop.run(passwords.waiting)
        self.assertEqual((passwords._of, passwords._of_network), ({}, {}))

    def test_no_more_wait_than_can_be_checked_in_time(self) -> None:
        """Of hashes that take 4 seconds each, three: the third has to wait for two others."""
        clock = iter(range(0, 10**6, 4))
        passwords = Passwords(self.loop, same, lambda: float(next(clock)))
        passwords.check(b"first", b"x", "first", self.tell())
        self.loop.run()
        hold = Event()
        self.addCleanup(hold.set)
        self.patch(passwords, "_crypt", lambda password, hashed: hold.wait(10) and password)
        taken = [passwords.check(b"%d" % number, b"x", number, self.tell(), network=number) for number in range(6)]
        self.assertEqual(taken, [True, True, False, False, False, False])
        passwords._proven["known"] = None
        taken = [passwords.check(b"k%d" % number, b"x", "known", self.tell()) for number in range(2)]
        self.assertEqual(taken, [True, False])
        hold.set()
        self.loop.run(3)

    def test_guesses_do_not_push_out_who_has_logged_in(self) -> None:
        passwords = self.made()
        passwords.check(b"a", b"a", "host", self.tell())
        self.loop.run()
        for number in range(WRONG_KEPT + 10):
            passwords.check(b"guess%d" % number, b"a", "other", self.tell())
            self.loop.run()
        self.assertTrue(passwords.known(b"a", b"a"))
        self.assertIsNone(passwords.known(b"guess0", b"a"))
        self.assertFalse(passwords.known(b"guess%d" % (WRONG_KEPT + 9), b"a"))

    def test_a_fault_of_the_library_lets_nobody_in(self) -> None:
        def broken(password: bytes, hashed: bytes) -> bytes:
            raise OSError("no memory")

        passwords = self.made(broken)
        passwords.check(b"a", b"a", "host", self.tell())
        self.loop.run()
        self.assertFalse(passwords.known(b"a", b"a"))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
