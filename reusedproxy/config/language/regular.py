"""Regular expressions: from what a configuration says, which is written for HAProxy's PCRE, to an engine's own syntax.

RE2 is the engine wherever it can be: its time is linear in what is matched, whatever the expression. What it cannot say
(look-around, back-references, atomic groups) is left to Python's `re`, which backtracks, so that a few bytes chosen by a client
can keep it busy for minutes; `Regular.why` is then the reason, to be told to the operator. Both match bytes: no expression here knows
a character beyond ASCII, as HAProxy's do not.
"""

from __future__ import annotations

import re

import re2
from attrs import frozen

from reusedproxy.config.language.report import Wrong

#: Bytes that one expression may take, its program and the automaton that it builds while it matches (RE2's own default).
MEMORY = 8 * 1024 * 1024
#: Instructions of RE2 (about one for each character; a counted repetition has all its copies). More is refused.
LONGEST_PROGRAM = 16 * 1024
#: Processor time for one match, and bytes that are looked at, where the engine backtracks.
BACKTRACKING_SECONDS = 0.05
BACKTRACKING_BYTES = 4096

#: PCRE's classes by name, and what they are for Python, which has no names for them; a set of them may have others beside.
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
#: PCRE's; RE2 takes what is far beyond it for characters.
LARGEST_COUNT = 65535
_NAMED_GROUP = re.compile(r"\(\?(?:P?<([A-Za-z_]\w*)>|'([A-Za-z_]\w*)')")


@frozen
class Regular:
    """An expression that can be used. One of the two engines has it; `why` says what RE2 could not do, "" when it could.

    With `before_newline` it has a `$`, which in PCRE is also true before a newline that ends the text, in RE2 only at the end.
    """

    text: str
    linear: re2._Regexp | None
    backtracking: re.Pattern[bytes] | None
    why: str = ""
    before_newline: bool = False


def read_regular(text: str, what: str, ignore_case: bool = False) -> Regular:
    """The expression that `text` is; `what` begins each message. Raises Wrong."""
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
    "is too large: it takes more than 16384 instructions (one for each character or set, and a repetition {n} has n copies);"
    " split it into several patterns, or repeat less"
)


def risk(text: str) -> str:
    """What an operator should know of this expression before clients do; "" when RE2 has it. It has been read already."""
    why = read_regular(text, "").why
    if not why:
        return ""
    return (
        f"the regular expression '{shortened(text)}' has what RE2 cannot do in linear time ({why}), so it is matched by"
        f" backtracking, which a client can make slow: it looks at no more than {BACKTRACKING_BYTES} bytes for"
        f" {BACKTRACKING_SECONDS * 1000:.0f} ms, and a request for which that is not enough is answered with 500; write it"
        " without look-around, back-references and atomic groups"
    )


def linear_alternative(texts: list[str], ignore_case: bool) -> re2._Regexp | None:
    """One expression that is found where one of these is; None: RE2 does not take it, or not in a reasonable size. Each has
    been read as one by itself."""
    patterns = (_Translation(text, "", ignore_case, for_python=False).made()[0] for text in texts)
    try:
        made = re2.compile(b"|".join(b"(?:%b)" % pattern for pattern in patterns), _options(ignore_case))
    except re2.error:
        return None
    return made if made.programsize <= LONGEST_PROGRAM // 4 else None


def _options(ignore_case: bool) -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # each byte is a character, as in HAProxy
    options.max_mem = MEMORY
    options.case_sensitive = not ignore_case
    options.log_errors = False
    return options


def _words(error: re2.error) -> str:
    """RE2's message; its module raises it as bytes."""
    said = error.args[0] if error.args else b""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


def shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


class _Translation:
    """One expression on its way from PCRE's syntax to an engine's."""

    def __init__(self, text: str, what: str, ignore_case: bool, *, for_python: bool) -> None:
        self._text = text
        self._what = what
        self._ignore_case = ignore_case
        self._for_python = for_python
        self._at = 0
        self._out: list[str] = []
        self._before_newline = False

    def made(self) -> tuple[bytes, bool]:
        """The engine's pattern, and whether a `$` is in it that RE2 takes too narrowly. Raises Wrong."""
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
                f"{self._what}: the regular expression '{shortened(self._text)}' repeats something more than {LARGEST_COUNT} times"
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
        """An escape that is one character, in a set or outside, or that both engines write as PCRE does."""
        rest = self._text[self._at + 2 :]
        if letter == "e":
            self._take(2, r"\x1b")
        elif letter == "c" and rest[:1].isascii() and rest[:1].isprintable():
            self._take(3, f"\\x{ord(rest[0].upper()) ^ 64:02x}")
        elif letter == "x" and (found := re.match(r"\{([0-9A-Fa-f]{1,2})\}", rest)):
            self._take(2 + len(found[0]), f"\\x{int(found[1], 16):02x}")
        else:
            self._take(2, "\\" + letter)

    def _take_literally(self) -> None:
        r"""From \Q to \E, or to the end."""
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
        """From [ to ]."""
        begin = 2 if self._text.startswith("[^", self._at) else 1
        self._take(begin, self._text[self._at : self._at + begin])
        if self._text.startswith("]", self._at):
            self._take(1, r"\]")
        several = False  # whether what came last was a class: a hyphen behind it is only a hyphen
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
        """A class by its name, within a set."""
        end = self._text.index(":]", self._at + 2)
        name = self._text[self._at + 2 : end]
        whole = f"[:{name}:]"
        if name.removeprefix("^") not in _CLASS_MEMBERS or (self._for_python and name.startswith("^")):
            raise Wrong(f"{self._what}: the regular expression '{self._text}' has an unknown class {whole}")
        self._take(len(whole), _CLASS_MEMBERS[name] if self._for_python else whole)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # as files of patterns are read
