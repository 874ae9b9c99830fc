"""Translates regular expressions from a configuration, which are written for HAProxy's PCRE, into an engine's own
syntax.

RE2 is used wherever possible: its time is linear in the length of the subject, whatever the expression. What RE2 does
not support (look-around, back-references, atomic groups) is left to Python's `re`. That engine backtracks, so that a
few bytes chosen by a client can keep it busy for minutes; `Regular.why` then has the reason, to be shown to the
operator. Both engines match bytes: as in HAProxy, no expression knows a character beyond ASCII.

RE2 takes 3 MiB, so it is loaded with the first expression.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

from reusedproxy.config.language.report import Wrong

if TYPE_CHECKING:
    import re2

#: Memory limit in bytes for one expression: its program and the automaton built while matching (RE2's own default).
MEMORY = 8 * 1024 * 1024
#: Largest program in RE2 instructions: about one for each character, n of each for {n}. A larger one is refused.
LONGEST_PROGRAM = 16 * 1024
#: Limits for the backtracking engine: processor time for one match, and bytes of the subject.
BACKTRACKING_SECONDS = 0.05
BACKTRACKING_BYTES = 4096

#: PCRE's named classes, written as members of a set for Python, which does not know the names.
_CLASS_MEMBERS = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9A-Fa-f",
}
#: PCRE's escapes for several characters (pcrepattern(3), "Generic character types"), as members of a set.
_SETS = {"h": r"\t \xa0", "v": r"\n\x0b\f\r\x85", "s": r"\t\n\x0b\f\r "}
_COUNT_WITHOUT_LEAST = re.compile(r"\{,[0-9]+\}")
_COUNT = re.compile(r"\{0*([0-9]*)(?:,0*([0-9]*))?\}")
#: PCRE's limit for a repetition. RE2 takes a count far beyond it for literal characters.
LARGEST_COUNT = 65535
_NAMED_GROUP = re.compile(r"\(\?(?:P?<([A-Za-z_]\w*)>|'([A-Za-z_]\w*)')")


@frozen
class Regular:
    """Holds a compiled expression, of one of the two engines. `why` says what RE2 does not support; "" when RE2
    has compiled it.

    `before_newline` is set when the expression contains a `$`. In PCRE that also matches before a newline that ends the
    text, in RE2 at the very end only.
    """

    text: str
    linear: re2._Regexp | None
    backtracking: re.Pattern[bytes] | None
    why: str = ""
    before_newline: bool = False


def read_regular(text: str, what: str, ignore_case: bool = False) -> Regular:
    """Compiles the expression `text`; `what` begins each message. Raises Wrong."""
    import re2

    pattern, before_newline = _Translation(text, what, ignore_case, for_python=False).made()
    try:
        linear = re2.compile(pattern, _options(ignore_case))
    except re2.error as error:
        why = _words(error)
        if "too large" in why:
            raise Wrong(f"{what}: the regular expression '{shortened(text)}' {_TOO_LARGE}") from None
    else:
        if linear.programsize > LONGEST_PROGRAM:
            raise Wrong(f"{what}: the regular expression '{shortened(text)}' {_TOO_LARGE}")
        return Regular(text, linear, None, before_newline=before_newline)
    pattern, _ = _Translation(text, what, ignore_case, for_python=True).made()
    try:
        backtracking = re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except (
        re.error,
        OverflowError,
        RecursionError,
        ValueError,
    ) as error:  # ValueError: a number of thousands of digits
        raise Wrong(
            f"{what}: the regular expression '{shortened(text)}' cannot be read: {shortened(str(error))}"
        ) from None
    return Regular(text, None, backtracking, why)


_TOO_LARGE = (
    "is too large: it takes more than 16384 instructions (one for each character or set, and a repetition {n} has n"
    " copies); split it into several patterns, or repeat less"
)


def risk(text: str) -> str:
    """Returns the warning about an expression that RE2 does not support; "" for one that it does. The expression must
    have been read successfully before."""
    return risk_of(read_regular(text, ""))


def risk_of(read: Regular) -> str:
    """Returns the warning of `risk`, of an expression that has been read."""
    if not read.why:
        return ""
    return (
        f"the regular expression '{shortened(read.text)}' has what RE2 cannot do in linear time ({read.why}),"
        " so it is matched by backtracking, which a client can make slow: it looks at no more than"
        f" {BACKTRACKING_BYTES} bytes for {BACKTRACKING_SECONDS * 1000:.0f} ms, and a request for"
        " which that is not enough is refused: with 500, by 'monitor fail' with 503, or without an answer in mode tcp;"
        " write it without look-around, back-references and atomic groups"
    )


def linear_alternative(texts: list[str], ignore_case: bool) -> re2._Regexp | None:
    """Returns one RE2 expression that matches where any of `texts` matches.

    Returns None if RE2 does not support one of them, or the program exceeds a quarter of the limit. Each text must have
    been read successfully before.
    """
    import re2

    patterns = (_Translation(text, "", ignore_case, for_python=False).made()[0] for text in texts)
    try:
        made = re2.compile(b"|".join(b"(?:%b)" % pattern for pattern in patterns), _options(ignore_case))
    except re2.error:
        return None
    return made if made.programsize <= LONGEST_PROGRAM // 4 else None


def _options(ignore_case: bool) -> re2.Options:
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # each byte is a character, as in HAProxy
    options.max_mem = MEMORY
    options.case_sensitive = not ignore_case
    options.log_errors = False
    return options


def _words(error: re2.error) -> str:
    """Returns RE2's message as text; its module raises bytes."""
    said = error.args[0] if error.args else b""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


def shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


class _Translation:
    """Translates one expression from PCRE's syntax to an engine's."""

    def __init__(self, text: str, what: str, ignore_case: bool, *, for_python: bool) -> None:
        self._text = text
        self._what = what
        self._ignore_case = ignore_case
        self._for_python = for_python
        self._at = 0
        self._out: list[str] = []
        self._before_newline = False

    def made(self) -> tuple[bytes, bool]:
        """Returns the engine's pattern, and whether it contains a `$` whose meaning in RE2 is narrower
        than in PCRE. Raises Wrong."""
        while self._at < len(self._text):
            character = self._text[self._at]
            if character == "\\":
                self._escape()
            elif character == "[":
                self._set()
            elif character == "(":
                self._group()
            elif character == "{" and (count := _COUNT_WITHOUT_LEAST.match(self._text, self._at)):
                self._take(len(count[0]), "\\" + count[0])  # PCRE 10.42: no repetition, but these characters
            elif character == "{" and (count := _COUNT.match(self._text, self._at)):
                self._take(len(count[0]), self._counted(count))
            elif character == "$":
                self._take(1, self._end_of_text())
            elif self._ignore_case and not character.isascii() and not self._for_python:
                # RE2 takes bytes above 127 for Latin-1, which has upper and lower case; PCRE compares them as they are.
                self._take(1, "".join(f"(?-i:\\x{byte:02x})" for byte in _encoded(character)))
            else:
                self._take(1, character)
        return _encoded("".join(self._out)), self._before_newline

    def _take(self, length: int, instead: str) -> None:
        self._at += length
        self._out.append(instead)

    def _counted(self, count: re.Match[str]) -> str:
        if any(each and (len(each) > 5 or int(each) > LARGEST_COUNT) for each in count.groups()):
            raise Wrong(
                f"{self._what}: the regular expression '{shortened(self._text)}' repeats something more than"
                f" {LARGEST_COUNT} times"
            )
        return count[0]

    def _end_of_text(self) -> str:
        self._before_newline = True
        return "$"

    def _escape(self) -> None:
        letter = self._text[self._at + 1 : self._at + 2]
        if letter == "Q":
            self._take_literally()
        elif letter == "R":
            self._take(2, r"(?:\r\n|[\n\x0b\f\r\x85])")
        elif letter == "N":
            self._take(2, r"[^\n]")
        elif letter == "Z":
            self._take(2, self._end_of_text())
        elif letter == "z" and self._for_python:
            self._take(2, r"\Z")
        elif letter and letter in "hvs":
            self._take(2, f"[{_SETS[letter]}]")
        elif letter and letter in "HVS":
            self._take(2, f"[^{_SETS[letter.lower()]}]")
        else:
            self._one_character(letter)

    def _one_character(self, letter: str) -> None:
        """Translates an escape for one character, inside a set or outside, or one that both
        engines write as PCRE does."""
        rest = self._text[self._at + 2 :]
        if letter == "e":
            self._take(2, r"\x1b")
        elif letter == "c" and rest and rest[:1].isascii() and rest[:1].isprintable():
            self._take(3, f"\\x{ord(rest[0].upper()) ^ 64:02x}")
        elif letter == "x" and (found := re.match(r"\{([0-9A-Fa-f]{1,2})\}", rest)):
            self._take(2 + len(found[0]), f"\\x{int(found[1], 16):02x}")
        else:
            self._take(2, "\\" + letter)

    def _take_literally(self) -> None:
        r"""Quotes the text from \Q to \E, or to the end of the expression."""
        begin = self._at + 2
        end = self._text.find("\\E", begin)
        inner = self._text[begin:] if end < 0 else self._text[begin:end]
        self._take(len(inner) + (2 if end < 0 else 4), re.escape(inner))

    def _group(self) -> None:
        if self._text.startswith("(?#", self._at):
            end = self._text.find(")", self._at)
            if end < 0:
                raise Wrong(f"{self._what}: the regular expression '{self._text}' has a comment '(?#' without an end")
            self._at = end + 1
        elif found := _NAMED_GROUP.match(self._text, self._at):
            self._take(len(found[0]), f"(?P<{found[1] or found[2]}>")
        else:
            self._take(1, "(")

    def _set(self) -> None:
        """Translates a set, from [ to ]."""
        begin = 2 if self._text.startswith("[^", self._at) else 1
        self._take(begin, self._text[self._at : self._at + begin])
        if self._text.startswith("]", self._at):
            self._take(1, r"\]")
        several = False  # the last member was a class: a hyphen after it is literal
        while self._at < len(self._text):
            character = self._text[self._at]
            if character == "]":
                self._take(1, "]")
                return
            if character == "-" and several:
                self._take(1, r"\-")
                several = False
            elif self._text.startswith("[:", self._at) and ":]" in self._text[self._at + 2 :]:
                self._class()
                several = True
            elif character == "[":
                self._take(1, r"\[")
                several = False
            elif character == "\\":
                letter = self._text[self._at + 1 : self._at + 2]
                several = bool(letter) and letter in "dwshvDWS"
                if letter == "Q":
                    self._take_literally()
                elif letter and letter in _SETS:
                    self._take(2, _SETS[letter])
                elif letter == "b":
                    self._take(2, r"\x08")
                else:
                    self._one_character(letter)
            else:
                self._take(1, character)
                several = False

    def _class(self) -> None:
        """Translates a named class within a set. Raises Wrong for an unknown name."""
        end = self._text.index(":]", self._at + 2)
        name = self._text[self._at + 2 : end]
        whole = f"[:{name}:]"
        if name.removeprefix("^") not in _CLASS_MEMBERS or (self._for_python and name.startswith("^")):
            raise Wrong(f"{self._what}: the regular expression '{self._text}' has an unknown class {whole}")
        self._take(len(whole), _CLASS_MEMBERS[name] if self._for_python else whole)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # as pattern files are decoded
