r"""What stands between parentheses: the arguments of sample fetches, of converters, and of the predicates of `.if`.

As HAProxy's `make_arg_list` (src/arg.c) reads them: quotes take away the meaning of commas, parentheses and blanks, and
outside of single ones \\, \ , \', \", \r, \n and \t are one character each. Any other backslash stands for itself, so that
\1 and \d reach a regular expression, and a comma behind it still ends the argument.
"""

from __future__ import annotations

_ESCAPES = {"\\": "\\", " ": " ", '"': '"', "'": "'", "r": "\r", "n": "\n", "t": "\t"}


class Unfinished(Exception):
    """The text ends too early; `missing` is the quote or the parenthesis that is not there."""

    def __init__(self, missing: str) -> None:
        self.missing = missing
        super().__init__(missing)


def arguments_at(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """The arguments from behind the opening parenthesis on, and where they end. Raises Unfinished."""
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
