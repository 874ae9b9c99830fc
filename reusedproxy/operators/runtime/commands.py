"""Lists the commands of the runtime API in one table: words, help, level, the function that does each, and what the
log is told of it.

A command is found by the words it begins with; the rest are its arguments. Every text is what HAProxy says, as far as
the command is its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from attrs import frozen

from reusedproxy.operators.runtime import (
    added,
    authorities,
    certificates,
    checks,
    crt_lists,
    errors,
    events,
    frontends,
    lists,
    maps,
    orders,
    own_session,
    pools,
    rates,
    records,
    resolvers,
    servers,
    sessions,
    startup,
    tables,
    told,
    variables,
)
from reusedproxy.operators.runtime.activity import show_activity
from reusedproxy.operators.runtime.authorities import AUTHORITIES, REVOCATIONS
from reusedproxy.operators.runtime.certificates import CERTIFICATES
from reusedproxy.operators.runtime.info import show_info
from reusedproxy.operators.runtime.messages import INFO, Message
from reusedproxy.operators.runtime.proxy import ADMIN, OPERATOR, USER, Context, Refusal
from reusedproxy.operators.runtime.schema import schema_json
from reusedproxy.operators.runtime.statistics import show_stat

#: Returns the text of the answer, in pieces if it is long. Raises Refusal.
Run = Callable[[Context, Sequence[str]], str | Iterable[str]]


@frozen
class Command:
    """Describes a command: its first words, how it is written, what it does, and the least level for it. `shown` tells
    which of its other words the log may have; None: it changes nothing but its session."""

    words: tuple[str, ...]
    usage: str
    help: str
    level: int
    run: Run
    shown: told.Shown | None = None


def _show_env(context: Context, words: Sequence[str]) -> str:
    environment = context.proxy.configuration.global_.environment
    if not words:
        return "".join(f"{name}={value}\n" for name, value in environment)
    found = dict(environment).get(words[0])
    if found is None:
        raise Refusal("Variable not found")
    return f"{words[0]}={found}\n"


def _help(context: Context, words: Sequence[str]) -> str:
    found = [each for each in COMMANDS if each.words[: len(words)] == tuple(words)] if words else COMMANDS
    return Message(_listed("The following commands are valid at this level:", found, context), INFO)


def _command(words: str, arguments: str, help: str, level: int, run: Run, shown: told.Shown | None = None) -> Command:
    return Command(tuple(words.split()), f"{words}{' ' if arguments else ''}{arguments}", help, level, run, shown)


#: All of them, in the order of the help, which is that of their words; the last three are always in it.
COMMANDS = (
    _command("abort ssl ca-file", "<cafile>", "abort a transaction for a CA file", ADMIN, AUTHORITIES.abort, told.name),
    _command("abort ssl cert", "<certfile>", "abort a transaction for a certificate file", ADMIN, CERTIFICATES.abort,
             told.name),
    _command("abort ssl crl-file", "<crlfile>", "abort a transaction for a CRL file", ADMIN, REVOCATIONS.abort,
             told.name),
    _command("add acl", "[@<ver>] <acl> <pattern>", "add an acl entry", ADMIN, lists.add_acl, told.name_of_entry),
    _command("add map", "[@<ver>] <map> <key> <val>", "add a map entry (payload supported instead of key/val)", ADMIN,
             maps.add_map, told.name_of_entry),
    _command("add server", "<bk>/<srv>", "create a new server", ADMIN, added.add_server, told.server),
    _command("add ssl ca-file", "<cafile> <payload>", "add a certificate into the CA file", ADMIN, AUTHORITIES.add,
             told.name),
    _command("add ssl crt-list", "<list> <cert> [opts]*", "add to crt-list file <list> a line <cert> or a payload",
             ADMIN, crt_lists.add_ssl_crt_list, told.whole),
    _command("clear acl", "[@<ver>] <acl>", "clear the contents of this acl", ADMIN, lists.versions.clear,
             told.name_of_entry),
    _command("clear counters", "[all]", "clear max statistics counters (or all counters)", OPERATOR,
             orders.clear_counters, told.whole),
    _command("clear map", "[@<ver>] <map>", "clear the contents of this map", ADMIN, maps.versions.clear,
             told.name_of_entry),
    _command("clear table", "<table> [<filter>]*", "remove an entry from a table (filter: data/key)", OPERATOR,
             tables.clear_table, told.table),
    _command("commit acl", "@<ver> <acl>", "commit the ACL at this version", ADMIN, lists.versions.commit,
             told.name_of_entry),
    _command("commit map", "@<ver> <map>", "commit the map at this version", ADMIN, maps.versions.commit,
             told.name_of_entry),
    _command("commit ssl ca-file", "<cafile>", "commit a CA file", ADMIN, AUTHORITIES.commit, told.name),
    _command("commit ssl cert", "<certfile>", "commit a certificate file", ADMIN, CERTIFICATES.commit, told.name),
    _command("commit ssl crl-file", "<crlfile>", "commit a CRL file", ADMIN, REVOCATIONS.commit, told.name),
    _command("del acl", "<acl> [<key>|#<ref>]", "delete acl entries matching <key>", ADMIN, lists.del_acl, told.name),
    _command("del map", "<map> [<key>|#<ref>]", "delete map entries matching <key>", ADMIN, maps.del_map, told.name),
    _command("del server", "<bk>/<srv>", "remove a dynamically added server", ADMIN, added.del_server, told.whole),
    _command("del ssl ca-file", "<cafile>", "delete an unused CA file", ADMIN, AUTHORITIES.delete, told.name),
    _command("del ssl cert", "<certfile>", "delete an unused certificate file", ADMIN, CERTIFICATES.delete, told.name),
    _command("del ssl crl-file", "<crlfile>", "delete an unused CRL file", ADMIN, REVOCATIONS.delete, told.name),
    _command("del ssl crt-list", "<list> <cert[:line]>", "delete a line <cert> from crt-list file <list>", ADMIN,
             crt_lists.del_ssl_crt_list, told.whole),
    _command("disable agent", "", "disable agent checks", ADMIN, partial(checks.pause, checks.AGENT), told.whole),
    _command("disable dynamic-cookie backend", "<bk>", "disable dynamic cookies on a specific backend", ADMIN,
             orders.disable_dynamic_cookie, told.whole),
    _command("disable frontend", "<frontend>", "temporarily disable specific frontend", ADMIN,
             frontends.disable_frontend, told.whole),
    _command("disable health", "", "disable health checks", ADMIN, partial(checks.pause, checks.HEALTH), told.whole),
    _command("disable server", "<bk>/<srv>", "disable a server for maintenance", ADMIN, orders.disable_server,
             told.whole),
    _command("drain pool", "<bk>[/<srv>]", "close the connections kept to servers, and keep none", ADMIN,
             pools.drain_pool, told.whole),
    _command("echo", "<text>", "print text to the output", USER, own_session.echo),
    _command("enable agent", "", "enable agent checks", ADMIN, partial(checks.resume, checks.AGENT), told.whole),
    _command("enable dynamic-cookie backend", "<bk>", "enable dynamic cookies on a specific backend", ADMIN,
             orders.enable_dynamic_cookie, told.whole),
    _command("enable frontend", "<frontend>", "re-enable specific frontend", ADMIN, frontends.enable_frontend,
             told.whole),
    _command("enable health", "", "enable health checks", ADMIN, partial(checks.resume, checks.HEALTH), told.whole),
    _command("enable server", "<bk>/<srv>", "enable a disabled server", ADMIN, orders.enable_server, told.whole),
    _command("explain pool", "<bk>/<srv>", "explain the floor of a server's pool, and the demand", USER,
             servers.explain_pool),
    _command("get acl", "<acl> <value>", "report the patterns matching a sample for an ACL", ADMIN, lists.get_acl),
    _command("get map", "<map> <value>", "report the keys and values matching a sample for a map", ADMIN, maps.get_map),
    _command("get var", "<name>", "retrieve contents of a process-wide variable", OPERATOR, variables.get_var),
    _command("get weight", "<bk>/<srv>", "report a server's current weight", USER, orders.get_weight),
    _command("hand over", "", "give the listening sockets to a process that takes this one's place", ADMIN,
             own_session.hand_over, told.whole),
    _command("new ssl ca-file", "<cafile>", "create a new CA file to be used in a crt-list", ADMIN, AUTHORITIES.new,
             told.name),
    _command("new ssl cert", "<certfile>", "create a new certificate file to be used in a crt-list or a directory",
             ADMIN, CERTIFICATES.new, told.name),
    _command("new ssl crl-file", "<crlfile>", "create a new CRL file to be used in a crt-list", ADMIN, REVOCATIONS.new,
             told.name),
    _command("operator", "", "lower the level of the current CLI session to operator", OPERATOR,
             own_session.lower_level(OPERATOR)),
    _command("prepare acl", "<acl>", "prepare a new version for atomic ACL replacement", ADMIN, lists.versions.prepare,
             told.name),
    _command("prepare map", "<map>", "prepare a new version for atomic map replacement", ADMIN, maps.versions.prepare,
             told.name),
    _command("reload", "", "reload the configuration, and report what became of it", ADMIN, startup.reload, told.whole),
    _command("rewarm pool", "<bk>[/<srv>]", "replace the connections kept to servers, each by a new one", ADMIN,
             pools.rewarm_pool, told.whole),
    _command("set dynamic-cookie-key backend", "<bk> <k>", "change a backend secret key for dynamic cookies", ADMIN,
             orders.set_dynamic_cookie_key, told.name),
    _command("set map", "<map> [<key>|#<ref>] <value>", "modify a map entry", ADMIN, maps.set_map, told.name),
    _command("set maxconn frontend", "<frontend> <value>", "change a frontend's maxconn setting", ADMIN,
             frontends.set_maxconn_frontend, told.whole),
    _command("set maxconn global", "<value>", "change the per-process maxconn setting", ADMIN,
             orders.set_maxconn_global, told.whole),
    _command("set maxconn server", "<bk>/<srv> <value>", "change a server's maxconn setting", ADMIN,
             orders.set_maxconn_server, told.whole),
    _command("set rate-limit", "<setting> <value>", "change a rate limiting value", ADMIN, rates.set_rate_limit,
             told.whole),
    _command("set server", "<bk>/<srv> [opts]", "change a server's state, weight, address, name or ssl", ADMIN,
             orders.set_server, told.server),
    _command("set severity-output", "[none|number|string]", "set presence of severity level in feedback information",
             USER, own_session.set_severity_output),
    _command("set ssl ca-file", "<cafile> <payload>", "replace a CA file", ADMIN, AUTHORITIES.set, told.name),
    _command("set ssl cert", "<certfile> <payload>", "replace a certificate file", ADMIN, CERTIFICATES.set, told.name),
    _command("set ssl crl-file", "<crlfile> <payload>", "replace a CRL file", ADMIN, REVOCATIONS.set, told.name),
    _command("set table", "<table> key <k> [data.* <v>]*", "update or create a table entry's data", OPERATOR,
             tables.set_table, told.table),
    _command("set timeout", "[cli] <delay>", "change a timeout setting", USER, own_session.set_timeout),
    _command("set var", "<name> [fmt|expr] {<fmt>|<expr>}", "set variable from an expression or a format", OPERATOR,
             variables.set_var, told.name),
    _command("set weight", "<bk>/<srv> <weight>", "change a server's weight", ADMIN, orders.set_weight, told.whole),
    _command("show acl", "[@<ver>] <acl>", "report available acls or dump an acl's contents", ADMIN, lists.show_acl),
    _command("show activity", "", "show per-thread activity stats (for support/developers)", OPERATOR, show_activity),
    _command("show backend", "", "list backends in the current running config", USER, servers.show_backend),
    _command("show cli level", "", "display the level of the current CLI session", USER, own_session.show_cli_level),
    _command("show cli sockets", "", "dump list of cli sockets", OPERATOR, own_session.show_cli_sockets),
    _command("show env", "[var]", "dump environment variables known to the process", OPERATOR, _show_env),
    _command("show errors", "[<px>] [request|response]", "report last request and/or response errors for each proxy",
             OPERATOR, errors.show_errors),
    _command("show events", "[<sink>] [-w] [-n] [-0]", "show event sink state", USER, events.show_events),
    _command("show info", "[desc|json|typed|float]*", "report information about the running process", USER, show_info),
    _command("show map", "[@<ver>] [map]", "report available maps or dump a map's contents", ADMIN, maps.show_map),
    _command("show pool", "[<bk>[/<srv>]]", "report the connections kept to servers", USER, servers.show_pool),
    _command("show pool connections", "[<bk>[/<srv>]]", "list the connections kept to servers", OPERATOR,
             pools.show_pool_connections),
    _command("show pool record", "<bk>/<srv>", "dump the record of a server's pool (pool-record)", OPERATOR,
             records.show_pool_record),
    _command("show resolvers", "[id]", "dumps counters from all resolvers section and associated name servers", USER,
             resolvers.show_resolvers),
    _command("show schema json", "", "report schema used for stats", USER, lambda context, words: schema_json()),
    _command("show servers conn", "[<backend>]", "dump server connections status (all or for a single backend)", USER,
             servers.show_servers_conn),
    _command("show servers state", "[<backend>]", "dump volatile server information (all or for a single backend)",
             USER, servers.show_servers_state),
    _command("show sess", "[help|<id>|all] [opts...]", "report the list of current streams or dump this exact stream",
             OPERATOR, sessions.show_sess),
    _command("show ssl ca-file", "[<cafile>[:<index>]]", "display the SSL CA files used in memory, or the details of a"
             " <cafile>, or a single certificate of index <index> of a CA file <cafile>", OPERATOR,
             authorities.show_ssl_ca_file),
    _command("show ssl cert", "[<certfile>]", "display the SSL certificates used in memory, or the details of a file",
             OPERATOR, certificates.show_ssl_cert),
    _command("show ssl crl-file", "[<crlfile[:<index>>]]", "display the SSL CRL files used in memory, or the details of"
             " a <crlfile>, or a single CRL of index <index> of CRL file <crlfile>", OPERATOR,
             authorities.show_ssl_crl_file),
    _command("show ssl crt-list", "[-n] [<list>]", "show the list of crt-lists or the content of a crt-list file"
             " <list>", ADMIN, crt_lists.show_ssl_crt_list),
    _command("show startup-logs", "", "report logs emitted during startup", OPERATOR, startup.show_startup_logs),
    _command("show stat", "[json|no-maint|typed|up]*", "report counters for each proxy and server", USER, show_stat),
    _command("show table", "<table> [<filter>]*", "report table usage stats or dump this table's contents"
             " (filter: data/key)", USER, tables.show_table),
    _command("show version", "", "show version of the current process", USER, own_session.show_version),
    _command("shutdown frontend", "<frontend>", "stop a specific frontend", ADMIN, frontends.shutdown_frontend,
             told.whole),
    _command("shutdown session", "[id]", "kill a specific session", ADMIN, orders.shutdown_session, told.whole),
    _command("shutdown sessions server", "<bk>/<srv>", "kill sessions on a server", ADMIN, orders.shutdown_sessions,
             told.whole),
    _command("user", "", "lower the level of the current CLI session to user", USER, own_session.lower_level(USER)),
    _command("wait", "{-h|<delay>} [cond [args...]]", "wait the specified delay or condition (-h to see list)", ADMIN,
             added.wait),
    _command("what-if", "<bk>/<srv> [<setting>=<value>[,...]]*", "tell what other pool settings would have done for the"
             " recorded requests", OPERATOR, records.what_if),
    _command("help", "[<command>]", "list matching or all commands", USER, _help),
    _command("prompt", "", "toggle interactive mode with prompt", USER, own_session.prompt),
    _command("quit", "", "disconnect", USER, own_session.leave),
)  # fmt: skip
_ALWAYS = COMMANDS[-3:]
#: In no list, as in HAProxy.
UNLISTED = tuple(
    _command(name, "[on|off]", "", ADMIN, own_session.mode(name)) for name in ("experimental-mode", "expert-mode")
)
_BY_WORDS = {each.words: each for each in (*COMMANDS, *UNLISTED)}
_LONGEST = max(map(len, _BY_WORDS))
#: The fewest letters in common with a word for which a command is meant.
_ALIKE = 0.6


def run(context: Context, words: Sequence[str]) -> str | Iterable[str]:
    """Does the command that these words are, and returns its answer: nothing for no words, as HAProxy since 2.8. Raises
    Refusal."""
    if not words:
        return ""
    command = _called(words)
    if command is None:
        raise Refusal(unknown(context, words), severity=INFO)
    context.needs(command.level)
    if command.level == ADMIN:
        context.statistics.forget()  # what is asked next is to show what was ordered
    rest = words[len(command.words) :]
    answer = command.run(context, rest)
    shown = None if command.shown is None else command.shown(context, rest)
    return answer if shown is None else told.told(context, command.words, shown, answer)


def shown(context: Context, words: Sequence[str]) -> str:
    """Returns what may be told of a command that was not done, which is no more than of one that was."""
    command = _called(words)
    if command is None or command.shown is None:
        return " ".join(words)
    rest = words[len(command.words) :]
    return " ".join((*command.words, *(command.shown(context, rest) or rest)))


def _called(words: Sequence[str]) -> Command | None:
    """Returns the command that most of these words are."""
    found = (_BY_WORDS.get(tuple(words[:count])) for count in range(min(_LONGEST, len(words)), 0, -1))
    return next((each for each in found if each is not None), None)


def unknown(context: Context, words: Sequence[str]) -> str:
    """Returns what is said of a command that there is not, with those that may be meant."""
    meant = _meant(words)
    if not meant:
        return _listed("Unknown command. Please enter one of the following commands only:", COMMANDS, context).rstrip(
            "\n"
        )
    title = "Unknown command, but maybe one of the following ones is a better match:"
    return _listed(title, meant, context).rstrip("\n")


def _meant(words: Sequence[str]) -> list[Command]:
    """Returns the commands that begin with as many of the words as any do; or else those whose first word is alike."""
    for count in range(min(_LONGEST, len(words)), 0, -1):
        found = [each for each in COMMANDS if each.words[:count] == tuple(words[:count])]
        if found:
            return found
    if not words:
        return []
    alike = difflib.get_close_matches(words[0][:64], {each.words[0] for each in COMMANDS}, cutoff=_ALIKE)
    return [each for each in COMMANDS if each.words[0] in alike]


def _listed(title: str, commands: Iterable[Command], context: Context) -> str:
    """Returns a line for each command that the session may give, HAProxy's width; and those that are always there."""
    shown = [each for each in commands if each not in _ALWAYS and each.level <= context.level]
    lines = [f"  {each.usage:<40}: {each.help}" for each in (*shown, *_ALWAYS)]
    return "\n".join((title, *lines, ""))
