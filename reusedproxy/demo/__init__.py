"""
What a stranger needs to see the daemon work in a minute: throw-away certificates, and later an embedded server.

Nothing here is used by a daemon that was given a configuration; the tests and the benchmarks borrow the certificates.
"""
