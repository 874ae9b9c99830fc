"""The wire: HTTP/1.1 bytes in, heads and bodies out, and back again (RFC 9110, RFC 9112).

It knows grammar and framing and nothing else: no Twisted, no clock, no logger, no configuration but the two numbers
in `Limits`. Whoever owns a transport feeds it bytes and obeys what it says. It refuses every ambiguity, because a server
connection is shared among all clients: what we read one way and the next hop another way becomes everybody's problem.

Reading order: grammar (what bytes may stand where), faults (how a refusal is named), framing (what the few fields that
matter mean), heads (the two readers), bodies (where a message ends).
"""
