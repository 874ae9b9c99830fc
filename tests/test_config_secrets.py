"""Lines of the configuration that hold a secret, written wrongly in every way that somebody may: no message quotes it.
What is said of a configuration goes to the log, and of a reload to the status file, which everybody may read."""

from __future__ import annotations

import re
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.reader import ConfigurationError, Source, read_configuration

#: Each secret, in parts and as a whole.
SECRET = "S3CRETvalue"
HEAD = (
    "global\n default-path config\ndefaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
)

#: Lines with a secret, by the section that they stand in.
LINES = {
    "userlist u": (
        f"user bob insecure-password {SECRET}",
        f"user bob password {SECRET}",
        f"user bob {SECRET}",
        f"user bob:{SECRET}",
        f"user 'bob:{SECRET}'",
        f"user bob:{SECRET} insecure-password {SECRET}",
        f"user bob insecure-password {SECRET} groups none",
        f"user bob groups none password {SECRET}",
        f"group g users bob:{SECRET}",
        f"{SECRET}",
        f"bob insecure-password {SECRET}",
    ),
    "frontend f": (
        f"stats auth bob:{SECRET}",
        f"stats auth bob {SECRET}",
        f"stats auth {SECRET}",
        f"stats auth :{SECRET}",
        f"stats bob:{SECRET}",
        f"stats realm x auth bob:{SECRET}",
        f"http-request set-header Authorization 'Basic {SECRET}'",
        f"http-request set-header Authorization Basic {SECRET}",
        f'http-request set-header Authorization "Bearer {SECRET}" if {{ path /x }}',
        f"http-request add-header X-Api-Key {SECRET}",
        f"http-request replace-header Cookie .* session={SECRET}",
        f"http-request return status 200 hdr Set-Cookie session={SECRET}",
        f"http-request deny unless {{ req.hdr(authorization) -m str 'Bearer {SECRET}' }}",
        f"http-request deny unless {{ hdr(x-api-key) {SECRET} }}",
        f"acl known req.hdr(x-auth-token) -m str {SECRET}",
        f"acl known req.cook(session) {SECRET}",
        f"http-request set-var(txn.ok) req.hdr(x),hmac(sha256,{SECRET})",
        f"http-request deny unless {{ http_auth_bearer,jwt_verify(HS256,{SECRET}) 1 }}",
        f"http-request set-var(txn.secret) str({SECRET})",
        f"http-request set-var(txn.t) req.hdr(x),aes_gcm_dec(128,txn.iv,{SECRET},txn.tag)",
        f"http-request auth realm {SECRET}",
    ),
    "backend b": (
        f"http-check send hdr Authorization 'Basic {SECRET}'",
        f"option httpchk GET / HTTP/1.1\\r\\nAuthorization:\\ Basic\\ {SECRET}",
        f"dynamic-cookie-key {SECRET}",
        f"http-request set-header Proxy-Authorization {SECRET}",
        f"server s 192.0.2.1:1 agent-check agent-send {SECRET}",
    ),
    "global": (
        f"setenv TOKEN {SECRET}",
        f"setenv TOKEN={SECRET}",
        f"presetenv DB_PASSWORD {SECRET}",
        f"cluster-secret {SECRET}",
        f"set-var proc.secret str({SECRET})",
        f"set-var-fmt proc.secret {SECRET}",
    ),
}
#: What says in any section that a line holds a secret.
ALWAYS = re.compile(r"password |auth |setenv|cluster-secret|dynamic-cookie-key|agent-send|[aA]uthorization|hmac|jwt")


def spoilt(line: str) -> set[str]:
    """The line, and what hands make of it: a letter too few or too much in a word, a word too much, too few, twice, in
    another place, a quote that is not closed, a comma, a case, a blank."""
    words = line.split(" ")
    found = {line, f"no {line}", f"{line} {SECRET}", f"{line} extra", f"{line} if", f"{line} if {{ bogus x }}"}
    found |= {f"{line} unless nobody", f"{line} '", f'{line} "{SECRET}', f"{line}\\", f"{line},{SECRET}", line + "\r\r"}
    found |= {f"{line} {SECRET} {SECRET}", line.replace(SECRET, f"'{SECRET}"), line.replace(SECRET, f'"{SECRET}')}
    found |= {line.replace(SECRET, f"{SECRET} {SECRET}"), line.replace(SECRET, f"${{{SECRET}"), line.title()}
    found |= {line.replace(":", " "), line.replace(" ", ":", 1), line.replace("(", " ("), line.replace(")", "")}
    found |= {line.replace(SECRET, f"{SECRET},bogus"), line.replace("}", ""), line.replace("{", "(")}
    for at, word in enumerate(words):
        rest = words[:at], words[at + 1 :]
        others = [""] if word == "" else [word[:-1], word[1:], word * 2, word.upper(), f"x{word}", f"{word} {word}"]
        if SECRET in word:
            others = [f"{word} {word}", f"x {word}", f"{word}x"]
        found |= {" ".join((*rest[0], each, *rest[1])) for each in others}
        found.add(" ".join((*rest[0], *rest[1])))
        if at + 1 < len(words):
            found.add(" ".join((*words[:at], words[at + 1], word, *words[at + 2 :])))
    return {each for each in found if SECRET in each}


def marked(spelling: str) -> bool:
    """Whether anything of the line still says what it is: of a word alone nobody knows."""
    bare = spelling.replace(SECRET, "").lower()
    return (
        re.search(r"user|group|passw|auth|basic|bearer|setenv|secret|key|send|hmac|jwt|aes|token|cook|stats.*:", bare)
        is not None
    )


def said(text: str, **environ: str) -> list[str]:
    """All that is said of a configuration."""
    try:
        made = read_configuration([Source("t.cfg", text)], environ, "OpenSSL 3.5.0 8 Apr 2025")
    except ConfigurationError as error:
        return [*map(str, error.faults), *(each.text for each in error.notices), error.summary]
    return [*(each.text for each in made.notices), made.summary]


class SecretTests(SynchronousTestCase):
    def quoted(self, text: str, **environ: str) -> list[str]:
        return [each for each in said(text, **environ) if SECRET.lower() in each.lower()]

    def test_names_that_are_wrong_are_told_beside_a_secret(self) -> None:
        """Nor is a word hidden because a part of it is one that may be a secret."""
        rules = (
            ("http-request auth realm Admin unless { http_auth(usrs) }", "there is no userlist 'usrs'"),
            ("http-request return strin token", "did you mean 'string'"),
            ("http-request deny if { hrd(authorization) -m found }", "'hrd'"),
        )
        for rule, text in rules:
            self.assertIn(text, "\n".join(self.said(rule)))
        expression = "http-request deny unless { req.hdr(authorization) -m reg ^Basic.(?=S3CRETvalue).*$ }"
        self.assertNotIn("S3CRETvalue", "\n".join(self.said(expression)))

    def said(self, rule: str) -> list[str]:
        """All messages about a frontend with this rule."""
        text = f"{HEAD}frontend f\n bind :80\n {rule}\n default_backend b\nbackend b\n server s h:1\n"
        try:
            return [str(each) for each in read_configuration([Source("t.cfg", text)], {}).notices]
        except ConfigurationError as error:
            return [*map(str, error.faults), *map(str, error.notices)]

    def test_no_message_quotes_a_secret(self) -> None:
        """Whichever way its line is wrong, in its own section and in every other one."""
        told = 0
        for own, section in product(LINES, LINES):
            for line in LINES[own]:
                if own != section and not ALWAYS.search(line):
                    continue
                for spelling in filter(marked, spoilt(line)) if own == section else {line}:
                    text = f"{HEAD}{section}\n {spelling}\nfrontend last\n bind :1\n redirect location /\n"
                    found = said(text)
                    self.assertEqual([each for each in found if SECRET.lower() in each.lower()], [], spelling)
                    told += any("t.cfg" in each for each in found)
        self.assertGreater(told, 1000)

    def test_no_message_quotes_a_variable_that_is_a_secret(self) -> None:
        """By its name: from the environment, or set in the file."""
        for line in (
            '.if streq("$API_TOKEN",a) b\n.endif',
            ".if $API_TOKEN\n.endif",
            '.alert "$API_TOKEN"',
            'frontend f\n http-request set-header X-A "${API_TOKEN}" bogus',
            'frontend f\n bind "$API_TOKEN"',
            'backend b\n server s $API_TOKEN\n server "$API_TOKEN"',
            'frontend f\n use_backend "$API_TOKEN"',
            'frontend "$API_TOKEN"\n bogus',
        ):
            for text in (f"{HEAD}{line}\n", f"global\n setenv API_TOKEN {SECRET}\n{HEAD}{line}\n"):
                self.assertEqual(self.quoted(text, API_TOKEN=SECRET), [], line)
                self.assertEqual(self.quoted(text, API_TOKEN=f"{SECRET}' \"x"), [], line)

    def test_the_word_that_is_wrong_is_quoted_beside_a_secret(self) -> None:
        """Where it stands for a name: of an action, a fetch, a method, a table."""
        for line, word in (
            ("acl is_token path_bge /tok", "'path_bge'"),
            ("acl token_ok path -m begg /tok", "'-m begg'"),
            ("http-request set-haeder X-Token abc", "'set-haeder'"),
            ("http-request deny if { sc0_http_req_rate(tokens) gt 5 }", "'tokens'"),
            ("http-request deny if { src_get_gpc0(tokens) gt 5 }", "'tokens'"),
            ("http-request deny if { path_bge /token }", "'path_bge'"),
            ("http-request redirect location /login code unless { req.cook(session) -m found }", "'code'"),
        ):
            found = said(f"{HEAD}frontend f\n bind :1\n {line}\n")
            self.assertTrue(any(word in each for each in found), (line, found))

    def test_the_section_behind_a_userlist_keeps_its_name(self) -> None:
        """It is no password."""
        for head, word in (
            ("frontend public-web", "frontend 'public-web' has no 'bind'"),
            ("backend shop-servers", ""),
        ):
            text = f"{HEAD}userlist admins\n user ops insecure-password {SECRET}\n{head}\n"
            found = "".join(said(f"{text}frontend last\n bind :1\n default_backend shop-server\n"))
            self.assertIn(word or "did you mean 'shop-servers'?", found)
            self.assertNotIn(SECRET, found)

    def test_no_message_about_another_line_quotes_a_secret(self) -> None:
        """A rule that names an ACL is told what its expression needs, which may have a key; as is what inherits one."""
        key = f"hmac(sha256,{SECRET})"
        behind_answer = f"acl signed res.hdr(x-sum),{key} -m found"
        by_regex = f"acl signed req.hdr(x-api-key) -m reg ^(?={SECRET})x"
        of_bytes = f"acl signed req.payload(0,4),{key} -m found"
        of_body = f"acl signed req.body,{key} -m found"
        backtracks, needs, looks = "linear time", "is never true here", "is what has come of the body by chance"
        for acl, rule, told in (
            (behind_answer, "http-request deny if signed", needs),
            (behind_answer, "tcp-request connection reject if signed", needs),
            (behind_answer, "tcp-request session reject if signed", needs),
            (behind_answer, "redirect location / if signed", needs),
            (behind_answer, "use_backend b if signed", needs),
            (behind_answer, "use-server s if signed", needs),
            (behind_answer, "stick on src if signed", needs),
            (behind_answer, "force-persist if signed", needs),
            (behind_answer, "monitor fail if signed", needs),
            (behind_answer, "stats http-request deny if signed", needs),
            (by_regex, "http-request deny unless signed", backtracks),
            (by_regex, "use_backend b if signed", backtracks),
            (by_regex, "use-server s if signed", backtracks),
            (of_bytes, "tcp-request content reject if signed", "has no value in mode http"),
            (of_bytes, "http-request deny if signed", "needs what a client sends in 'mode tcp'"),
            (of_body, "http-request deny if signed", looks),
            (of_body, "stats http-request deny if signed", looks),
            (
                f"filter bwlim-in lim key res.hdr(x),{key} table b limit 1m",
                "http-request set-bandwidth-limit lim",
                "'res.hdr(x),hmac(sha256,…)' needs a response",
            ),
        ):
            lines = f" {acl}\n {rule}\n stats uri /s\n server s h:1\n"
            text = f"{HEAD}listen l\n bind :80\n{lines}backend b\n stick-table type ip size 1\n server s h:1\n"
            found = "\n".join(said(text))
            self.assertIn(told, found, rule)
            self.assertNotIn(SECRET.lower(), found.lower(), rule)
            if told is needs:
                self.assertIn("acl 'signed' is never true", found)
                self.assertIn("'res.hdr(x-sum),hmac(sha256,…)' needs", found)
            if told is looks:
                self.assertIn("'req.body,hmac(sha256,…)' is what", found)

    def test_what_lines_without_a_secret_say_is_quoted(self) -> None:
        """Though a line with one has it, too; the words of the message itself stay as they are."""
        text = (
            f"{HEAD}frontend f\n bind :80\n default_backend bogus\n"
            " http-request return status 401 content-type text/plain string 'bogus: please request a token'\n"
            " acl has_token req.hdr(x-token) -m found\n http-request deny unless has_tokens\n"
        )
        found = "\n".join(said(text))
        for quoted in ("there is no backend 'bogus'", "'http-request deny'", "there is no acl 'has_tokens'"):
            self.assertIn(quoted, found)

    def test_a_quote_within_what_is_quoted_does_not_show_a_secret(self) -> None:
        acl = f'acl signed req.hdr(x-api-key) -m reg "^it\'s(?={SECRET})"'
        found = "\n".join(said(f"{HEAD}frontend f\n bind :80\n {acl}\n http-request deny unless signed\n"))
        self.assertIn("linear time", found)
        self.assertNotIn(SECRET, found)

    def test_what_is_no_secret_is_quoted(self) -> None:
        """A message that does not name the word that is wrong is of no use."""
        for line, word in (
            ("frontend f\n http-request set-header X-Forwarded-For a bogus", "bogus"),
            ("frontend f\n bind :bogus", "bogus"),
            ("userlist u\n user bob groups bogus insecure-password secret", "bogus"),
            ("frontend f\n stats uri bogus x:y", "x:y"),
            ("global\n user nobody bogus", "bogus"),
            ("frontend f\n acl known src bogus", "bogus"),
        ):
            self.assertTrue(any(re.search(rf"'[^']*{word}", each) for each in said(f"{HEAD}{line}\n")), (line, word))
