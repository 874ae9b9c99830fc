"""Cuts a line of the runtime API into commands, and each into words, as HAProxy does."""

from __future__ import annotations


def commands_of(line: str) -> list[list[str]]:
    """Returns the words of each command of a line; a semicolon ends a command, a backslash takes the meaning of the
    character behind it."""
    commands: list[list[str]] = []
    words: list[str] = []
    word, in_word, escaped = "", False, False
    for character in line:
        if escaped:
            word, in_word, escaped = word + character, True, False
        elif character == "\\":
            escaped = True
        elif character in " \t;":
            if in_word:
                words.append(word)
                word, in_word = "", False
            if character == ";":
                commands.append(words)
                words = []
        else:
            word, in_word = word + character, True
    if in_word:
        words.append(word)
    return [*commands, words]
