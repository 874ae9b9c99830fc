"""Lists the implemented sample fetches and converters: their arguments, types, and where they are available. Data only.

Must never evaluate them: that is `reusedproxy.rules`' task, and a test compares the two lists of names. Types are
HAProxy's (manual, section 7.3): bool, int, str, bin, ipv4, ipv6, ip (either of these two), meth; "any" is the type of a
variable's value.
"""

from __future__ import annotations

from attrs import frozen

from reusedproxy.config.language.haproxy_words import words

#: Where a fetch is available: the request's head only while the request's rules run, as in HAProxy; the bytes of a
#: connection, and what can be read in them, only where rules of `mode tcp` inspect them.
REQUEST, RESPONSE, ALWAYS = "request", "response", ""
#: In a line of the log, when all heads are gone.
LOG = "log"
CLIENT_BYTES, SERVER_BYTES, EITHER_BYTES = "client's bytes", "server's bytes", "bytes"

#: What is at hand where a rule stands. A head may be read in a client's bytes, too.
AT_HAND = {
    REQUEST: frozenset((ALWAYS, REQUEST)),
    RESPONSE: frozenset((ALWAYS, RESPONSE)),
    LOG: frozenset((ALWAYS,)),
    CLIENT_BYTES: frozenset((ALWAYS, REQUEST, CLIENT_BYTES, EITHER_BYTES)),
    SERVER_BYTES: frozenset((ALWAYS, RESPONSE, SERVER_BYTES, EITHER_BYTES)),
}
#: In words.
NEEDED = {
    REQUEST: "a request",
    RESPONSE: "a response",
    CLIENT_BYTES: "what a client sends in 'mode tcp'",
    SERVER_BYTES: "what a server sends in 'mode tcp'",
    EITHER_BYTES: "what is sent in 'mode tcp'",
}


@frozen
class Signature:
    """Holds the number of arguments (`least` to `most`), the type taken (converters only) and given, and `where`
    it is available.

    `numbers` are the indices of arguments that must be whole numbers. `table` is the index of the argument that names a
    stick table, -1 without any; where it `needs_table`, that of the section stands for one that is not said.
    """

    least: int
    most: int
    gives: str
    takes: str = ""
    where: str = ALWAYS
    numbers: tuple[int, ...] = ()
    table: int = -1
    needs_table: bool = False


def _of(
    where: str, gives: str, names: str, least: int = 0, most: int = 0, numbers: tuple[int, ...] = ()
) -> dict[str, Signature]:
    return {name: Signature(least, most, gives, where=where, numbers=numbers) for name in names.split()}


_CERTIFICATE = {
    "bin": "der serial sha1",
    "str": "notafter notbefore sig_alg key_alg",
    "int": "version",
}


def _certificate(side: str) -> dict[str, Signature]:
    """Returns the fetches about a certificate: ssl_c_ is the client's, ssl_f_ that shown to it, ssl_s_ the server's."""
    names = {
        f"{side}_{name}": Signature(0, 0, gives) for gives, those in _CERTIFICATE.items() for name in those.split()
    }
    dn = Signature(0, 3, "str", numbers=(1,))
    return {**names, f"{side}_s_dn": dn, f"{side}_i_dn": dn}


#: What can be asked of an entry of a stick table, behind `sc_` or `src_`; and what besides by a number of its own.
OF_ENTRIES = words(
    """
    bytes_in_rate bytes_out_rate clr_gpc0 clr_gpc1 conn_cnt conn_cur conn_rate get_gpc0 get_gpc1 get_gpt0 gpc0_rate
    gpc1_rate http_err_cnt http_err_rate http_fail_cnt http_fail_rate http_req_cnt http_req_rate inc_gpc0 inc_gpc1
    kbytes_in kbytes_out sess_cnt sess_rate
    """
)
NUMBERED = ("clr_gpc", "get_gpc", "get_gpt", "gpc_rate", "inc_gpc")


def _of_entries() -> dict[str, Signature]:
    """Returns the fetches about tracked entries, with the number of the counter as an argument or in the name, and
    those about the entry of the client's address."""
    found = {}
    names = [(name, "int", 0) for name in (*sorted(OF_ENTRIES), "trackers")] + [(name, "int", 1) for name in NUMBERED]
    for name, gives, before in (*names, ("tracked", "bool", 0)):
        numbers = tuple(range(before + 1))
        found[f"sc_{name}"] = Signature(before + 1, before + 2, gives, numbers=numbers, table=before + 1)
        for number in range(3):
            found[f"sc{number}_{name}"] = Signature(before, before + 1, gives, numbers=numbers[:-1], table=before)
        if name not in ("tracked", "trackers"):
            found[f"src_{name}"] = Signature(
                before, before + 1, gives, numbers=numbers[:-1], table=before, needs_table=True
            )
    found["sc_key"] = Signature(1, 1, "any", numbers=(0,))
    found |= {f"sc{number}_key": Signature(0, 0, "any") for number in range(3)}
    for name in ("src_updt_conn_cnt", "table_avl", "table_cnt"):
        found[name] = Signature(0, 1, "int", table=0, needs_table=True)
    return found


FETCHES: dict[str, Signature] = {
    # Internal state and constants (7.3.2).
    **_of(ALWAYS, "bool", "always_true always_false"),
    **_of(ALWAYS, "bool", "bool", 1, 1),
    **_of(ALWAYS, "int", "int", 1, 1, (0,)),
    **_of(ALWAYS, "str", "str", 1, 1),
    **_of(ALWAYS, "bin", "bin", 1, 1),
    **_of(ALWAYS, "ipv4", "ipv4", 1, 1),
    **_of(ALWAYS, "ipv6", "ipv6", 1, 1),
    **_of(ALWAYS, "meth", "meth", 1, 1),
    **_of(ALWAYS, "any", "var", 1, 2),
    **_of(ALWAYS, "int", "date", 0, 2, (0,)),
    **_of(ALWAYS, "int", "nbsrv", 0, 1),
    **_of(ALWAYS, "str", "env", 1, 1),
    **_of(ALWAYS, "str", "hostname"),
    **_of(ALWAYS, "int", "pid"),
    **_of(ALWAYS, "int", "rand", 0, 1, (0,)),
    **_of(ALWAYS, "str", "uuid", 0, 1, (0,)),
    **_of(ALWAYS, "int", "be_conn be_conn_free fe_conn queue avg_queue connslots", 0, 1),
    **_of(ALWAYS, "int", "be_sess_rate fe_req_rate fe_sess_rate", 0, 1),
    **_of(ALWAYS, "int", "be_id date_us dst_conn fe_id tgroup"),
    **_of(ALWAYS, "str", "last_entity last_rule_file"),
    **_of(ALWAYS, "int", "last_rule_line"),
    **_of(ALWAYS, "bool", "src_is_local dst_is_local fc_src_is_local fc_dst_is_local"),
    **_of(ALWAYS, "int", "fc_fackets fc_nb_streams fc_settings_streams_limit"),
    **_of(ALWAYS, "str", "fc_pp_tlv", 1, 1),
    **_of(RESPONSE, "int", "bc_nb_streams bc_settings_streams_limit bc_src_port"),
    **_of(RESPONSE, "ip", "bc_src"),
    **_of(RESPONSE, "bool", "bc_reused"),
    **_of(RESPONSE, "bool", "res.cache_hit res.comp"),
    **_of(RESPONSE, "str", "res.cache_name res.comp_algo"),
    **_of(RESPONSE, "int", "srv_id"),
    **_of(ALWAYS, "int", "be_connect_timeout be_max_retries be_queue_timeout be_server_timeout be_tarpit_timeout"),
    **_of(ALWAYS, "int", "be_tunnel_timeout fe_client_timeout fe_tarpit_timeout uptime"),
    **_of(ALWAYS, "int", "cur_client_timeout cur_connect_timeout cur_max_retries cur_queue_timeout cur_server_timeout"),
    **_of(ALWAYS, "int", "cur_tarpit_timeout cur_tunnel_timeout"),
    **_of(ALWAYS, "str", "fe_defbe"),
    **_of(ALWAYS, "bool", "stopping"),
    **_of(ALWAYS, "int", "fc_lost fc_reordering fc_retrans fc_sacked fc_unacked"),
    **_of(ALWAYS, "int", "fc_rtt fc_rttvar", 0, 1),
    **_of(RESPONSE, "int", "bc_rtt bc_rttvar", 0, 1),
    **_of(ALWAYS, "bool", "srv_is_up", 1, 1),
    **_of(ALWAYS, "int", "srv_conn srv_conn_free srv_iweight srv_queue srv_sess_rate srv_uweight srv_weight", 1, 1),
    **_of(ALWAYS, "int", "nbproc proc thread"),
    **_of(ALWAYS, "bool", "quic_enabled"),
    # The exchange, as the log has it.
    **_of(ALWAYS, "int", "fc.timer.handshake fc.timer.total bc.timer.connect txn.timer.total txn.timer.user"),
    **_of(ALWAYS, "int", "req.timer.hdr req.timer.idle req.timer.queue req.timer.tq res.timer.data res.timer.hdr"),
    **_of(ALWAYS, "int", "accept_date request_date", 0, 1),
    **_of(ALWAYS, "int", "act_conn bc_be_queue bc_dst_port bc_err bc_srv_queue bytes_in bytes_out so_id"),
    **_of(ALWAYS, "int", "bc_http_major txn.conn_retries txn.id32"),
    **_of(ALWAYS, "bool", "txn.redispatched"),
    **_of(ALWAYS, "int", "ssl_bc_err"),
    **_of(ALWAYS, "str", "bc_err_name bc_err_str ssl_bc_err_str txn.sess_term_state"),
    **_of(ALWAYS, "ip", "bc_dst"),
    # Connections (7.3.3).
    **_of(ALWAYS, "ip", "src dst fc_src fc_dst"),
    **_of(ALWAYS, "int", "src_port dst_port fc_src_port fc_dst_port fc_http_major"),
    **_of(ALWAYS, "str", "fe_name be_name so_name"),
    **_of(ALWAYS, "bool", "fc_rcvd_proxy"),
    **_of(ALWAYS, "str", "fc_pp_authority fc_pp_unique_id"),
    **_of(ALWAYS, "int", "fc_err"),
    **_of(ALWAYS, "str", "fc_err_name fc_err_str"),
    **_of_entries(),
    # TLS (7.3.4).
    **_of(ALWAYS, "bool", "ssl_fc ssl_fc_has_crt ssl_fc_has_sni ssl_fc_is_resumed ssl_c_used"),
    **_of(ALWAYS, "str", "ssl_fc_crtname ssl_fc_sni ssl_fc_protocol ssl_fc_cipher ssl_fc_alpn"),
    **_of(ALWAYS, "int", "ssl_fc_err"),
    **_of(ALWAYS, "str", "ssl_fc_err_str"),
    # What the client's hello lists, where it is captured.
    **_of(ALWAYS, "bin", "ssl_fc_cipherlist_bin ssl_fc_extlist_bin ssl_fc_eclist_bin", 0, 1, (0,)),
    **_of(ALWAYS, "bin", "ssl_fc_sigalgs_bin ssl_fc_supported_versions_bin", 0, 1, (0,)),
    **_of(ALWAYS, "bin", "ssl_fc_ecformats_bin"),
    **_of(ALWAYS, "str", "ssl_fc_cipherlist_hex ssl_fc_cipherlist_str", 0, 1, (0,)),
    **_of(ALWAYS, "int", "ssl_fc_cipherlist_xxh ssl_fc_protocol_hello_id"),
    **_of(ALWAYS, "int", "ssl_fc_alg_keysize ssl_fc_use_keysize"),
    **_of(ALWAYS, "int", "ssl_c_verify ssl_c_err ssl_c_ca_err ssl_c_ca_err_depth"),
    **_of(ALWAYS, "str", "ssl_fc_curve ssl_fc_npn"),
    **_of(ALWAYS, "bin", "ssl_fc_client_random ssl_fc_server_random ssl_fc_session_id ssl_fc_session_key"),
    **_of(ALWAYS, "bin", "ssl_c_chain_der ssl_fc_unique_id"),
    **_of(ALWAYS, "bool", "ssl_fc_early_rcvd ssl_fc_has_early"),
    **_of(ALWAYS, "str", "ssl_c_r_dn", 0, 3, (1,)),
    **_of(ALWAYS, "str", "ssl_c_san"),
    **_of(ALWAYS, "str", "ssl_c_policies", 0, 1),
    **_certificate("ssl_c"),
    **_certificate("ssl_f"),
    **_of(RESPONSE, "bool", "ssl_bc ssl_bc_is_resumed"),
    **_of(RESPONSE, "str", "ssl_bc_protocol ssl_bc_cipher ssl_bc_alpn ssl_bc_curve ssl_bc_npn"),
    **_of(RESPONSE, "str", "ssl_bc_sni"),
    **_of(RESPONSE, "bin", "ssl_bc_client_random ssl_bc_server_random ssl_bc_session_id ssl_bc_session_key"),
    **_of(RESPONSE, "bin", "ssl_bc_unique_id ssl_s_chain_der"),
    **_of(RESPONSE, "int", "ssl_bc_alg_keysize ssl_bc_use_keysize"),
    **{name: Signature(each.least, each.most, each.gives, where=RESPONSE, numbers=each.numbers)
       for name, each in _certificate("ssl_s").items()},
    # Bytes of connections (7.3.5).
    **_of(EITHER_BYTES, "bool", "wait_end"),
    **_of(CLIENT_BYTES, "int", "req.len req.ssl_hello_type req.ssl_ver"),
    **_of(CLIENT_BYTES, "bin", "req.payload", 2, 2, (0, 1)),
    **_of(CLIENT_BYTES, "bin", "req.payload_lv", 2, 3, (0, 1, 2)),
    **_of(CLIENT_BYTES, "str", "req.ssl_sni req.ssl_alpn"),
    **_of(CLIENT_BYTES, "str", "req.rdp_cookie", 0, 1),
    **_of(CLIENT_BYTES, "int", "req.rdp_cookie_cnt", 0, 1),
    **_of(CLIENT_BYTES, "bin", "req.ssl_cipherlist req.ssl_keyshare_groups req.ssl_sigalgs req.ssl_supported_groups"),
    **_of(CLIENT_BYTES, "bool", "req.ssl_ec_ext"),
    **_of(CLIENT_BYTES, "int", "req.ssl_st_ext"),
    **_of(EITHER_BYTES, "bin", "payload", 2, 2, (0, 1)),
    **_of(EITHER_BYTES, "bin", "payload_lv", 2, 3, (0, 1, 2)),
    **_of(SERVER_BYTES, "int", "res.len res.ssl_hello_type"),
    **_of(SERVER_BYTES, "bin", "res.payload", 2, 2, (0, 1)),
    **_of(SERVER_BYTES, "bin", "res.payload_lv", 2, 3, (0, 1, 2)),
    # HTTP (7.3.6).
    **_of(ALWAYS, "meth", "method"),
    **_of(REQUEST, "str", "path pathq url base baseq"),
    **_of(REQUEST, "int", "base32 url32"),
    **_of(REQUEST, "bin", "base32+src url32+src"),
    **_of(REQUEST, "bin", "req.body"),
    **_of(REQUEST, "int", "req.body_len req.body_size"),
    **_of(REQUEST, "bin", "req.body_param", 0, 2),
    **_of(RESPONSE, "bin", "res.body"),
    **_of(RESPONSE, "int", "res.body_len res.body_size"),
    **_of(REQUEST, "str", "query", 0, 1),
    **_of(REQUEST, "str", "url_param", 0, 3),
    **_of(REQUEST, "int", "urlp_val", 0, 3),
    # Fetches from the request in a request's rules, and from the response in a response's.
    **_of(ALWAYS, "str", "hdr", 1, 2, (1,)),
    **_of(ALWAYS, "int", "hdr_cnt", 0, 1),
    **_of(ALWAYS, "int", "hdr_val", 1, 2, (1,)),
    **_of(ALWAYS, "ip", "hdr_ip", 1, 2, (1,)),
    **_of(ALWAYS, "str", "cookie", 0, 1),
    **_of(REQUEST, "str", "req.hdr req.fhdr", 1, 2, (1,)),
    **_of(REQUEST, "int", "req.hdr_cnt req.fhdr_cnt", 0, 1),
    **_of(REQUEST, "int", "req.hdr_val", 1, 2, (1,)),
    **_of(REQUEST, "ip", "req.hdr_ip", 1, 2, (1,)),
    **_of(REQUEST, "str", "req.hdr_names", 0, 1),
    **_of(REQUEST, "str", "req.hdrs"),
    **_of(REQUEST, "bin", "req.hdrs_bin"),
    **_of(RESPONSE, "bin", "res.hdrs_bin"),
    **_of(REQUEST, "str", "req.cook", 0, 1),
    **_of(REQUEST, "int", "req.cook_cnt req.cook_val", 0, 1),
    **_of(ALWAYS, "str", "capture.req.hdr capture.res.hdr", 1, 1, (0,)),
    **_of(ALWAYS, "meth", "capture.req.method"),
    **_of(ALWAYS, "str", "capture.req.uri capture.req.ver"),
    **_of(RESPONSE, "str", "capture.res.ver"),
    **_of(ALWAYS, "str", "unique-id"),
    **_of(ALWAYS, "int", "txn.status txn.hedged"),
    **_of(REQUEST, "bool", "http_auth", 1, 1),
    **_of(REQUEST, "str", "http_auth_group", 1, 1),
    **_of(REQUEST, "str", "http_auth_user http_auth_pass http_auth_type"),
    **_of(REQUEST, "str", "http_auth_bearer", 0, 1),
    **_of(REQUEST, "ip", "url_ip"),
    **_of(REQUEST, "int", "url_port"),
    **_of(REQUEST, "str", "req.cook_names", 0, 1),
    # Facts about the request that are kept as long as its exchange lasts.
    **_of(ALWAYS, "str", "req.ver"),
    **_of(ALWAYS, "bool", "http_first_req req.proto_http"),
    **_of(ALWAYS, "int", "prio_class prio_offset"),
    **_of(RESPONSE, "str", "srv_name"),
    **_of(RESPONSE, "int", "status"),
    **_of(RESPONSE, "str", "res.ver"),
    **_of(RESPONSE, "str", "res.hdr res.fhdr", 1, 2, (1,)),
    **_of(RESPONSE, "int", "res.hdr_cnt res.fhdr_cnt", 0, 1),
    **_of(RESPONSE, "int", "res.hdr_val", 1, 2, (1,)),
    **_of(RESPONSE, "ip", "res.hdr_ip", 1, 2, (1,)),
    **_of(RESPONSE, "str", "res.hdr_names", 0, 1),
    **_of(RESPONSE, "str", "res.hdrs"),
    **_of(RESPONSE, "str", "res.cook_names", 0, 1),
    **_of(RESPONSE, "str", "res.cook", 0, 1),
    **_of(RESPONSE, "int", "res.cook_cnt res.cook_val", 0, 1),
}  # fmt: skip

#: reusedproxy's own; HAProxy refuses them.
OURS = frozenset(("txn.hedged",))

#: Those about a response that are still there when the log is written.
AT_LOG = frozenset(
    (
        "status",
        "srv_id",
        "srv_name",
        "capture.res.ver",
        "bc_rtt",
        "bc_rttvar",
        *("bc_nb_streams", "bc_reused", "bc_settings_streams_limit", "bc_src", "bc_src_port"),
        *("res.cache_hit", "res.cache_name", "res.comp", "res.comp_algo"),
        *(name for name in FETCHES if name.startswith(("ssl_bc", "ssl_s_"))),
    )
)

#: Those that have a value before anything of the client has been read: in `tcp-request connection`.
AT_CONNECTION = frozenset(
    [
        "always_true",
        "always_false",
        "bool",
        "int",
        "str",
        "bin",
        "ipv4",
        "ipv6",
        "meth",
        "var",
        "date",
        *("date_us", "dst_is_local", "fc_dst_is_local", "fc_fackets", "fc_nb_streams", "fc_settings_streams_limit"),
        *("fc_src_is_local", "src_is_local", "ssl_fc", "tgroup"),
        *("accept_date", "act_conn", "fc.timer.handshake", "fc.timer.total", "so_id"),
        "src",
        "dst",
        "fc_src",
        "fc_dst",
        "src_port",
        "dst_port",
        "fc_src_port",
        "fc_dst_port",
        "fc_http_major",
        "fe_name",
        "so_name",
        "nbsrv",
        "be_conn",
        "fe_conn",
        "queue",
        "avg_queue",
        "connslots",
        "be_conn_free",
        "nbproc",
        "proc",
        "quic_enabled",
        "thread",
        *("srv_is_up", "srv_conn", "srv_conn_free", "srv_iweight", "srv_queue", "srv_uweight", "srv_weight"),
        *("be_sess_rate", "dst_conn", "fe_id", "fe_req_rate", "fe_sess_rate", "srv_sess_rate"),
        "env",
        "hostname",
        "pid",
        *("fc_lost", "fc_reordering", "fc_retrans", "fc_rtt", "fc_rttvar", "fc_sacked", "fc_unacked"),
        *("fe_client_timeout", "fe_defbe", "fe_tarpit_timeout", "stopping", "uptime"),
        "rand",
        "uuid",
        *_of_entries(),
    ]
)

#: Aliases of log-format strings (manual, section 8.2.6), with the mode in which alone they have a value; "": both.
ALIASES: dict[str, str] = {
    **dict.fromkeys(words("CC CS HM HP HPO HQ HU HV TR Ta Ti Tq Tr r tr trg trl"), "http"),
    **dict.fromkeys(words("B H ID OG ST T Tc Td Th Tl Ts Tt Tu Tw U ac b bc bi bp bq ci cp f fc fi fp ft hr hrl"), ""),
    **dict.fromkeys(words("hs hsl lc ms pid rc rt s sc si sp sq sslc sslv t ts tsc"), ""),
}
#: Their values, under names that no expression can have.
LOGGED = {f"%{name}": Signature(0, 0, "str") for name in ALIASES}

#: Aliases, mostly older names, from HAProxy's own tables.
SAME = {
    "urlp": "url_param",
    "req_ver": "req.ver",
    "req_len": "req.len",
    "req_ssl_hello_type": "req.ssl_hello_type",
    "req_ssl_sni": "req.ssl_sni",
    "req_ssl_ver": "req.ssl_ver",
    "rdp_cookie": "req.rdp_cookie",
    "rdp_cookie_cnt": "req.rdp_cookie_cnt",
    "rep_ssl_hello_type": "res.ssl_hello_type",
    "resp_ver": "res.ver",
    "cook": "req.cook",
    "cook_cnt": "req.cook_cnt",
    "cook_val": "req.cook_val",
    "req_proto_http": "req.proto_http",
    "scook": "res.cook",
    "scook_cnt": "res.cook_cnt",
    "scook_val": "res.cook_val",
    "shdr": "res.hdr",
    "shdr_cnt": "res.hdr_cnt",
    "shdr_ip": "res.hdr_ip",
    "shdr_val": "res.hdr_val",
    "req.bytes_in": "bytes_in",
    "res.bytes_in": "bytes_out",
}

#: Fetches from the request in a request's rules, and from the response in a response's: each as `req.` or `res.` with
#: this behind it.
BY_PLACE = {
    **{name: name for name in ("hdr", "hdr_cnt", "hdr_val", "hdr_ip", "payload", "payload_lv")},
    "cookie": "cook",
}


def _converters(
    takes: str, gives: str, names: str, least: int = 0, most: int = 0, numbers: tuple[int, ...] = ()
) -> dict[str, Signature]:
    return {name: Signature(least, most, gives, takes, numbers=numbers) for name in names.split()}


#: What gives the key that has matched, as the file has it, and not its value.
KEY = "key"


def _maps() -> dict[str, tuple[str, str]]:
    """Returns how each converter that looks up a map matches, and the type of the values that it gives: `map_beg_int`
    is `beg` and `int`; `map_beg_key` is `beg` and `KEY`."""
    made = {"map": ("str", "str"), "map_regm": ("regm", "str")}
    for method in ("str", "beg", "end", "sub", "dir", "dom", "reg", "int", "ip"):
        made[f"map_{method}"] = (method, "str")
        made |= {f"map_{method}_{gives}": (method, gives) for gives in ("str", "int", "ip", KEY)}
    return {name: each for name, each in made.items() if not name.endswith("_str") or name == "map_str"}


MAPS = _maps()
#: What is looked up: numbers and addresses, and texts with all other methods.
_TAKEN_BY_MAPS = {"int": "int", "ip": "ip"}
#: What can be asked of the entry of a key; `TABLE_NUMBERED` by a number of its own.
TABLE_VALUES = words(
    """
    bytes_in_rate bytes_out_rate clr_gpc0 clr_gpc1 conn_cnt conn_cur conn_rate gpc0 gpc0_rate gpc1 gpc1_rate gpt0
    http_err_cnt http_err_rate http_fail_cnt http_fail_rate http_req_cnt http_req_rate inc_gpc0 inc_gpc1 kbytes_in
    kbytes_out server_id sess_cnt sess_rate trackers
    """
)
TABLE_NUMBERED = ("clr_gpc", "gpc", "gpc_rate", "gpt", "inc_gpc")


def _of_maps() -> dict[str, Signature]:
    found = {}
    for name, (method, gives) in MAPS.items():
        takes = _TAKEN_BY_MAPS.get(method, "str")
        found[name] = Signature(1, 1, "str", takes) if gives == KEY else Signature(1, 2, gives, takes)
    return found


def _of_tables() -> dict[str, Signature]:
    found = {f"table_{name}": Signature(1, 1, "int", "any", table=0) for name in sorted(TABLE_VALUES)}
    found |= {f"table_{name}": Signature(2, 2, "int", "any", numbers=(0,), table=1) for name in TABLE_NUMBERED}
    found |= {f"table_{name}": Signature(1, 2, "int", "any", numbers=(1,), table=0) for name in ("expire", "idle")}
    return {**found, "in_table": Signature(1, 1, "bool", "any", table=0)}


CONVERTERS: dict[str, Signature] = {
    **_of_maps(),
    **_converters("bin", "str", "hex base64 ub64enc"),
    **_converters("str", "bin", "b64dec ub64dec"),
    **_converters("str", "int", "hex2i"),
    **_converters("str", "str", "lower upper host_only"),
    **_converters("str", "int", "port_only"),
    **_converters("str", "str", "field word", 2, 3, (0, 2)),
    **_converters("str", "str", "ltrim rtrim", 1, 1),
    **_converters("str", "str", "regsub", 2, 3),
    **_converters("str", "str", "url_dec", 0, 1, (0,)),
    **_converters("str", "str", "url_enc json", 0, 1),
    **_converters("str", "str", "concat", 0, 3),
    **_converters("str", "int", "length"),
    **_converters("str", "int", "strcmp", 1, 1),
    **_converters("any", "any", "set-var", 1, 5),
    **_converters("any", "any", "unset-var", 1, 1),
    **_converters("bin", "int", "djb2 sdbm", 0, 1, (0,)),
    **_converters("bin", "bin", "hmac", 2, 2),
    **_converters("bin", "bool", "secure_memcmp", 1, 1),
    **_converters("bin", "bin", "bytes", 1, 2),
    **_converters("bin", "bin", "sha1"),
    **_converters("bin", "bin", "sha2", 0, 1, (0,)),
    **_converters("bin", "bin", "digest", 1, 1),
    **_converters("bin", "int", "crc32", 0, 1, (0,)),
    **_converters("int", "bool", "bool not odd even"),
    **_converters("int", "int", "add sub mul div mod and or xor", 1, 1),
    **_converters("int", "int", "cpl neg"),
    **_converters("bool", "str", "iif", 2, 2),
    **_converters("int", "str", "http_date", 0, 2, (0,)),
    **_converters("str", "int", "date"),
    **_converters("ip", "ip", "ipmask", 1, 2),
    **_converters("str", "str", "capture-req capture-res", 1, 1, (0,)),
    **_converters("bin", "int", "crc32c wt6 xxh3 xxh32 xxh64", 0, 1, (0,)),
    **_converters("bin", "str", "be2dec le2dec", 2, 3, (1, 2)),
    **_converters("bin", "str", "be2hex", 0, 3, (1, 2)),
    **_converters("bin", "str", "base2"),
    **_converters("bin", "bool", "has_ctl", 0, 1),
    **_converters("int", "bin", "htonl"),
    **_converters("int", "str", "ltime utime ms_ltime ms_utime us_ltime us_utime", 1, 2, (1,)),
    **_converters("int", "str", "x509_v_err_str"),
    **_converters("str", "str", "add_item", 1, 3),
    **_converters("str", "str", "cut_crlf reverse reverse_dom"),
    **_converters("str", "str", "param language", 1, 2),
    **_converters("str", "any", "json_query", 1, 2),
    **_converters("str", "any", "jwt_header_query jwt_payload_query", 0, 2),
    **_converters("str", "int", "jwt_verify jwt_verify_cert", 2, 2),
    **_converters("str", "bin", "jwt_decrypt_secret jwt_decrypt_jwk jwt_decrypt_cert", 1, 1),
    **_converters("bin", "bin", "aes_gcm_dec aes_gcm_enc", 4, 5, (0,)),
    **_converters("bin", "bin", "aes_cbc_dec aes_cbc_enc", 3, 3, (0,)),
    **_converters("bin", "any", "protobuf ungrpc", 1, 2),
    **_converters("bin", "bool", "fix_is_valid mqtt_is_valid"),
    **_converters("bin", "bin", "fix_tag_value", 1, 1),
    **_converters("bin", "str", "mqtt_field_value", 2, 2),
    **_converters("any", "any", "when", 1, 3),
    **_converters("any", "any", "debug", 0, 2),
    **_converters("str", "str", "rfc7239_field", 1, 1),
    **_converters("str", "bool", "rfc7239_is_valid"),
    **_converters("str", "any", "rfc7239_n2nn rfc7239_n2np"),
    **_converters("any", "str", "rfc7239_nn rfc7239_np"),
    **_converters("str", "int", "nbsrv srv_queue"),
    **_converters("str", "bool", "srv_is_up fe_exists"),
    **_of_tables(),
}

#: HAProxy's implicit casts (src/sample.c, sample_casts), from each type to these. `ip` is an address of either family,
#: known at run time only.
CASTS: dict[str, frozenset[str]] = {
    "any": frozenset(("any", "bool", "int", "str", "bin", "ip", "meth")),
    "bool": frozenset(("any", "bool", "int", "str", "bin")),
    "int": frozenset(("any", "bool", "int", "str", "bin", "ip")),
    # HAProxy 3.x refuses to cast these to int; 2.x casts an IPv4 address, and existing configurations rely on that.
    "ip": frozenset(("any", "ip", "int", "str", "bin")),
    "ipv4": frozenset(("any", "ip", "int", "str", "bin")),
    "ipv6": frozenset(("any", "ip", "str", "bin")),
    "str": frozenset(("any", "bool", "int", "str", "bin", "ip", "meth")),
    "bin": frozenset(("any", "str", "bin", "meth")),
    "meth": frozenset(("any", "str", "bin", "meth")),
}
