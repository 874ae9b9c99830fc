"""Lists HAProxy's words, as data only, so that the reader can tell a word it does not implement from an unknown one.

Taken from HAProxy's manual and from what the program lists about itself (2.6), plus the words added by 2.7 to 3.5 as
far as known; that newer part is not complete. Implemented words are listed, too: each list says what HAProxy knows, not
what this program does.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _ordered(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# -- sections ---------------------------------------------------------------------------------------------------------

SECTIONS = words("global defaults frontend backend listen resolvers http-errors userlist peers ring crt-store")
SECTIONS_NOT_DONE = words(
    """
    mailers cache program log-forward log-profile fcgi-app traces
    acme healthcheck
    """
)

# -- global -----------------------------------------------------------------------------------------------------------

# Words that cannot matter in a single-process, single-threaded proxy, or that only control a part that does not exist
# here (HTTP/2, Lua, compression, ...): they are accepted, and listed in one notice.
GLOBAL_WITHOUT_EFFECT = words(
    """
    nbthread nbproc thread-groups thread-group thread-hard-limit cpu-map cpu-policy cpu-set numa-cpu-mapping
    max-threads-per-group busy-polling noepoll nopoll nokqueue noevports nosplice nogetaddrinfo noreuseport
    no-memory-trimming no-quic limited-quic lua-prepend-path
    prealloc-fd maxpipes maxzlibmem maxcompcpuusage maxcomprate master-worker
    mworker-max-reloads mworker-prealloc profiling.tasks profiling.memory max-spread-checks
    insecure-fork-wanted expose-experimental-directives expose-deprecated-directives
    set-dumpable strict-limits quiet pp2-never-send-local
    ssl-mode-async httpclient.resolvers.disabled httpclient.resolvers.id httpclient.resolvers.prefer
    httpclient.retries httpclient.ssl.ca-file httpclient.ssl.verify httpclient.timeout.connect
    h2-workaround-bogus-websocket-clients warn-blocked-traffic-after shm-stats-file
    ssl-skip-self-issued-ca
    cpu-affinity debug.counters noktls quick-exit shm-stats-file-max-objects stress-level
    tune.bufsize.large tune.bufsize.small tune.h1.be.glitches-threshold tune.h1.fe.glitches-threshold
    tune.streams-elasticity
    ssl-load-extra-files ssl-load-extra-del-ext
    tune.http.cookielen tune.http.logurilen tune.idle-pool.shared tune.idletimer
    tune.max-checks-per-thread tune.max-rules-at-once
    tune.maxaccept tune.maxpollevents tune.pipesize tune.pool-high-fd-ratio tune.pool-low-fd-ratio tune.recv_enough
    tune.runqueue-depth tune.takeover-other-tg-connections tune.defaults.purge
    tune.disable-fast-forward tune.disable-zero-copy-forwarding tune.rcvbuf.client tune.rcvbuf.server
    tune.rcvbuf.frontend tune.rcvbuf.backend tune.sndbuf.client tune.sndbuf.server tune.sndbuf.frontend
    tune.sndbuf.backend tune.notsent-lowat.client tune.notsent-lowat.server
    tune.ssl.force-private-cache tune.ssl.maxrecord tune.ssl.hard-maxrecord
    tune.ssl.ssl-ctx-cache-size tune.ssl.ocsp-update.maxdelay tune.ssl.ocsp-update.mindelay
    """
)
GLOBAL_WITHOUT_EFFECT_PREFIXES = (
    "tune.applet.",
    "tune.buffers.",
    "tune.cli.",
    "tune.comp.",
    "tune.epoll.",
    "tune.events.",
    "tune.fd.",
    "tune.glitches.",
    "tune.h1.zero-copy-fwd-",
    "tune.h2.",
    "tune.listener.",
    "tune.lua.",
    "tune.memory.",
    "tune.pattern.",
    "tune.peers.",
    "tune.pt.",
    "tune.quic.",
    "tune.renice.",
    "tune.ring.",
    "tune.sched.",
    "tune.vars.",
    "tune.zlib.",
)
# Words whose work twistd does, with its option. `daemon` has no option: twistd goes into the background by default.
GLOBAL_BY_TWISTD = {
    "pidfile": "--pidfile",
    "daemon": "",
}
GLOBAL_BY_SERVICE_MANAGER = words("ulimit-n fd-hard-limit")
GLOBAL = (
    GLOBAL_WITHOUT_EFFECT
    | frozenset(GLOBAL_BY_TWISTD)
    | GLOBAL_BY_SERVICE_MANAGER
    | words(
        """
        user uid group gid chroot node description acme.scheduler jwt.decrypt_alg_list jwt.decrypt_enc_list
        ssl-passphrase-cmd tune.ssl.certificate-compression tune.ssl.keyupdate-rate-limit wurfl-patch-file
        51degrees-allow-unmatched 51degrees-cache-size 51degrees-data-file 51degrees-difference 51degrees-drift
        51degrees-property-name-list 51degrees-property-separator 51degrees-use-performance-graph
        51degrees-use-predictive-graph anonkey ca-base capabilities close-spread-time cluster-secret crt-base
        default-path deviceatlas-json-file deviceatlas-log-level deviceatlas-properties-cookie deviceatlas-separator
        dns-accept-family external-check force-cfg-parser-pause grace h1-accept-payload-with-any-method h1-case-adjust
        h1-case-adjust-file h1-do-not-close-on-insecure-transfer-encoding hard-stop-after insecure-setuid-wanted
        harden.reject-privileged-ports.quic harden.reject-privileged-ports.tcp http-err-codes http-fail-codes
        issuers-chain-path key-base limited-quic log log-send-hostname log-tag lua-load lua-load-per-thread
        lua-prepend-path maxconn maxconnrate maxsessrate maxsslconn maxsslrate ocsp-update.disable ocsp-update.httpproxy
        ocsp-update.maxdelay ocsp-update.mindelay ocsp-update.mode presetenv resetenv server-state-base
        server-state-file set-var set-var-fmt setcap setenv spread-checks
        ssl-default-bind-ciphers ssl-default-bind-ciphersuites
        ssl-default-bind-client-sigalgs ssl-default-bind-curves ssl-default-bind-options ssl-default-bind-sigalgs
        ssl-default-server-ciphers ssl-default-server-ciphersuites ssl-default-server-client-sigalgs
        ssl-default-server-curves ssl-default-server-options ssl-default-server-sigalgs ssl-dh-param-file ssl-engine
        ssl-propquery ssl-provider ssl-provider-path ssl-security-level ssl-server-verify stats stats-file tune.bufsize
        tune.fail-alloc tune.http.maxhdr tune.maxrewrite
        localpeer tune.stick-counters tune.ssl.cachesize tune.ssl.capture-buffer-size tune.ssl.capture-cipherlist-size
        tune.ssl.default-dh-param tune.ssl.keylog tune.ssl.lifetime unix-bind unsetenv wurfl-cache-size wurfl-data-file
        wurfl-engine-mode wurfl-information-list wurfl-information-list-separator wurfl-useragent-priority zero-warning
        """
    )
)

# -- proxies ----------------------------------------------------------------------------------------------------------

PROXY = words(
    """
    acl backlog balance be-unpublished bind capture clitcpka-cnt clitcpka-idle clitcpka-intvl compression cookie declare
    default-server default_backend description disabled dispatch email-alert enabled errorfile errorfiles errorloc
    errorloc302 errorloc303 error-log-format external-check filter filter-sequence force-be-switch force-persist
    fullconn guid hash-balance-factor hash-preserve-affinity hash-type http-after-response http-check http-drop-request
    http-drop-response http-error http-request http-response http-reuse http-send-name-header id ignore-persist
    load-server-state-from-file log log-format log-format-sd log-steps log-tag max-keep-alive-queue
    max-session-srv-conns maxconn mode monitor monitor-uri option persist quic-initial rate-limit redirect
    retries retry-on server server-state-file-name server-template source srvtcpka-cnt srvtcpka-idle srvtcpka-intvl
    ssl-f-use
    stats stick stick-table tcp-check tcp-request tcp-response timeout transparent unique-id-format unique-id-header
    use-fcgi-app use-server use_backend dynamic-cookie-key
    """
)
# Words that HAProxy itself removed, and the replacement that it recommends.
PROXY_REMOVED = {
    "appsession": "HAProxy removed it in 1.6",
    "bind-process": "HAProxy removed it in 2.7: take it out, there is one process",
    "block": "HAProxy removed it in 2.1: the word is now 'http-request deny'",
    "clitimeout": "HAProxy removed it in 2.1: write 'timeout client'",
    "contimeout": "HAProxy removed it in 2.1: write 'timeout connect'",
    "grace": "HAProxy removed it in 2.5: take it out",
    "monitor-net": "HAProxy removed it in 2.3: write 'http-request return status 200 if { src NETWORK }'",
    **dict.fromkeys(("redisp", "redispatch"), "HAProxy removed it in 2.1: write 'option redispatch'"),
    "srvtimeout": "HAProxy removed it in 2.1: write 'timeout server'",
    **{
        f"{side}{case}{verb}": f"HAProxy removed it in 2.1: the word is now 'http-{whose} {now}'"
        for side, whose, verbs in (
            ("req", "request", {"add": "add-header", "del": "del-header"}),
            ("req", "request", {"allow": "allow", "deny": "deny", "pass": "allow", "tarpit": "tarpit"}),
            ("rsp", "response", {"add": "add-header", "del": "del-header", "deny": "deny", "rep": "replace-header"}),
        )
        for verb, now in verbs.items()
        for case in ("", "i")
    },
    **dict.fromkeys(
        ("reqrep", "reqirep"),
        "HAProxy removed it in 2.1: write 'http-request replace-header', of the first line 'replace-path' or"
        " 'replace-uri'",
    ),
}
MODES = ("tcp", "http")
MODES_NOT_DONE = words("log spop health haterm syslog")

BALANCE = words(
    """
    roundrobin static-rr leastconn first source uri url_param hdr random rdp-cookie hash sticky log-hash
    """
)
# 421 and 429 came after 2.6.
RETRY_ON = words(
    """
    none conn-failure empty-response junk-response response-timeout 0rtt-rejected all-retryable-errors
    401 403 404 408 421 425 429 500 501 502 503 504
    """
)
ALL_RETRYABLE_ERRORS = words(
    """
    conn-failure empty-response junk-response response-timeout 0rtt-rejected 500 502 503 504
    """
)
TIMEOUTS = words(
    """
    check client client-fin client-hs connect http-keep-alive http-request queue server server-fin tarpit tunnel
    """
)

# Options, with the sides that they act on: "F" frontend, "B" backend.
OPTIONS = {
    "abortonclose": "FB",  # in frontends since 3.3
    "accept-invalid-http-request": "F",
    "accept-invalid-http-response": "B",
    "accept-unsafe-violations-in-http-request": "F",
    "accept-unsafe-violations-in-http-response": "B",
    "allbackups": "B",
    "checkcache": "B",
    "clitcpka": "F",
    "contstats": "F",
    "disable-h2-upgrade": "F",
    "dontlog-normal": "F",
    "dontlognull": "F",
    "external-check": "B",
    "forwarded": "B",
    "forwardfor": "FB",
    "h1-case-adjust-bogus-client": "F",
    "h1-case-adjust-bogus-server": "B",
    "http-buffer-request": "FB",
    "http-drop-request-trailers": "B",
    "http-drop-response-trailers": "F",
    "http-ignore-probes": "F",
    "http-keep-alive": "FB",
    "http-no-delay": "FB",
    "http-pretend-keepalive": "B",
    "http-restrict-req-hdr-names": "FB",
    "http-server-close": "FB",
    "http-use-proxy-header": "F",
    "httpchk": "B",
    "httpclose": "FB",
    "httplog": "F",
    "httpslog": "F",
    "idle-close-on-response": "F",
    "independent-streams": "FB",
    "independant-streams": "FB",
    "ldap-check": "B",
    "log-health-checks": "B",
    "log-separate-errors": "F",
    "logasap": "F",
    "mysql-check": "B",
    "nolinger": "FB",
    "originalto": "FB",
    "persist": "B",
    "pgsql-check": "B",
    "prefer-last-server": "B",
    "redis-check": "B",
    "redispatch": "B",
    "smtpchk": "B",
    "socket-stats": "F",
    "splice-auto": "FB",
    "splice-request": "FB",
    "splice-response": "FB",
    "spop-check": "B",
    "srvtcpka": "B",
    "ssl-hello-chk": "B",
    "tcp-check": "B",
    "tcp-smart-accept": "F",
    "tcp-smart-connect": "B",
    "tcpka": "FB",
    "tcplog": "F",
    "transparent": "B",
    "use-small-buffers": "FB",
}
OPTIONS_NEVER_NEGATED = words(
    """
    external-check forwardfor http-restrict-req-hdr-names httpchk httplog httpslog ldap-check mysql-check
    originalto pgsql-check redis-check smtpchk spop-check ssl-hello-chk tcp-check tcpka tcplog
    """
)
# These only control how the kernel copies or sends, or when counters are updated: no visible effect.
OPTIONS_WITHOUT_EFFECT = words(
    """
    contstats disable-h2-upgrade http-no-delay splice-auto splice-request splice-response tcp-smart-accept
    tcp-smart-connect use-small-buffers
    """
)
OPTIONS_REMOVED = {
    "forceclose": (
        "HAProxy removed it in 2.0: take it out, or write 'option httpclose', which ends each connection at its answer"
    ),
    "http_proxy": "HAProxy removed it in 2.5: here 'option egress' sends requests where they say",
    "http-tunnel": "HAProxy removed it in 2.1: take it out, it is not needed",
}

STATS = words(
    """
    admin auth enable hide-version http-request realm refresh scope show-desc show-legends show-modules show-node
    show-version uri
    """
)
STATS_GLOBAL = words("bind-process calculate-max-counters maxconn socket timeout")
HTTP_CHECK = words("comment connect disable-on-404 expect send send-state set-var set-var-fmt unset-var")
HTTP_CHECK_SEND = words("meth uri uri-lf ver hdr body body-lf comment")
TCP_CHECK = words("comment connect expect send send-lf send-binary send-binary-lf set-var set-var-fmt unset-var")
CHECK_CONNECT = words("default port addr send-proxy via-socks4 ssl sni alpn proto linger comment")
TCP_CHECK_EXPECT = words(
    """
    binary binary-lf comment custom error-status min-recv ok-status on-error on-success rbinary rstring status-code
    string string-lf tout-status
    """
)
HTTP_CHECK_EXPECT = words(
    """
    comment error-status fhdr hdr header min-recv ok-status on-error on-success rstatus rstring status status-code
    string string-lf tout-status
    """
)

# -- log --------------------------------------------------------------------------------------------------------------

LOG_FORMATS = words("local rfc3164 rfc5424 priority short timed iso raw")
LOG_FACILITIES = _ordered("""
    kern user mail daemon auth syslog lpr news uucp cron auth2 ftp ntp audit alert cron2 local0 local1 local2 local3
    local4 local5 local6 local7
    """)
LOG_LEVELS = _ordered("emerg alert crit err warning notice info debug")


# -- the words of bind and server lines, with the number of arguments that each takes ----------------------------------


def _arguments(text: str) -> dict[str, int]:
    """Parses `name` as a word without argument and `name+1` as a word with one."""
    pairs = (word.partition("+") for word in text.split())
    return {name: int(count or 0) for name, _, count in pairs}


BIND = _arguments(
    """
    accept-netscaler-cip+1 accept-proxy allow-0rtt alpn+1 backlog+1 ca-file+1 ca-ignore-err+1 ca-sign-file+1
    ca-sign-pass+1 ca-verify-file+1 cc+1 ciphers+1 ciphersuites+1 client-sigalgs+1 crl-file+1 crt+1 crt-ignore-err+1
    crt-list+1 curves+1 default-crt+1 defer-accept ech+1 ecdhe+1 expose-fd+1 force-sslv3 force-strict-sni force-tlsv10
    force-tlsv11 force-tlsv12 force-tlsv13 generate-certificates gid+1 group+1 guid-prefix+1 id+1 idle-ping+1
    interface+1 ktls+1 label+1 level+1 maxconn+1 mode+1 mss+1 name+1 namespace+1 nbconn+1 nice+1 no-alpn no-ca-names
    no-sslv3 no-strict-sni no-tls-tickets no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 npn+1 ocsp-update+1
    prefer-client-ciphers process+1 proto+1 quic-cc-algo+1 quic-force-retry quic-socket+1 severity-output+1 shards+1
    sigalgs+1 ssl ssl-max-ver+1 ssl-min-ver+1 strict-sni tcp-md5sig+1 tcp-ss+1 tcp-ut+1 tfo thread+1 tls-ticket-keys+1
    tls-tickets transparent uid+1 user+1 v4v6 v6only verify+1
    """
)
# Words that have a meaning on a TLS listener only.
BIND_TLS = words(
    """
    allow-0rtt alpn ca-file ca-ignore-err ca-sign-file ca-sign-pass ca-verify-file ciphers ciphersuites client-sigalgs
    crl-file crt crt-ignore-err crt-list curves default-crt ech ecdhe force-sslv3 force-strict-sni force-tlsv10
    force-tlsv11 force-tlsv12 force-tlsv13 generate-certificates ktls no-alpn no-ca-names no-sslv3 no-strict-sni
    no-tls-tickets no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 npn ocsp-update prefer-client-ciphers sigalgs ssl-max-ver
    ssl-min-ver strict-sni tls-ticket-keys tls-tickets verify
    """
)
# TLS versions as they are spelled within HAProxy's words, oldest first.
TLS_SHORT = ("tlsv10", "tlsv11", "tlsv12", "tlsv13")
# Words about threads and about how the kernel wakes the process; about what a client may do, and is not taken up on
# (early data); and about what HAProxy does for HTTP/2 alone.
BIND_WITHOUT_EFFECT = words("allow-0rtt defer-accept guid-prefix idle-ping label nice process shards thread")

SERVER = _arguments(
    """
    addr+1 agent-addr+1 agent-check agent-inter+1 agent-port+1 agent-send+1 allow-0rtt alpn+1 backup ca-file+1 cc+1
    check check-alpn+1 check-pool-conn-name+1 check-proto+1 check-reuse-pool check-send-proxy check-sni+1
    check-sni-auto check-ssl check-via-socks4 ciphers+1 ciphersuites+1 client-sigalgs+1 cookie+1 crl-file+1 crt+1
    curves+1 disabled downinter+1 enabled error-limit+1 fall+1 fastinter+1 force-sslv3 force-tlsv10 force-tlsv11
    force-tlsv12 force-tlsv13 guid+1 hash-key+1 healthcheck+1 id+1 idle-ping+1 init-addr+1 init-state+1 inter+1
    interface+1 ktls+1 log-bufsize+1 log-proto+1 max-reuse+1 maxconn+1 maxqueue+1 minconn+1 namespace+1
    no-agent-check no-backup no-check no-check-reuse-pool no-check-send-proxy no-check-sni-auto no-check-ssl
    no-renegotiate no-send-proxy no-send-proxy-v2 no-send-proxy-v2-ssl no-send-proxy-v2-ssl-cn no-sni-auto no-ssl
    no-ssl-reuse no-sslv3 no-strict-maxconn no-tfo no-tls-tickets no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13
    no-verifyhost non-stick npn+1 observe+1 on-error+1 on-marked-down+1 on-marked-up+1 pool-conn-name+1
    pool-low-conn+1 pool-max-conn+1 pool-purge-delay+1 port+1 proto+1 proxy-v2-options+1 quic-cc-algo+1 redir+1
    renegotiate
    resolve-net+1 resolve-opts+1 resolve-prefer+1 resolvers+1 rise+1 send-proxy send-proxy-v2 send-proxy-v2-ssl
    send-proxy-v2-ssl-cn set-proxy-v2-tlv-fmt+1 shard+1 sigalgs+1 slowstart+1 sni+1 sni-auto socks4+1 source+1 ssl
    ssl-max-ver+1 ssl-min-ver+1 ssl-reuse stick strict-maxconn tcp-md5sig+1 tcp-ut+1 tfo tls-tickets track+1
    usesrc+1 verify+1 verifyhost+1 weight+1 ws+1
    """
)
# Words about what is spared a connection that is opened ahead of requests.
SERVER_WITHOUT_EFFECT = words("allow-0rtt tfo")
# Words that ask for what is done in any case; of those with an argument, which ones do.
SERVER_AS_WE_DO = words(
    """
    no-renegotiate no-tfo
    """
)
SERVER_AS_WE_DO_WITH = {
    "check-proto": words("h1"),
    "ktls": words("off"),
    "proto": words("h1"),
    "ws": words("auto h1"),
}


def without_number(action: str) -> str:
    """Returns the action as the lists have it: `track-sc7` is `track-sc` there, as counters have any number
    (`tune.stick-counters`)."""
    return "track-sc" if action.startswith("track-sc") and action[8:].isdigit() else action
