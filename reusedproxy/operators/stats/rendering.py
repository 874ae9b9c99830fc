"""Makes HTML of the templates beside this module; all that they are given is escaped, unless it is markup of ours.

Templates are read once, when the first page is made: later the daemon may be another user, or have another root
directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reusedproxy.net.slices import Steps, run_through

#: Parts of a template that are made in one piece, where each is little: a line of a table has about ten.
AT_ONCE = 100
_FOLDER = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(_FOLDER)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, auto_reload=False)
    made.filters.update(duration=duration, rate=rate)
    return made


def preparing() -> Steps[None]:
    """Reads and compiles all templates, one in a step: together that takes 40 ms. What is compiled is kept."""
    made = _environment()
    for name in made.list_templates(extensions=["html", "css"]):
        made.get_template(name)
        yield


def prepare() -> None:
    """Reads and compiles those that are not yet."""
    run_through(preparing())


def render(template: str, **values: object) -> Markup:
    """Returns a template with these values."""
    return Markup(_environment().get_template(template).render(values))


def pieces(template: str, at_once: int = AT_ONCE, **values: object) -> Iterator[Markup]:
    """Returns a template with these values in pieces, each of so many parts of it at most."""
    made = _environment().get_template(template).generate(values)
    while some := [*islice(made, at_once)]:
        yield Markup("".join(some))


def duration(seconds: float) -> str:
    """Formats a duration in its two largest units, as HAProxy does: 1d3h, 4m20s."""
    left = max(0, int(seconds))
    for size, unit, smaller, rest in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if left >= size:
            return f"{left // size}{unit}{left % size // smaller}{rest}"
    return f"{left}s"


def rate(value: float) -> str:
    """Formats events per second: with a decimal where there are few."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
