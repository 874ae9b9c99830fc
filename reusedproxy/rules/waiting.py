"""Says that a sample cannot be known yet: rules that look at the bytes of a connection may have to wait for more."""

from __future__ import annotations


class Incomplete(Exception):
    """Reports that a sample needs bytes that have not come so far, and may still come."""
