"""Coverage-guided fuzzing of the wire, alone and within the whole proxy in memory:
`make fuzz`, or one target by itself:

    python -m tests.fuzz --seconds 600 request      # needs atheris; figures at the end, findings in .fuzz/
    python -m tests.fuzz --replay FILE request      # a finding again; needs nothing but the tests' packages

A target is a function that takes bytes and raises when a promise is broken. The first bytes of an input are its
`control` (a method, places to cut at, how the server behaves), the rest is what a peer sends. Nothing but `inside`
knows atheris; tests/test_wire_fuzz.py runs all seeds and all past findings through the same functions.

Reading order: oracles (how others read the same bytes), messages, clients and servers (the promises), targets, seeds.
"""
