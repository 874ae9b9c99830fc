"""How a line becomes words: quotes, escapes, variables and comments, beside what HAProxy itself makes of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from unittest import SkipTest

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.language.words import split_words

ENVIRONMENT = {"LIST": "one two", "EMPTY": "", "WORD": "w"}

# A line, and the words that it becomes.
SPLIT = [
    (r"", []),
    (r"   ", []),
    (r"# a comment", []),
    (r"mode http", ["mode", "http"]),
    ("\tmode \t http  ", ["mode", "http"]),
    (r"a#b c", ["a"]),
    (r"a\#b", ["a#b"]),
    (r'"a#b"', ["a#b"]),
    (r"a\ b", ["a b"]),
    (r""""a b"'c d'""", ["a bc d"]),
    (r'""', [""]),
    (r"''", [""]),
    (r'a""', ["a"]),
    (r"'\x41'", [r"\x41"]),
    (r"\xc3\xa9", ["é"]),
    (r'"\xe2\x82\xac"x', ["€x"]),
    (r"\x41", ["A"]),
    (r'"\x41"', ["A"]),
    (r"\q", [r"\q"]),
    (r'"\q"', [r"\q"]),
    (r'"\""', ['"']),
    (r"\'", ["'"]),
    (r'"a"\n', ["a\n"]),
    (r"HTTP/1.1\r\nHost:\ x", ["HTTP/1.1\r\nHost: x"]),
    (r"trail\\", ["trail\\"]),
    ("trail\\", ["trail\\"]),
    (r"$WORD", ["$WORD"]),
    (r"\$WORD", [r"\$WORD"]),
    (r"'$WORD'", ["$WORD"]),
    (r'"\$WORD"', ["$WORD"]),
    (r'"$WORD"', ["w"]),
    (r'"${WORD}x"', ["wx"]),
    (r'"$WORD-x"', ["w-x"]),
    (r'"$WORD$WORD"', ["ww"]),
    (r'"$LIST"', ["one two"]),
    (r'"${EMPTY}"', [""]),
    (r'"$NOPE"', [""]),
]
# These have several words or none, or are about the default, which HAProxy 2.6.12 does not manage.
SPLIT_OURS = [
    (r'"${LIST[*]}"', ["one", "two"]),
    (r'"x${LIST[*]}y"', ["xone", "twoy"]),
    (r'a "${EMPTY[*]}" b', ["a", "b"]),
    (r'"x${EMPTY[*]}"', ["x"]),
    (r'"${NOPE-default value}"', ["default value"]),
    (r'"${NOPE-}"', [""]),
    (r'"${EMPTY-x}"', [""]),
    (r'"${WORD-x}"', ["w"]),
    (r'"${NOPE[*]-a b}"', ["a", "b"]),
]
# A line that cannot be split, and what has to be said about it.
REFUSED = [
    (r'foo "a b', 'the quote " opened at column 5 is never closed'),
    (r"foo 'a b", "the quote ' opened at column 5 is never closed"),
    (r"'\''", "never closed"),
    (r"\x4", "hexadecimal"),
    (r"\xg0", "hexadecimal"),
    (r"\x00", "NUL"),
    (r'a "b\xff"', r"the byte 0xff is no character in UTF-8"),
    (r"\xc3\ \xa9", r"the byte 0xc3 is no character"),
    ("a\0b", "NUL"),
    ("a\rb", "carriage return"),
    (r'"$"', "name of a variable"),
    (r'"$1"', "name of a variable"),
    (r'"${WORD"', "brace"),
    (r'"${WORD!}"', "brace"),
    (r'"${WORD-x"', "brace"),
]


def quoted(word: str) -> str:
    """`word` so written that it is one word whatever is in it."""
    escapes = {"\n": "\\n", "\r": "\\r", "\\": "\\\\", '"': '\\"', "$": "\\$"}
    return '"' + "".join(escapes.get(character, character) for character in word) + '"'


class WordSplittingTests(SynchronousTestCase):
    """A line is cut into words as HAProxy cuts it."""

    def test_each_line_of_the_table_becomes_its_words(self) -> None:
        """Quotes, escapes, variables and comments mean what the manual says."""
        for line, words in SPLIT + SPLIT_OURS:
            self.assertEqual(list(split_words(line, ENVIRONMENT.get)), words, line)

    def test_what_cannot_be_split_is_refused_with_its_column(self) -> None:
        """The message names what is wrong, and where in the line."""
        for line, text in REFUSED:
            wrong = self.assertRaises(Wrong, split_words, line, ENVIRONMENT.get)
            self.assertIn(text, str(wrong), line)

    def test_haproxy_makes_the_same_words_of_the_same_lines(self) -> None:
        """The table above is HAProxy's behaviour and not our wish: the installed program is asked."""
        if not (haproxy := shutil.which("haproxy")):
            raise SkipTest("haproxy is not installed (apt-get install haproxy)")
        rows = [(line, words[0]) for line, words in SPLIT if len(words) == 1]
        with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
            path = file.name
            file.writelines(f".notice {line}\n" for line, _ in rows)
            file.flush()
            result = subprocess.run([haproxy, "-c", "-f", path], env=ENVIRONMENT, capture_output=True)
        said = dict(re.findall(rf"\[{re.escape(path)}:(\d+)\]: '(.*?)'\.$", result.stderr.decode(), re.S | re.M))
        for number, (line, word) in enumerate(rows, 1):
            self.assertEqual(said.get(str(number)), word, line)

    @settings(deadline=None)
    @given(st.text())
    def test_any_text_is_words_or_a_fault(self, text: str) -> None:
        """Nothing but the splitter's own exception ever comes out, whatever goes in."""
        try:
            words = split_words(text, ENVIRONMENT.get)
        except Wrong:
            return
        self.assertTrue(all(isinstance(word, str) for word in words))

    @settings(deadline=None)
    @given(st.text(alphabet=" \t'\"\\$#{}[]*-_.xnWORDLIST\r\n01"))
    def test_any_text_of_special_characters_is_words_or_a_fault(self, text: str) -> None:
        """As above, with the characters that mean something drawn more often."""
        try:
            split_words(text, ENVIRONMENT.get)
        except Wrong as wrong:
            self.assertTrue(str(wrong))

    @settings(deadline=None)
    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
    def test_quoted_words_come_back_as_they_were(self, words: list[str]) -> None:
        """Weak quotes can carry every character but NUL."""
        self.assertEqual(list(split_words(" ".join(map(quoted, words)), ENVIRONMENT.get)), words)
