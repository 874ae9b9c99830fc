"""Says what to do instead of a word of HAProxy's that is not done: the tail of the message that refuses it.

A key is the word alone, or with where it stands before it (`server ws`, `global set-var`), where one word means several
things. Must never know whether a word is done.
"""

from __future__ import annotations

from reusedproxy.config.language.haproxy_words import GLOBAL

_BY_KERNEL = "connections to servers come from this machine: 'source ADDRESS' says from which of its addresses"
_IN_NAMESPACE = "start the daemon in that network namespace (ip netns exec, NetworkNamespacePath= of systemd)"
_NAMED_CERTIFICATES = "name the certificates with 'crt' or 'crt-list'"
_NO_QUIC = "take it out: QUIC is not spoken"

HINTS = {
    "check-via-socks4": "checks connect directly, as requests do",
    "check-alpn": "checks speak HTTP/1.1, so none is needed",
    "check-proto": "checks speak HTTP/1.1, not HTTP/2",
    "server proto": "servers are spoken to in HTTP/1.1, not in HTTP/2: leave it out",
    "check-pool-conn-name": "'check-sni' says the one name that checks and warm connections have",
    "redir": "write 'http-request redirect' with its condition",
    "persist": "'stick on rdp_cookie(mstshash)' and a 'stick-table type string' keep clients of RDP at their server",
    "lua-load": "no Lua is run",
    "lua-load-per-thread": "no Lua is run",
    "accept-invalid-http-request": "take it out: what servers may read in several ways is refused",
    "accept-invalid-http-response": "take it out: what clients may read in several ways is refused",
    "accept-unsafe-violations-in-http-request": "take it out: what servers may read in several ways is refused",
    "accept-unsafe-violations-in-http-response": "take it out: what clients may read in several ways is refused",
    "nolinger": "take it out: connections end in order",
    "independent-streams": "take it out: each side has its own time-out",
    "independant-streams": "take it out: each side has its own time-out",
    "checkcache": "write 'http-response deny' with the condition that an answer must not be kept",
    "dispatch": "write 'server NAME ADDRESS:PORT'",
    "email-alert": "no mail is sent: let what reads the log, or the metrics, send it",
    "use-fcgi-app": "FastCGI is not spoken: put a server that speaks HTTP before the application",
    "cache": "answers are not kept: let a cache such as Varnish stand before or behind",
    "cache-use": "answers are not kept: take it out, and each request goes to a server",
    "cache-store": "answers are not kept: take it out",
    "lua": "no Lua is run",
    "send-spoe-group": "no SPOE agent is asked",
    "program": "no program is started: let systemd, or the container, run it",
    "mailers": "no mail is sent: let what reads the log, or the metrics, send it",
    "fcgi-app": "FastCGI is not spoken: put a server that speaks HTTP before the application",
    "ring": "write 'log' with the address of a syslog server",
    "log-forward": "write 'log' with the address of a syslog server",
    "set-bc-mark": "connections to servers are shared by requests",
    "set-bc-tos": "connections to servers are shared by requests",
    "spop-check": "there is no SPOE here, whose agents it checks; write 'option tcp-check'",
    **dict.fromkeys(
        ("cpu_calls", "cpu_ns_avg", "cpu_ns_tot", "lat_ns_avg", "lat_ns_tot"),
        "take it out: processor time is not measured by request ('%Tr' and '%Ta' are times)",
    ),
    **dict.fromkeys(
        ("bc_glitches", "fc_glitches", "sc_glitch_cnt", "sc_glitch_rate", "src_glitch_cnt", "src_glitch_rate")
        + ("table_glitch_cnt", "table_glitch_rate"),
        "they are HTTP/2's for the most part; a request that can be read in several ways is refused at once here, and"
        " 'http_err_cnt' counts it",
    ),
    **dict.fromkeys(
        ("bs.aborted", "bs.debug_str", "bs.id", "bs.rst_code", "fs.aborted", "fs.debug_str", "fs.id", "fs.rst_code"),
        "they are for finding faults in HAProxy itself: 'txn.sess_term_state' says what has become of a request",
    ),
    **dict.fromkeys(
        ("term_events", "waiting_entity"), "'txn.sess_term_state' and 'last_rule_line' say what has become of a request"
    ),
    **dict.fromkeys(("ssl_fc_ech_outer_sni", "ssl_fc_ech_status"), "the OpenSSL here cannot encrypt a client's hello"),
    **dict.fromkeys(
        ("cpu_usage_grp", "cpu_usage_proc", "cpu_usage_thr"), "let what watches the machine say it: there is one thread"
    ),
    **dict.fromkeys(
        ("req.bytes_out", "req.tot_size", "res.bytes_out"),
        "a request and its answer are counted as they come: 'req.bytes_in', 'res.bytes_in'",
    ),
    **dict.fromkeys(("distcc_body", "distcc_param"), "write 'req.payload' with its place in the message"),
    **dict.fromkeys(("fcgi.docroot", "fcgi.index"), "FastCGI is not spoken"),
    "spoe.engine-id": "no SPOE agent is asked",
    **dict.fromkeys(
        (
            f"internal.{name}"
            for name in (
                *("htx.data", "htx.free", "htx.free_data", "htx.has_eom", "htx.nbblks", "htx.size", "htx.used"),
                *("htx_blk.data", "htx_blk.hdrname", "htx_blk.hdrval", "htx_blk.size", "htx_blk.start_line"),
                *("htx_blk.type", "strm.is_htx"),
            )
        ),
        "they show HAProxy's own memory, for its developers",
    ),
    "acl": "write the condition behind the rule, with 'if'",
    "dump_all_vars": "write the variables one by one, with 'var'",
    "server_status": "keep 'status' in a variable, by the first rule for responses",
    **dict.fromkeys(
        ("fc_saved_syn", "eth.data", "eth.dst", "eth.hdr", "eth.proto", "eth.src", "eth.vlan", "ip.data", "ip.df")
        + ("ip.dst", "ip.fp", "ip.hdr", "ip.proto", "ip.src", "ip.tos", "ip.ttl", "ip.ver", "tcp.dst", "tcp.flags")
        + ("tcp.options.mss", "tcp.options.sack", "tcp.options.tsopt", "tcp.options.tsval", "tcp.options.wscale")
        + ("tcp.options.wsopt", "tcp.options_list", "tcp.seq", "tcp.src", "tcp.win"),
        "the first packet of a connection is not kept",
    ),
    **dict.fromkeys(
        (
            f"ssl_{side}_{secret}"
            for side in ("bc", "fc")
            for secret in (
                "client_early_traffic_secret",
                "client_handshake_traffic_secret",
                "client_traffic_secret_0",
                "early_exporter_secret",
                "exporter_secret",
                "server_handshake_traffic_secret",
                "server_traffic_secret_0",
            )
        ),
        "with it, whoever has recorded a connection can read it",
    ),
    "transparent": "name a server's address and port",
    "bind namespace": _IN_NAMESPACE,
    "bind tls-ticket-keys": "OpenSSL's binding has no call for it; tickets have keys of their own until the next reload"
    " of changed files",
    "bind ocsp-update": "take it out, no OCSP response is sent to clients yet",
    "bind generate-certificates": _NAMED_CERTIFICATES,
    "bind ca-sign-file": _NAMED_CERTIFICATES,
    "bind ca-sign-pass": _NAMED_CERTIFICATES,
    # -- in global
    **dict.fromkeys(
        (word for word in GLOBAL if word.startswith(("51degrees-", "deviceatlas-", "wurfl-"))),
        "kinds of devices are told apart by a map: 'req.hdr(user-agent),map_reg(FILE)'",
    ),
    **dict.fromkeys(
        (word for word in GLOBAL if word.startswith("ocsp-update.")),
        "take it out, no OCSP response is sent to clients yet",
    ),
    "acme.scheduler": "no certificate is asked for: let an ACME client such as certbot renew the files",
    "anonkey": "take it out: nothing shows the configuration under other names",
    **dict.fromkeys(
        ("capabilities", "setcap"), "give them where the daemon is started (AmbientCapabilities= of systemd)"
    ),
    "close-spread-time": "take it out: a stop lets idle clients go at once, a reload keeps them",
    "cluster-secret": _NO_QUIC,
    "harden.reject-privileged-ports.quic": _NO_QUIC,
    "harden.reject-privileged-ports.tcp": "write 'tcp-request connection reject if { src_port lt 1024 }'",
    **dict.fromkeys(("force-cfg-parser-pause", "tune.fail-alloc"), "take it out: it is for tests of HAProxy itself"),
    "grace": "take it out: 'hard-stop-after' says how long a stop may take",
    "h1-do-not-close-on-insecure-transfer-encoding": "take it out: what servers may read in several ways is refused",
    **dict.fromkeys(
        ("jwt.decrypt_alg_list", "jwt.decrypt_enc_list"),
        "write a rule about the token's header: 'http-request deny unless { VALUE,jwt_header_query('$.enc') -m str"
        " A256GCM }'",
    ),
    **dict.fromkeys(
        ("ssl-engine", "ssl-propquery", "ssl-provider", "ssl-provider-path"),
        "OpenSSL loads what its own configuration names (OPENSSL_CONF in the environment)",
    ),
    "ssl-passphrase-cmd": "write the key without a passphrase (openssl pkey -in KEY -out FILE) into a file that"
    " the daemon alone may read",
    "ssl-security-level": "write it into the ciphers: 'ssl-default-bind-ciphers DEFAULT:@SECLEVEL=2', say",
    "stats-file": "take it out: counters go on through reloads",
    "use-large-buffer": "take it out, and let 'tune.bufsize' have the size that a body needs",
    "tune.ssl.certificate-compression": "take it out: what OpenSSL does by itself is done",
    "tune.ssl.keyupdate-rate-limit": "take it out: a connection that brings nothing else is closed",
    "tune.ssl.keylog": "with it, whoever has recorded a connection can read it: take it out",
    # -- in proxies
    "be-unpublished": "take the lines out that lead there ('use_backend', 'default_backend'), or write 'disabled'",
    "ssl-f-use": "write 'crt' on the 'bind' line, or a 'crt-list' where certificates have settings of their own",
    **dict.fromkeys(
        ("add-headers-bin", "set-headers-bin", "del-headers-bin"),
        "write a rule for each header: 'set-header NAME VALUE', 'del-header NAME'",
    ),
    "bind-process": "take it out: there is one process",
    "filter-sequence": "take it out: filters run in the order of their lines",
    "force-be-switch": "take it out: no backend is unpublished",
    "log-steps": "take it out: a line is written at the end, or with 'option logasap' as soon as the answer's head is"
    " there",
    "max-session-srv-conns": "take it out: a client keeps 32 connections of its own at most",
    "quic-initial": _NO_QUIC,
    **dict.fromkeys(
        ("http-drop-request", "http-drop-response", "http-drop-request-trailers", "http-drop-response-trailers"),
        "take it out: trailers go on, without those that frame a message, route it or stand for a header",
    ),
    "idle-close-on-response": "take it out: a reload keeps idle clients, so that no request meets a closed connection",
    # -- on server and bind lines
    "server healthcheck": "write 'option httpchk' or 'option tcp-check' in the backend",
    "server usesrc": f"{_BY_KERNEL}; 'option forwardfor' or 'send-proxy' tells the server the client's",
    **dict.fromkeys(("server log-bufsize", "server log-proto"), "it is for servers of a 'ring' section"),
    "server namespace": _IN_NAMESPACE,
    "server npn": "take it out: servers are spoken to in HTTP/1.1",
    "server ws": "servers are spoken to in HTTP/1.1, for WebSockets, too: write 'ws h1', or leave it out",
    "server quic-cc-algo": _NO_QUIC,
    "server renegotiate": "take it out: TLS is never negotiated again",
    "server shard": "tables are not sent to other machines",
    "server socks4": "connections to servers are direct: name an address that leads there",
    "bind accept-netscaler-cip": "'accept-proxy' reads the PROXY protocol, the only one that is read there",
    "bind ech": "the OpenSSL here cannot encrypt a client's hello",
    "bind nbconn": "servers that connect to the proxy speak HTTP/2, which is not spoken",
    **dict.fromkeys(("bind expose-fd", "bind level", "bind severity-output"), "it stands on 'stats socket' lines"),
    **dict.fromkeys((f"bind {word}" for word in ("quic-cc-algo", "quic-force-retry", "quic-socket")), _NO_QUIC),
    "bind tcp-ss": "the first packet of a connection is not kept",
    **dict.fromkeys(("bind ktls", "server ktls"), "take it out: OpenSSL encrypts in the process"),
    **dict.fromkeys(
        ("bind tcp-md5sig", "server tcp-md5sig"), "segments are not signed (RFC 2385): 'ssl' knows the other side"
    ),
    # -- in rules
    **dict.fromkeys(
        (f"tcp-request {stage} capture" for stage in ("connection", "session")), "write 'tcp-request content'"
    ),
    "expect-netscaler-cip": "'tcp-request connection expect-proxy layer4' reads the PROXY protocol, the only one there",
    "attach-srv": "servers that connect to the proxy speak HTTP/2, which is not spoken",
    "do-log": "take it out: a request has one line, whose format 'log-format' says",
    "use-service": "'http-request use-service' has it: services speak HTTP",
}
