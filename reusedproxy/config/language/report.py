"""What the reader has to say about a configuration: faults, warnings and notices, each with its file and line.

A parser of one line raises `Wrong` and knows nothing of places; the reader adds the place and goes on to the next line,
so that everything is reported at once. The nearest known word is looked for here and nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from attrs import Factory, define, frozen

from reusedproxy.config.language.haproxy_words import GLOBAL_BY_TWISTD
from reusedproxy.config.model.values import Notice, Place


@frozen
class Fault:
    """One thing that keeps the daemon from starting."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class ConfigurationError(Exception):
    """The configuration cannot be used. `faults` are all of them in line order; `notices` is what else was found."""

    def __init__(self, faults: Iterable[Fault], notices: Iterable[Notice] = ()) -> None:
        self.faults = tuple(faults)
        self.notices = tuple(notices)
        super().__init__("\n".join(map(str, self.faults)))


class Wrong(Exception):
    """What is wrong with the line, or the word, that is being read; more than one text when several words are."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        super().__init__("; ".join(texts))


@frozen
class Line:
    """One configuration line cut into words. `prefix` is "no", "default" or ""; `words[0]` is the keyword."""

    place: Place
    words: tuple[str, ...]
    prefix: str = ""

    @property
    def keyword(self) -> str:
        return self.words[0]

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.words[1:]

    def one_argument(self, what: str) -> str:
        """The only argument, or `Wrong` saying that `what` is missing or that there is too much."""
        if len(self.words) < 2 or not self.words[1]:
            raise Wrong(f"'{self.keyword}' needs {what}")
        self.at_most(1)
        return self.words[1]

    def at_most(self, count: int) -> None:
        if len(self.words) > count + 1:
            raise Wrong(f"'{self.keyword}' does not take another argument: '{self.words[count + 1]}'")


@define
class Report:
    """Collects what was found. Names that some faulty line may have defined make name checks meaningless: `doubt`."""

    files: tuple[str, ...]
    faults: list[Fault] = Factory(list)
    notices: list[Notice] = Factory(list)
    names_in_doubt: bool = False
    # Words that were accepted and do nothing here, and words that twistd's options say instead: one notice for each.
    effectless: dict[str, Place] = Factory(dict)
    by_twistd: dict[str, Line] = Factory(dict)

    def fault(self, place: Place, text: str) -> None:
        # What `defaults` says may be judged once for every section that inherits it.
        if (fault := Fault(place, text)) not in self.faults:
            self.faults.append(fault)

    def wrong(self, place: Place, wrong: Wrong) -> None:
        for text in wrong.texts:
            self.fault(place, text)

    def warn(self, place: Place, text: str) -> None:
        self.notices.append(Notice("warning", place, text))

    def notice(self, place: Place, text: str) -> None:
        self.notices.append(Notice("notice", place, text))

    def without_effect(self, word: str, place: Place) -> None:
        """`word` was accepted and changes nothing that anybody could see."""
        self.effectless.setdefault(word, place)

    def gather(self) -> None:
        """The notices that are about many lines: one for all words without effect, one for all of twistd's."""
        if self.effectless:
            words = ", ".join(f"'{word}'" for word in self.effectless)
            place = next(iter(self.effectless.values()))
            self.notice(place, f"accepted, though without effect in reusedproxy: {words}")
        if self.by_twistd:
            lines = self.by_twistd.values()
            words = ", ".join(f"'{line.keyword}'" for line in lines)
            place = next(iter(lines)).place
            self.notice(place, f"{words}: not applied from here, twistd's options do that: {_twistd_options(lines)}")

    def order(self, said: Fault | Notice) -> tuple[int, int]:
        """Sort key: the order of reading, whatever the order of finding."""
        return self.files.index(said.place.file), said.place.line

    def sorted_notices(self) -> tuple[Notice, ...]:
        return tuple(sorted(self.notices, key=self.order))

    def raise_faults(self) -> None:
        if self.faults:
            raise ConfigurationError(sorted(self.faults, key=self.order), self.sorted_notices())


def _twistd_options(lines: Iterable[Line]) -> str:
    """How to start the daemon so that it does what these lines say."""
    options = "".join(
        f" {option} {line.words[1] if line.arguments else '…'}"
        for line in lines
        if (option := GLOBAL_BY_TWISTD[line.keyword]) and option.startswith("-")
    )
    background = any(line.keyword == "daemon" for line in lines)
    tail = " (in the background, unless --nodaemon is given)" if background else ""
    return f"'twistd{options} reusedproxy …'{tail}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` most probably was meant to be, or None when nothing is near. Case counts least."""
    # Sorted, so that the answer does not depend on the order of a set.
    spellings: dict[str, list[str]] = {}
    for each in sorted(known):
        spellings.setdefault(each.lower(), []).append(each)
    found = difflib.get_close_matches(word.lower(), spellings, n=1, cutoff=0.6)
    if not found:
        return None
    return max(spellings[found[0]], key=lambda each: difflib.SequenceMatcher(None, each, word).ratio())


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The tail of an "unknown word" message: the nearest known word, or nothing."""
    found = nearest(word, known)
    return f": did you mean '{found}'?" if found else ""


def one_of(word: str, known: Iterable[str], what: str) -> str:
    """`word` when it is among `known`; else `Wrong` that lists what could be said."""
    if word in (allowed := tuple(known)):
        return word
    listed = ", ".join(f"'{value}'" for value in allowed)
    raise Wrong(f"{what} is one of {listed}, not '{word}'{did_you_mean(word, allowed)}")


def not_done(word: str, what: str = "keyword", hint: str = "") -> str:
    """The sentence for a word of HAProxy's that we have not built."""
    return f"'{word}' is a HAProxy {what} that reusedproxy does not do yet" + (f": {hint}" if hint else "")
