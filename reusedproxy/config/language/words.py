"""Splits one configuration line into words, as HAProxy does (manual, sections 2.2 and 2.3).

Works on text alone: quotes, escapes, comments, and variables inside double quotes, whose values come from a lookup
function. Where manual and program disagree, the program is followed: `\\$` outside of quotes keeps its backslash (seen
in HAProxy 2.6). Must never know a keyword.
"""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_letters, digits, hexdigits

from attrs import Factory, define

from reusedproxy.config.language.report import Wrong

Lookup = Callable[[str], "str | None"]

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", " ": " ", "\t": "\t", "#": "#", "\\": "\\", "'": "'", '"': '"'}
_NAME_START = ascii_letters + "_."
_NAME = ascii_letters + digits + "_"


def split_words(line: str, lookup: Lookup) -> tuple[str, ...]:
    """Returns the words of `line`, which has no line end any more. Raises `Wrong` and nothing else."""
    return _Splitter(line, lookup).run()


def unset_variables(line: str, lookup: Lookup) -> tuple[tuple[int, str], ...]:
    """Returns the variables of `line` without value and without default: the word's index, counted from 0, and the
    name.

    A list (`${NAME[*]}`) may be empty and is not returned. Raises Wrong.
    """
    splitter = _Splitter(line, lookup)
    splitter.run()
    return tuple(splitter.unset)


@define
class _Splitter:
    """Scans one line. `word` is None between words; an empty list is an empty word begun by quotes."""

    line: str
    lookup: Lookup
    at: int = 0
    words: list[str] = Factory(list)
    word: list[str] | None = None
    unset: list[tuple[int, str]] = Factory(list)

    def run(self) -> tuple[str, ...]:
        while self.at < len(self.line):
            character = self.line[self.at]
            if character in " \t":
                self.finish_word()
                self.at += 1
            elif character == "#":
                break
            elif character == '"':
                self.weak_quotes()
            elif character == "'":
                self.strong_quotes()
            elif character == "\\":
                self.add(self.escape(in_quotes=False))
            else:
                self.plain(character)
        self.finish_word()
        return tuple(self.words)

    def plain(self, character: str) -> None:
        if character in "\r\0":
            what = "carriage return" if character == "\r" else "NUL character"
            raise Wrong(f"a {what} stands in the line at column {self.at + 1}: is this a text file?")
        self.add(character)
        self.at += 1

    def add(self, text: str) -> None:
        if self.word is None:
            self.word = []
        self.word.append(text)

    def finish_word(self) -> None:
        if self.word is not None:
            self.words.append(_text("".join(self.word)))
        self.word = None

    def strong_quotes(self) -> None:
        end = self.line.find("'", self.at + 1)
        if end < 0:
            raise Wrong(f"the quote ' opened at column {self.at + 1} is never closed")
        self.add(self.line[self.at + 1 : end])
        self.at = end + 1

    def weak_quotes(self) -> None:
        opened = self.at
        self.at += 1
        wordless = self.word is None
        quoted_anything = False
        while self.at < len(self.line) and (character := self.line[self.at]) != '"':
            if character == "$":
                quoted_anything |= self.variable()
                continue
            quoted_anything = True
            if character == "\\":
                self.add(self.escape(in_quotes=True))
            else:
                self.plain(character)
        if self.at >= len(self.line):
            raise Wrong(f'the quote " opened at column {opened + 1} is never closed')
        nothing_at_all = self.line[opened:].startswith('""')
        if wordless and self.word is None and (quoted_anything or nothing_at_all):
            self.add("")
        self.at += 1

    def escape(self, in_quotes: bool) -> str:
        """Returns the text of the escape at `at`; an unknown escape stands for itself, backslash
        included. Raises Wrong."""
        start = self.at
        following = self.line[start + 1 : start + 2]
        self.at += 2
        if following == "x":
            return self.hexadecimal(start)
        if following == "$" and in_quotes:
            return "$"
        if following in _ESCAPES:
            return _ESCAPES[following]
        self.at = start + 1
        return "\\"

    def hexadecimal(self, start: int) -> str:
        code = self.line[start + 2 : start + 4]
        if len(code) < 2 or any(digit not in hexdigits for digit in code):
            raise Wrong(f"\\x at column {start + 1} needs two hexadecimal digits after it")
        if code == "00":
            raise Wrong(f"\\x00 at column {start + 1}: a NUL character cannot stand in a configuration")
        self.at = start + 4
        byte = int(code, 16)
        # A single byte: _text decodes it together with its neighbours.
        return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)

    def variable(self) -> bool:
        """Expands the variable at `at`. Returns False for an empty `[*]` list, which makes no word. Raises Wrong."""
        start = self.at
        self.at += 1
        braces = self.line[self.at : self.at + 1] == "{"
        self.at += braces
        name = self.variable_name(start)
        expand_list, default = self.brace_tail(start) if braces else (False, None)
        value = self.lookup(name)
        if value is None:
            if default is None and not expand_list:
                self.unset.append((len(self.words), name))
            value = default or ""
        if not expand_list:
            self.add(value)
            return True
        # "x${LIST[*]}y" joins the first and the last value with the surrounding text, as in a shell.
        for index, part in enumerate(parts := value.split()):
            if index:
                self.finish_word()
            self.add(part)
        return bool(parts)

    def variable_name(self, start: int) -> str:
        first = self.at
        if self.line[first : first + 1] not in tuple(_NAME_START):
            raise Wrong(
                f"after $ at column {start + 1} the name of a variable has to follow; write \\$ for a plain dollar sign"
            )
        self.at += 1
        while self.line[self.at : self.at + 1] in tuple(_NAME):
            self.at += 1
        return self.line[first : self.at]

    def brace_tail(self, start: int) -> tuple[bool, str | None]:
        """Parses what follows the name inside ${}: `[*]`, then `-default`, then the closing brace. Returns whether it
        is a list, and the default. Raises Wrong."""
        expand_list = self.line.startswith("[*]", self.at)
        self.at += 3 * expand_list
        default = None
        if self.line[self.at : self.at + 1] == "-":
            end = self.line.find("}", self.at)
            default = self.line[self.at + 1 : end] if end >= 0 else None
            self.at = end if end >= 0 else len(self.line)
        if self.line[self.at : self.at + 1] != "}":
            raise Wrong(f"the brace of ${{ at column {start + 1} is not closed after the name of the variable")
        self.at += 1
        return expand_list, default


def _text(word: str) -> str:
    r"""Decodes bytes written as \xHH together with their neighbours as UTF-8, since a
    configuration is text. Raises Wrong."""
    try:
        word.encode()
        return word
    except UnicodeEncodeError:
        pass
    try:
        return word.encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise Wrong(
            f"the byte 0x{byte:02x} is no character in UTF-8: save the file as UTF-8; single bytes are not done yet"
        ) from None
