"""Lets `twist` and `twistd` find reusedproxy; the program itself is imported only when it is asked for."""

from twisted.application.service import ServiceMaker

reusedproxy = ServiceMaker(
    "reusedproxy",
    "reusedproxy.entry",
    "An HTTP reverse proxy with warm, verified server connections.",
    "reusedproxy",
)
