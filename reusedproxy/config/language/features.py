"""Lists what `feature()` and `enabled()` can ask for, as data: whether reusedproxy has it, and why.

A configuration asks so that a line is read only where it can be obeyed. So what is done here is true, even if it is
done by other means than HAProxy's; what has no counterpart is false, and HAProxy's own answer is not looked at. It must
never know sections or keywords.
"""

from __future__ import annotations

from collections.abc import Mapping

#: By HAProxy's names (`use_opts` of its Makefile, and those of releases since 2.4): the reason begins with + where the
#: answer is true.
_FEATURES: Mapping[str, str] = {
    "51DEGREES": "-no database of devices",
    "ACCEPT4": "+Python's accept",
    "BACKTRACE": "-of C alone",
    "CLOSEFROM": "-of C alone",
    "CPU_AFFINITY": "-one process, one thread: 'cpu-map' does nothing",
    "CRYPT_H": "+as LIBCRYPT",
    "DEVICEATLAS": "-no database of devices",
    "DL": "-no program's library is loaded by a line",
    "ECH": "-not done",
    "ENGINE": "-OpenSSL's engines are refused",
    "EPOLL": "+what watches sockets",
    "EVPORTS": "-Solaris",
    "FCGI": "-servers speak HTTP/1",
    "GETADDRINFO": "+names are looked up so",
    "H2": "-clients and servers speak HTTP/1",
    "KQUEUE": "-BSD",
    "KTLS": "-OpenSSL encrypts in the process",
    "LIBATOMIC": "-of C alone",
    "LIBCRYPT": "+hashes in userlists",
    "LINUX_CAP": "-'setcap' is refused: systemd gives capabilities",
    "LINUX_SPLICE": "-bytes pass through the process",
    "LINUX_TPROXY": "-'source … usesrc' is refused",
    "LUA": "-no scripts",
    "MATH": "-of C alone",
    "MEMORY_PROFILING": "-of C alone",
    "NETFILTER": "+marks of packets ('set-fc-mark')",
    "NS": "-'namespace' is refused",
    "OBSOLETE_LINKER": "-of C alone",
    "OPENSSL": "+TLS",
    "OPENSSL_AWSLC": "-another library",
    "OPENSSL_WOLFSSL": "-another library",
    "OT": "-no OpenTracing",
    "PCRE": "-the older library: see PCRE2",
    "PCRE2": "+regular expressions are read as PCRE2 reads them",
    "PCRE2_JIT": "-another engine",
    "PCRE_JIT": "-another engine",
    "POLL": "-epoll alone",
    "PRCTL": "-of C alone",
    "PROCCTL": "-BSD",
    "PROMEX": "+the service 'prometheus-exporter'",
    "PTHREAD_EMULATION": "-no threads",
    "QUIC": "-no HTTP/3",
    "QUIC_OPENSSL_COMPAT": "-no HTTP/3",
    "RT": "-of C alone",
    "SHM_OPEN": "-of C alone",
    "SLZ": "-zlib compresses",
    "SPOE": "-no agents",
    "SSL": "+TLS",
    "STATIC_PCRE": "-another engine",
    "STATIC_PCRE2": "-another engine",
    "SYSTEMD": "+sd_notify",
    "TFO": "+'tfo' of binds and servers",
    "THREAD": "-one thread serves all",
    "THREAD_DUMP": "-one thread serves all",
    "TPROXY": "-'source … usesrc' is refused",
    "TRACE": "-no traces",
    "WURFL": "-no database of devices",
    "ZLIB": "+compression",
}
#: Switches of the running program. SERVER-SSL-VERIFY-NONE is what `ssl-server-verify` says up to there.
_ENABLED: Mapping[str, str] = {
    "EPOLL": "+what watches sockets",
    "EVPORTS": "-Solaris",
    "FAST-FORWARD": "-bytes pass through the process",
    "GETADDRINFO": "+names are looked up so",
    "KQUEUE": "-BSD",
    "POLL": "-epoll alone",
    "REUSEPORT": "+two sections may listen at one address",
    "SPLICE": "-bytes pass through the process",
}

#: The names of `feature()` and of `enabled()` that are true, and all that are known.
FEATURES = frozenset(name for name, why in _FEATURES.items() if why[0] == "+")
ENABLED = frozenset(name for name, why in _ENABLED.items() if why[0] == "+")
KNOWN_FEATURES = frozenset(_FEATURES)
KNOWN_SWITCHES = frozenset((*_ENABLED, "SERVER-SSL-VERIFY-NONE"))
