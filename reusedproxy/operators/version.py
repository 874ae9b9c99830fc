"""Says which build of reusedproxy this is: its version, and whether what a request passes is compiled."""

from __future__ import annotations

from reusedproxy import __version__
from reusedproxy.wire import heads


def build() -> str:
    """Returns the version, with a word about a compiled build (setup.py, COMPILED)."""
    return __version__ if heads.__file__.endswith(".py") else f"{__version__} (compiled)"
