"""Reads the lists in a client's hello once more, where `tune.ssl.capture-buffer-size` has them kept for rules.

`hello` reads what the choice of a certificate needs, for every client; this is for those who tell clients apart.
"""

from __future__ import annotations

from reusedproxy.wire.client_hello import NotHello, read_client_hello
from reusedproxy.wire.hello_lists import HelloLists, read_lists


def captured(data: bytes, size: int) -> HelloLists | None:
    """Returns at most `size` bytes of the lists in the message that `data` begins with; None where it cannot be read
    as a whole."""
    try:
        hello = read_client_hello(data)
    except NotHello:
        return None
    return None if hello is None else read_lists(hello.message).cut(size)
