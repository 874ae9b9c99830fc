"""Returns the reason phrases of status codes (RFC 9110 section 15), as Python's table has them. Pure."""

from http import HTTPStatus


def reason_phrase(status: int) -> str:
    """Returns the usual phrase; "" for a status that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
