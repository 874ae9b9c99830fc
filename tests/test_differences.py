"""docs/differences.md: what is known of HAProxy beside us is in it, word for word, and nothing that is no more so.

The tables are those that the tests beside HAProxy hold. `python -m tests.test_differences` writes them into the
page again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from unittest import TestCase

from tests.integration.haproxy_differences import BOTH, REQUESTS, RESPONSES, US, Difference
from tests.integration.test_access_beside_haproxy import REASONS
from tests.integration.test_sections_beside_haproxy import DIFFERENCES as SECTIONS
from tests.integration.test_sections_beside_haproxy import TCP_DIFFERENCES as TCP_SECTIONS
from tests.integration.test_streams_beside_haproxy import DIFFERENCES as STREAMS

PAGE = Path(__file__).parents[1] / "docs" / "differences.md"
RIGHT = {US: "us", BOTH: "either"}


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def wire(differences: Iterable[Difference]) -> str:
    lines = ["| case | here | HAProxy 2.6 | allowed by the RFCs | why |", "|---|---|---|---|---|"]
    for each in differences:
        names = ", ".join(each.names) or "all others with these outcomes"
        right = RIGHT.get(each.right, "HAProxy")
        lines.append("| " + " | ".join(map(cell, (names, each.ours, each.theirs, right, each.why))) + " |")
    return "\n".join(lines)


def sections(known: Mapping[tuple[str, str], str]) -> str:
    lines = ["| line | in | difference |", "|---|---|---|"]
    lines += [f"| `{cell(line)}` | {', '.join(where.split())} | {cell(why)} |" for (line, where), why in known.items()]
    return "\n".join(lines)


def streams() -> str:
    return "\n".join(f"- {name}: {why}." for name, why in STREAMS.items())


def access() -> str:
    return "\n".join(f"- {reason}" for reason in REASONS)


PARTS = {
    "requests": wire(REQUESTS), "responses": wire(RESPONSES), "access": access(),
    "sections": sections(SECTIONS), "tcp": sections(TCP_SECTIONS), "streams": streams(),
}  # fmt: skip


def written(page: str) -> str:
    """The page with the tables as they are now."""
    for name, text in PARTS.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        assert mark.search(page), f"no place for {name}"
        page = mark.sub(lambda found: found[1] + text + found[2], page)  # noqa: B023
    return page


class PageTests(TestCase):
    def test_the_tables_are_those_of_the_tests(self) -> None:
        """Run `python -m tests.test_differences` when they have changed."""
        page = PAGE.read_text()
        self.assertEqual(page, written(page))


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
