"""Reads and writes HTTP/1.1: bytes to heads and bodies, and back again (RFC 9110, RFC 9112).

It knows grammar and framing and nothing else: no Twisted, no clock, no logger, no configuration but the two numbers in
`Limits`. The owner of a transport feeds it bytes and follows what it returns. It refuses every ambiguous message,
because a connection to a server is shared among all clients: if the proxy and the next hop read a message in different
ways, one client can harm all others.

Reading order: grammar (which bytes may stand where), faults (how a refusal is named), framing (what the few fields that
matter mean), heads (the two readers), bodies (where a message ends).
"""
