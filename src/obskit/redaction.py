"""Secrets are taken out before anything leaves the process: by the name of a field, and by their shape inside texts.

A name is split into whole segments (``X-API-Key`` and ``user.apiKey`` both hold ``api``, ``key``), lower case. It is
sensitive when a run of its segments is one of :data:`SENSITIVE_NAMES`, unless the segment after the run only tells
something about the secret (``token_count``, ``cookies_enabled``: :data:`ABOUT`) or the one before asks whether there
is one (``has_password``). Segments are whole: ``input_tokens``, ``idempotency_key``, ``secretary`` are not sensitive.

Every expression takes time linear in the text: repeats are possessive, or bounded, or start only where a word starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from obskit._fields import Value
from obskit.exceptions import ConfigError

REDACTED: Final = "[REDACTED]"

#: Runs of segments that name a secret, also where they are spelt without a separator (``apikey``, ``accesstoken``).
SENSITIVE_NAMES: Final = (
    *("authorization", "auth header", "auth key", "auth token", "bearer", "jwt", "client assertion", "saml response"),
    *("cookie", "cookies", "set cookie", "csrf", "csrf token", "xsrf"),
    *("sessionid", "session key", "jsessionid", "phpsessid"),
    *("password", "passwords", "user password", "passwd", "passphrase", "passcode", "pwd"),
    *("db pass", "user pass", "smtp pass", "otp", "totp"),
    *("secret", "secrets", "client secret", "credential", "credentials", "code verifier"),
    *("token", "access token", "access tokens", "id token", "refresh token", "refresh tokens"),
    *("api key", "api keys", "access key", "access keys", "private key", "private keys", "secret key"),
    *("encryption key", "signing key"),
    *("card number", "credit card", "card pin", "cvv", "cvc", "iban", "ssn", "social security number"),
)

#: Names that are secret as parameters of a URL only: the signatures of presigned ones.
SENSITIVE_PARAMETERS: Final = ("sig", "signature")

#: What follows a sensitive run in names that tell something about the secret and do not hold it.
ABOUT: Final = frozenset(
    (  # noqa: SIM905  (as a list literal these words take sixty lines)
        "age alg algorithm audience banner bucket budget bytes changed consent cost count counts created "
        "denied disabled enabled endpoint error errors exception expiration expired expires expiry format "
        "invalid issuer len length lifetime limit limits max min missing name names not policy present price "
        "provider rate required rotated server size status total ttl type types updated uri url usage used "
        "valid version"
    ).split()
)
_ASKS: Final = frozenset({"has", "is"})

#: Strangers may choose names: so many decisions are remembered, of names up to so many characters.
_MAX_DECISIONS: Final = 4096
_MAX_CACHED_NAME: Final = 128

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEGMENT = re.compile(r"[^\W\d_]+|\d+")

# A repeat of one character is possessive; of more, it stands in an atomic group, which means the same: there CPython
# before 3.11.5, such as Debian 12's, takes a character too many (python/cpython#100061).
#
# A name and what separates it from its value: `a=`, `a: `, `"a": `, `a']=`, `\"a\": `, `a => `, ('a', of a pair.
_NAME = re.compile(
    r"""(?<![\w.\-])
    (?P<name>[\w.\-]++(?>(?:[ ](?:key|number|code|pin)\b)?))
    (?P<close>[\\"'\]]{0,6}+)
    (?: [ \t]{0,8}+[:=]{1,3}+>?+[ \t]{0,8}+ | (?<=["']),[ \t]{0,8}+(?=[bBuU]?["']) )""",
    re.VERBOSE,
)
_PLAIN = r"""(?:[^\s&;<>,)\]}"']|[<>,)\]}"'](?=\w))"""
# A quoted value (its quotes may be escaped, its end cut off), and what else can stand as one.
_QUOTED = re.compile(r"""[bBuUrR]{0,2}+(?P<quote>\\{0,4}+["'])(?>(?:(?!(?P=quote))(?:\\.|.))*)""", re.DOTALL)
_VALUE = re.compile(
    rf"""(?>(?i:(?:bearer|basic|digest|token|negotiate)[ \t]{{1,8}}+)?)
    (?:(?:\[[^\]\r\n]*+\]?|\{{[^}}\r\n]*+\}}?|\([^)\r\n]*+\)?)(?>(?:{_PLAIN})*)|(?>(?:{_PLAIN})+))""",
    re.VERBOSE,
)
_PARAMETER = re.compile(r"""[^\s&#"'<>]++""")
_HEADER = re.compile(r"[^\r\n]++")
_CLOSING: Final = {"[": "]", "{": "}", "(": ")"}
_BEFORE_PARAMETER: Final = frozenset("?&;#")
_PARAMETERS: Final = frozenset((name,) for name in SENSITIVE_PARAMETERS)
_HEADER_SEGMENTS: Final = frozenset({"authorization", "cookie", "cookies"})

_PEM = re.compile(
    r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY.*?(?:-----END [A-Z ]{0,32}PRIVATE KEY[A-Z ]{0,8}-----|\Z)", re.DOTALL
)
# User and password up to the last @ of the authority; or with a slash in the password, where it cannot be a port.
_USERINFO = re.compile(
    r"""://(?:[^\s/?#"'<>]*@|[^\s/@:"'<>]*+:(?!\d{1,5}[/?#])[^\s"'<>@]{1,256}@(?:[^\s/?#"'<>]*@)?)"""
)
_BEARER = re.compile(
    r"""\b(?P<scheme>(?i:bearer)[ \t]{1,8}+)
    (?!(?i:tokens?|auth|authentication|authorization|scheme|credentials?|realm|error)\b)[^\s"'<>,;]{4,}+"""
    r"""|\b(?P<basic>(?i:basic)[ \t]{1,8}+)(?=[0-9+/]|[A-Za-z][a-z]*+[A-Z0-9+/=])[A-Za-z0-9+/_\-]{6,}+={0,2}""",
    re.VERBOSE,
)
# The run of letters is entered where it starts and once only, however many "eyJ" are in it.
_JWT = re.compile(r"(?<![\w-])(?P<before>(?>[\w-]*?(?=eyJ[\w-]{6})))[\w-]++\.[\w-]{4,}+(?:\.[\w-]*+){0,3}", re.ASCII)
_KEY = re.compile(
    r"(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_\w{20,}+|xox[a-z]-[A-Za-z0-9-]{10,}+"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{10,}+|whsec_[A-Za-z0-9+/=]{10,}+|sk-(?:ant|proj)-[\w-]{20,}+"
    r"|AIza[\w-]{35}|glpat-[\w-]{20,}+|npm_[A-Za-z0-9]{36}",
    re.ASCII,
)


class Redactor:
    """What may leave the process in place of a field's value, and of a text.

    Args:
        redact: further names, split into segments by the same rule.
        allow: full names, exactly as the fields are called, that are never redacted by name.

    Raises:
        ConfigError: a name in `redact` has no letter or digit.
    """

    __slots__ = ("_allow", "_decisions", "_harmless", "_hint", "_longest", "_runs")

    def __init__(self, redact: Iterable[str] = (), allow: Iterable[str] = ()) -> None:
        names = tuple(redact)
        if empty := [name for name in names if not _segments(name)]:
            raise ConfigError([f"redact: {name!r} names nothing: give it a letter or digit" for name in empty])
        runs = [_segments(name) for name in (*SENSITIVE_NAMES, *names)]
        self._runs = frozenset(runs) | {("".join(run),) for run in runs}
        self._longest = max(map(len, runs))
        self._allow = frozenset(allow)
        self._hint = _hint(self._runs | {(name,) for name in SENSITIVE_PARAMETERS})
        self._decisions: dict[str, bool] = {}
        self._harmless: set[str] = set()

    def __call__(self, name: str, value: Value) -> Value:
        """Give the value that may leave the process under `name`: itself, secrets cut out of it, or REDACTED."""
        decision = self._decisions.get(name)
        if self.sensitive(name) if decision is None else decision:
            return REDACTED
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list) and value and isinstance(value[0], str):
            return [self.text(str(item)) for item in value]
        return value

    def sensitive(self, name: str) -> bool:
        """Whether a value under this name is a secret, whatever it looks like."""
        decision = self._decisions.get(name)
        if decision is None:
            decision = name not in self._allow and self._holds_run(_segments(name))
            if len(self._decisions) >= _MAX_DECISIONS:
                self._decisions.clear()
            if len(name) <= _MAX_CACHED_NAME:
                self._decisions[name] = decision
        return decision

    def text(self, value: str) -> str:
        """Cut every secret that its shape or its label gives away out of a text: a message, a stack trace, a URL.

        Takes time linear in the text; applied again, it changes nothing.
        """
        if value in self._harmless:
            return value
        redacted = self._cut(value)
        if redacted == value and len(value) <= _MAX_CACHED_NAME:  # most texts are the same few
            if len(self._harmless) >= _MAX_DECISIONS:
                self._harmless = set()
            self._harmless.add(value)
        return redacted

    def _cut(self, value: str) -> str:
        low = value.lower()
        if "-----begin" in low:
            value = _PEM.sub(REDACTED, value)
        if "://" in low and "@" in low:
            value = _USERINFO.sub(f"://{REDACTED}@", value)
        if ("=" in low or ":" in low or "'," in low or '",' in low) and self._hint.search(low):
            value = self._cut_labelled(value)
        if "bearer" in low or "basic" in low:
            value = _BEARER.sub(_keep_scheme, value)
        if "eyj" in low:
            value = _JWT.sub(rf"\g<before>{REDACTED}", value)
        if _may_hold_key(low):
            value = _KEY.sub(REDACTED, value)
        return value

    def _holds_run(self, segments: tuple[str, ...]) -> bool:
        start, count = 0, len(segments)
        while start < count:
            end = self._run_end(segments, start)
            asked = start == 1 and end == count and segments[0] in _ASKS
            if end > start and not asked and (end == count or segments[end] not in ABOUT):
                return True
            start = max(end, start + 1)
        return False

    def _run_end(self, segments: tuple[str, ...], start: int) -> int:
        """Where the longest sensitive run that begins at `start` ends; `start` where none does."""
        for end in range(min(start + self._longest, len(segments)), start, -1):
            if segments[start:end] in self._runs:
                return end
        return start

    def _cut_labelled(self, text: str) -> str:
        """Cut out the value of each `name=value`, `"name": "value"` and the like whose name is sensitive."""
        parts: list[str] = []
        kept = at = 0
        reach = _Reach(text)
        while (label := _NAME.search(text, at)) is not None:
            at = label.end()
            if at < kept and not reach.beyond(at, kept):  # inside a value that is cut, and ends where that does
                continue
            parameter = text[label.start() - 1 : label.start()] in _BEFORE_PARAMETER
            if self.sensitive(label["name"]) or (parameter and _segments(label["name"])[-1:] in _PARAMETERS):
                start, end = _value_span(text, label, parameter=parameter)
                if end > max(start, kept):
                    if start >= kept:
                        parts += (text[kept:start], REDACTED)
                    kept = end
        parts.append(text[kept:])
        return "".join(parts)


class _Reach:
    """How far bracketed values of a text reach; each kind of end is looked for once in each part of it."""

    __slots__ = ("_next", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._next: dict[str, int] = {}

    def beyond(self, at: int, kept: int) -> bool:
        """Whether a bracketed value that begins at `at` ends after `kept`; nothing else in a value that is cut does."""
        closing = _CLOSING.get(self._text[at : at + 1])
        return closing is not None and kept < min(self._end(closing, at) + 1, self._end("\n", at), self._end("\r", at))

    def _end(self, char: str, at: int) -> int:
        if self._next.get(char, -1) < at:
            found = self._text.find(char, at)
            self._next[char] = len(self._text) if found < 0 else found
        return self._next[char]


def _segments(name: str) -> tuple[str, ...]:
    return tuple(_SEGMENT.findall(_CAMEL.sub("_", name).lower()))


def _hint(runs: Iterable[tuple[str, ...]]) -> re.Pattern[str]:
    """Find what a lower-case text must hold for any of `runs` to be in it: the longest segment of each."""
    stems: list[str] = []
    for run in sorted(runs, key=lambda run: (len(max(run, key=len)), run)):
        if not any(stem in segment for stem in stems for segment in run):
            stems.append(max(run, key=len))
    return re.compile("|".join(map(re.escape, stems)))


def _value_span(text: str, label: re.Match[str], *, parameter: bool) -> tuple[int, int]:
    """Where the value after a label begins and ends; equal where there is none."""
    at = label.end()
    if quoted := _QUOTED.match(text, at):
        return quoted.end("quote"), quoted.end()
    kind = _VALUE
    if parameter:
        kind = _PARAMETER
    elif _segments(label["name"])[-1] in _HEADER_SEGMENTS:
        kind = _HEADER
    found = kind.match(text, at)
    return (at, found.end()) if found else (at, at)


def _may_hold_key(low: str) -> bool:
    return (
        ("_" in low and ("gh" in low or "k_" in low or "_pat_" in low or "whsec_" in low or "npm_" in low))
        or ("-" in low and ("xox" in low or "sk-" in low or "glpat-" in low))
        or "akia" in low
        or "asia" in low
        or "aiza" in low
    )


def _keep_scheme(found: re.Match[str]) -> str:
    return (found["scheme"] or found["basic"]) + REDACTED
