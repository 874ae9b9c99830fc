"""Defines where a section's error pages come from: raw answers in files, and redirections. Values only.

The third kind, an answer made for each request (`http-error … lf-string`), is `config.rules.actions.Reply`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from reusedproxy.config.model.rules import Action
    from reusedproxy.config.model.values import Place

#: The statuses that HAProxy has pages for; 414 and 431 are also ours, where it answers 400.
ERROR_STATUSES = (
    *(200, 400, 401, 403, 404, 405, 407, 408, 410, 413, 414, 421, 422, 425, 429, 431, 500, 501, 502, 503, 504),
)


@frozen
class AnswerFile:
    """Holds the name of a file with a whole HTTP answer, and the line that names it."""

    place: Place
    path: str


@frozen
class ErrorLocation:
    """Holds `errorloc`, `errorloc302` or `errorloc303`: the client is redirected to `url` with that `status`."""

    status: int
    url: str


@frozen
class ErrorPage:
    """Holds what a section answers in place of the proxy's own page for a status."""

    place: Place
    status: int
    source: AnswerFile | ErrorLocation | Action
