"""Implements reusedproxy, an HTTP reverse proxy that keeps warm, verified, mutual-TLS connections to the
servers behind it."""

#: The one place that says it; setup.py reads it from here.
__version__ = "0.1.0"
#: When this version was released; before that, when its sources were last changed for good.
__release_date__ = "2026/11/29"
