"""Collects what the reader finds in a configuration: faults, warnings and notices, each with its file and line.

A parser of one line raises `Wrong` and knows no place; the reader adds the place and goes on to the next line, so that
everything is reported at once. The search for the nearest known word is here and nowhere else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable, Sequence

from attrs import Factory, define, evolve, frozen

from reusedproxy.config.language.foreign import without_keys
from reusedproxy.config.language.haproxy_words import GLOBAL_BY_TWISTD
from reusedproxy.config.language.secrets import Secrets
from reusedproxy.config.model.values import Notice, Place


@frozen
class Fault:
    """Describes an error that keeps the daemon from starting."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class ConfigurationError(Exception):
    """Reports a configuration that cannot be used. `faults` are all faults in line order; `notices`
    are the other findings, `summary` counts the words."""

    def __init__(self, faults: Iterable[Fault], notices: Iterable[Notice] = (), summary: str = "") -> None:
        self.summary = summary
        self.faults = tuple(faults)
        self.notices = tuple(notices)
        super().__init__("\n".join(map(str, self.faults)))


class Wrong(Exception):
    """Reports a fault of the line or word that is being read; has several texts when several words are wrong."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        super().__init__("; ".join(texts))


#: Up to how many faults of unknown words are each told.
MOST_UNKNOWN = 100
_UNKNOWN = re.compile(r"\bunknown (?:word|keyword|section)\b|^'[^']*' stands before the first section")

#: Up to how many findings that say the same are each told; and of whom one says it.
MOST_ALIKE = 3
_WHO = re.compile(r"(server|bind|frontend|backend|listen) ('[^']*')")

#: Keywords of which the next word says what is done.
_FAMILIES = frozenset(
    ("option", "timeout", "stats", "http-request", "http-response", "http-after-response", "http-check", "tcp-check")
    + ("tcp-request", "tcp-response", "compression", "monitor", "hold")
)


@frozen
class Line:
    """Holds one configuration line split into words. `prefix` is "no", "default" or ""; `words[0]` is the keyword."""

    place: Place
    words: tuple[str, ...]
    prefix: str = ""

    @property
    def keyword(self) -> str:
        return self.words[0]

    @property
    def word(self) -> str:
        """Returns what the line is about: its keyword, with the word behind it where that says what is done."""
        argument = self.words[1].partition("(")[0] if len(self.words) > 1 else ""
        return f"{self.keyword} {argument}" if argument and self.keyword in _FAMILIES else self.keyword

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.words[1:]

    def one_argument(self, what: str) -> str:
        """Returns the only argument. Raises `Wrong` when `what` is missing or there are more arguments."""
        if len(self.words) < 2 or not self.words[1]:
            raise Wrong(f"'{self.keyword}' needs {what}")
        self.at_most(1)
        return self.words[1]

    def at_most(self, count: int) -> None:
        if len(self.words) > count + 1:
            raise Wrong(f"'{self.keyword}' does not take another argument: '{self.words[count + 1]}'")


@define
class Report:
    """Collects findings. `names_in_doubt` is set when a faulty line may have defined a name: name
    checks are then meaningless."""

    files: tuple[str, ...]
    faults: list[Fault] = Factory(list)
    notices: list[Notice] = Factory(list)
    names_in_doubt: bool = False
    # Words accepted without effect, and words whose work twistd's options do: one notice for each group.
    effectless: dict[str, Place] = Factory(dict)
    by_twistd: dict[str, Line] = Factory(dict)
    # Those that its options do already.
    done_by_twistd: Container[str] = ()
    # The words of lines that were read, and of lines that were refused.
    done: set[str] = Factory(set)
    refused: set[str] = Factory(set)
    #: What messages must not quote.
    secrets: Secrets = Factory(Secrets)

    @property
    def summary(self) -> str:
        """Returns in one line how many of the words that are said are done, do nothing here, or are refused."""
        words = self.done - self.refused
        idle = {word for word in self.effectless if word in words}
        counts = f"{len(words) - len(idle)} words done, {len(self.effectless)} without effect here"
        return f"{counts}, {len(self.refused)} refused{in_all(len(self.faults))}"

    def fault(self, place: Place, text: str) -> None:
        # A setting from `defaults` may be checked once for every section that inherits it.
        if (fault := Fault(place, self._without_secrets(place, text))) not in self.faults:
            self.faults.append(fault)

    def wrong(self, place: Place, wrong: Wrong) -> None:
        for text in wrong.texts:
            self.fault(place, text)

    def warn(self, place: Place, text: str) -> None:
        self._note(Notice("warning", place, self._without_secrets(place, text)))

    def notice(self, place: Place, text: str) -> None:
        self._note(Notice("notice", place, self._without_secrets(place, text)))

    def _without_secrets(self, place: Place, text: str) -> str:
        return without_keys(self.secrets.without_own(place, text))

    def _note(self, notice: Notice) -> None:
        # Each server of a template has the same.
        if notice not in self.notices:
            self.notices.append(notice)

    def without_effect(self, word: str, place: Place) -> None:
        """Records that `word` was accepted and has no visible effect."""
        self.effectless.setdefault(word, place)

    def gather(self) -> None:
        """Adds the notices that cover many lines: one for all words without effect, one for all words of twistd's."""
        if self.effectless:
            place = next(iter(self.effectless.values()))
            words = ", ".join(f"'{word}'{_elsewhere(at, place)}" for word, at in self.effectless.items())
            self.notice(place, f"accepted, though without effect in reusedproxy: {words}")
        if lines := [line for word, line in self.by_twistd.items() if word not in self.done_by_twistd]:
            words = ", ".join(f"'{line.keyword}'" for line in lines)
            place = lines[0].place
            self.notice(place, f"{words}: not applied from here, twistd's options do that: {_twistd_options(lines)}")

    def order(self, said: Fault | Notice) -> tuple[int, int]:
        """Returns a sort key: the order in which lines are read, whatever the order in which faults were found."""
        return self.files.index(said.place.file), said.place.line

    def sorted_notices(self) -> tuple[Notice, ...]:
        notices = summed(sorted(self.notices, key=self.order))
        return tuple(evolve(each, text=self.secrets.without_any(each.text)) for each in notices)

    def raise_faults(self) -> None:
        if self.faults:
            faults = [
                Fault(each.place, self.secrets.without_any(each.text))
                for each in fewer(sorted(self.faults, key=self.order))
            ]
            raise ConfigurationError(faults, self.sorted_notices(), self.summary)


def _elsewhere(at: Place, place: Place) -> str:
    """Returns in which line, and file, something is said, if not at the `place` that is named already."""
    if at == place:
        return ""
    return f" (line {at.line})" if at.file == place.file else f" ({at})"


def summed(notices: Sequence[Notice]) -> tuple[Notice, ...]:
    """Returns the notices with one in place of all those that say the same of more than `MOST_ALIKE` servers, lines or
    sections: a file that a program has written has thousands of these."""
    alike: dict[object, list[str]] = {}
    groups: list[list[str]] = []
    for notice in notices:
        who = _WHO.match(notice.text)
        names = [] if who is None else alike.setdefault((notice.level, who[1], notice.text[who.end() :]), [])
        names.append("" if who is None else who[2])
        groups.append(names)
    found: list[Notice] = []
    told: set[int] = set()
    for notice, names in zip(notices, groups, strict=True):
        if len(names) <= MOST_ALIKE:
            found.append(notice)
        elif id(names) not in told:
            told.add(id(names))
            more = f"{', '.join(names[1:MOST_ALIKE])} and {len(names) - MOST_ALIKE} more"
            found.append(evolve(notice, text=f"{notice.text} (the same is true of {more})"))
    return tuple(found)


def fewer(faults: list[Fault]) -> list[Fault]:
    """Returns the faults with one in place of all those of unknown words, if these are so many that the file may be
    something else altogether."""
    unknown = [fault for fault in faults if _UNKNOWN.search(fault.text)]
    if len(unknown) <= MOST_UNKNOWN:
        return faults
    first = unknown[0]
    text = f"{first.text} (and {len(unknown) - 1} more lines with unknown words: is this a configuration?)"
    return [
        Fault(first.place, text) if fault is first else fault
        for fault in faults
        if fault is first or fault not in unknown
    ]


def _twistd_options(lines: Iterable[Line]) -> str:
    """Returns the twistd command line that does what these lines ask for."""
    options = "".join(
        f" {option} {line.words[1] if line.arguments else '…'}"
        for line in lines
        if (option := GLOBAL_BY_TWISTD[line.keyword]) and option.startswith("-")
    )
    background = any(line.keyword == "daemon" for line in lines)
    tail = " (in the background, unless --nodaemon is given)" if background else ""
    return f"'twistd{options} reusedproxy …'{tail}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word that `word` most probably was meant to be, or None. Differences in case count least."""
    # Sorted, so that the result does not depend on the order of a set.
    spellings: dict[str, list[str]] = {}
    for each in sorted(known):
        spellings.setdefault(each.lower(), []).append(each)
    found = difflib.get_close_matches(word.lower(), spellings, n=1, cutoff=0.6)
    if not found:
        return None
    return max(spellings[found[0]], key=lambda each: difflib.SequenceMatcher(None, each, word).ratio())


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns the tail of an "unknown word" message: the nearest known word, or ""."""
    if word.startswith("lua."):
        return ": a Lua script would define it, and none is run here"
    found = nearest(word, known)
    return f": did you mean '{found}'?" if found else ""


def one_of(word: str, known: Iterable[str], what: str) -> str:
    """Returns `word` when it is among `known`. Raises `Wrong` with the list of allowed words otherwise."""
    if word in (allowed := tuple(known)):
        return word
    listed = ", ".join(f"'{value}'" for value in allowed)
    raise Wrong(f"{what} is one of {listed}, not '{word}'{did_you_mean(word, allowed)}")


def not_done(word: str, what: str = "keyword", hint: str = "") -> str:
    """Returns the message for a word of HAProxy's that is not implemented."""
    return f"'{word}' is a HAProxy {what} that reusedproxy does not do yet" + (f": {hint}" if hint else "")


def in_all(errors: int) -> str:
    """Returns the end of a summary of so many errors: words may all be known, and their files not be there."""
    return f" ({errors} error{'s' if errors > 1 else ''} in all)" if errors else ""
