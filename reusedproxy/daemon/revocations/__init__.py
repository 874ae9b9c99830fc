"""Fetches lists of revoked certificates ahead of the handshakes that need them (`crl-url`)."""
