"""Defines the values of a configuration that has been read: frozen, and nothing else.

`values` has what all sections are made of, `tls` the TLS settings of both sides, `checks` the steps of health checks,
`rules` the lines of rules, `proxies` the sections.
"""

from reusedproxy.config.model.balance import BALANCE, Balance, HashType, UseServer
from reusedproxy.config.model.checks import CheckPlan, Connect, HTTPCheck
from reusedproxy.config.model.logs import Captures, LogSettings, LogTarget, Slot
from reusedproxy.config.model.names import NameServer, Resolution, Resolvers
from reusedproxy.config.model.proxies import (
    SAFE_TO_REUSE,
    Backend,
    Bind,
    Check,
    Configuration,
    ForwardFor,
    Frontend,
    Global,
    Manhole,
    PoolLimits,
    Said,
    Server,
    StatsPage,
    StatsSocket,
    Timeouts,
)
from reusedproxy.config.model.rules import (
    NO_RULES,
    Condition,
    Criterion,
    Format,
    Hole,
    Receive,
    Rule,
    Rules,
    Term,
    UseBackend,
)
from reusedproxy.config.model.tls import TLS_VERSIONS, BindTLS, CertificateSource, ServerTLS, TLSOffer
from reusedproxy.config.model.values import Call, Expression, ListenAddress, Notice, Place

__all__ = [
    "BALANCE",
    "NO_RULES",
    "SAFE_TO_REUSE",
    "TLS_VERSIONS",
    "Backend",
    "Balance",
    "Bind",
    "BindTLS",
    "Call",
    "Captures",
    "CertificateSource",
    "Check",
    "CheckPlan",
    "Condition",
    "Configuration",
    "Connect",
    "Criterion",
    "Expression",
    "Format",
    "ForwardFor",
    "Frontend",
    "Global",
    "HTTPCheck",
    "HashType",
    "Hole",
    "ListenAddress",
    "LogSettings",
    "LogTarget",
    "Manhole",
    "NameServer",
    "Notice",
    "Place",
    "PoolLimits",
    "Receive",
    "Resolution",
    "Resolvers",
    "Rule",
    "Rules",
    "Said",
    "Server",
    "ServerTLS",
    "Slot",
    "StatsPage",
    "StatsSocket",
    "TLSOffer",
    "Term",
    "Timeouts",
    "UseBackend",
    "UseServer",
]
