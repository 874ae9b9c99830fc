"""Shows the daemon at work within a minute: throw-away certificates, an embedded server, a demonstration.

A daemon with a configuration of its own uses nothing of it; the tests and the benchmarks borrow the certificates.
"""
