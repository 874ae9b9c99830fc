r"""Parses parenthesised arguments: those of sample fetches, of converters, and of the predicates of `.if`.

Follows HAProxy's `make_arg_list` (src/arg.c). Quotes take away the meaning of commas, parentheses and blanks. Outside
of single quotes \\, \ , \', \", \r, \n and \t are one character each. Any other backslash stands for itself, so that \1
and \d reach a regular expression; a comma behind such a backslash still ends the argument.
"""

from __future__ import annotations

_ESCAPES = {"\\": "\\", " ": " ", '"': '"', "'": "'", "r": "\r", "n": "\n", "t": "\t"}


class Unfinished(Exception):
    """Reports a text that ends too early; `missing` is the quote or the parenthesis that was expected."""

    def __init__(self, missing: str) -> None:
        self.missing = missing
        super().__init__(missing)


def arguments_at(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """Parses arguments from just behind the opening parenthesis. Returns them and the position behind the closing one.
    Raises Unfinished."""
    arguments, argument, quote = [], "", ""
    while at < len(text):
        character = text[at]
        at += 1
        if character == quote:
            quote = ""
        elif character in "'\"" and not quote:
            quote = character
        elif character == "\\" and quote != "'" and text[at : at + 1] in _ESCAPES:
            argument += _ESCAPES[text[at]]
            at += 1
        elif character in ",)" and not quote:
            arguments.append(argument)
            argument = ""
            if character == ")":
                return tuple(arguments), at
        else:
            argument += character
    raise Unfinished(quote or ")")
