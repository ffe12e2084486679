from __future__ import annotations

import json
import random
import string
import time

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from obskit._fields import FieldPolicy
from obskit.exceptions import ConfigError
from obskit.redaction import _MAX_DECISIONS, REDACTED, SENSITIVE_NAMES, Redactor

redactor = Redactor()

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKCAQEA==\n-----END RSA PRIVATE KEY-----"
# Put together here, so that no scanner takes this file for a leak.
STRIPE, SLACK, GITHUB = (
    "sk_" + "live_4eC39HqLyjWDarjtT1zd",
    "xox" + "b-123456789012-abcdefGHIJKL",
    "gh" + "p_" + "a1B2" * 9,
)


@pytest.mark.parametrize(
    "name",
    [
        "authorization", "http.request.header.authorization", "http.request.header.cookie", "Set-Cookie", "cookies",
        "password", "PASSWORD", "userPassword", "user.password", "password1", "password_hash", "old passwords",
        "passwd", "pwd", "passphrase", "DB_PASS", "secret", "client_secret", "clientSecret", "clientsecret", "secrets.db",
        "token", "access_token", "accesstoken", "oauth2_token", "password_reset_token", "token_type_token",
        "X-API-Key", "api.key", "apikey", "APIKey", "myApiKey", "AWSAccessKeyId", "aws_secret_access_key", "privateKey",
        "credential", "credentials", "sessionid", "csrf", "csrftoken", "x-xsrf-token", "jwt", "bearer",
        "ssn", "card_number", "creditCard", "cvv", "iban", "has_password_value", "refresh_tokens",
    ],
)  # fmt: skip
def test_sensitive_names(name):
    assert redactor(name, "hunter2") == REDACTED
    assert redactor(name, ["a", "b"]) == REDACTED
    assert redactor(name, 1234) == REDACTED
    assert redactor(name, True) == REDACTED


@pytest.mark.parametrize(
    "name",
    [
        "input_tokens", "gen_ai.usage.output_tokens", "max_tokens", "tokens_used", "token_count", "token.type", "tokenLimit",
        "token_usage", "idempotency_key", "public_key", "secretary", "author", "authority", "cookies_enabled", "tokenizer",
        "cookie_consent", "access_token_expires_at", "access_token_type", "secret_key_name", "has_password", "isSecret",
        "session.id", "user.id", "http.route", "key", "compass", "bypass_cache", "pin", "shipping", "", "...", "42",
        "InvalidTokenError", "passenger.count", "authorization_endpoint",
    ],
)  # fmt: skip
def test_names_that_only_look_sensitive(name):
    assert redactor(name, "plain") == "plain"
    assert redactor(name, 7) == 7
    assert redactor(name, False) is False


@pytest.mark.parametrize("name", SENSITIVE_NAMES)
def test_every_listed_name_in_every_spelling(name):
    words = name.split()
    spellings = ["_".join(words), "-".join(words), ".".join(words), "".join(words), "_".join(words).upper()]
    spellings += [words[0] + "".join(map(str.capitalize, words[1:])), "x_" + "_".join(words) + "_2"]
    assert [one for one in spellings if redactor(one, "v") != REDACTED] == []
    assert [one for one in spellings if "hunter2" in redactor.text(f"{one}=hunter2")] == []


def test_names_can_be_added_and_allowed():
    mine = Redactor(redact=["tax id", "internalRef", "пароль"], allow=["session_token", "tax_id"])
    assert mine("customer.taxId", "1") == REDACTED
    assert mine("internal_ref", "1") == REDACTED
    assert mine("мой_пароль", "1") == REDACTED
    assert mine.text("customer_tax_id=12-34 пароль: q1") == f"customer_tax_id={REDACTED} пароль: {REDACTED}"
    assert mine("session_token", "1") == "1"
    assert mine("tax_id", "1") == "1"
    assert mine("my_session_token", "1") == REDACTED
    assert mine("taxi", "1") == "1"
    assert mine.text("session_token=1") == "session_token=1"


def test_a_name_without_letters_is_refused():
    with pytest.raises(ConfigError, match=r"(?s)redact: '\*'.*redact: ''"):
        Redactor(redact=["ok", "*", ""])


def test_values_under_plain_names_are_read_as_texts():
    assert redactor("url.full", "http://u:p@h/") == f"http://{REDACTED}@h/"
    assert redactor("args", ["a", f"Bearer {JWT}"]) == ["a", f"Bearer {REDACTED}"]
    assert redactor("args", []) == []
    assert redactor("args", [1, 2]) == [1, 2]


def test_it_is_what_the_field_policy_expects():
    fields = {}
    policy = FieldPolicy(Redactor())
    policy.add(fields, {"user": {"password": "x", "tier": "gold"}, "note": "token=abc", "n": 1})
    assert fields == {"user.password": REDACTED, "user.tier": "gold", "note": f"token={REDACTED}", "n": 1}


def test_remembered_decisions_are_bounded_and_stay_right():
    mine = Redactor()
    for number in range(2 * _MAX_DECISIONS + 10):
        assert mine(f"field{number}", "v") == "v"
        assert len(mine._decisions) <= _MAX_DECISIONS
    long_name = "x" * 5000
    assert mine(long_name, "v") == "v"
    assert mine(long_name + "_password", "v") == REDACTED
    assert all(len(name) <= 128 for name in mine._decisions)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("user signed in: 3 items, total=4", "user signed in: 3 items, total=4"),
        ("GET /a?x=1&page=2 HTTP/1.1", "GET /a?x=1&page=2 HTTP/1.1"),
        ("password=hunter2 next", "password=* next"),
        ("password = hunter2; Server=db", "password = *; Server=db"),
        ("PASSWORD => hunter2", "PASSWORD => *"),
        ("if password == 'x':", "if password == '*':"),
        ('{"password": "hun\\"ter2", "a": 1}', '{"password": "*", "a": 1}'),
        ("{'api_key': 'abc', 'k': 'v'}", "{'api_key': '*', 'k': 'v'}"),
        ('{\\"password\\": \\"hunter2\\", \\"a\\": 1}', '{\\"password\\": \\"*\\", \\"a\\": 1}'),
        ('{"pwd": 1234, "a": 1}', '{"pwd": *, "a": 1}'),
        ("{'password': ['a', 'b'], 'c': 1}", "{'password': *, 'c': 1}"),
        ("credentials={'u': 'x', 'k': 'y'} tail", "credentials=* tail"),
        ("secret=(1, 2) tail", "secret=* tail"),
        ("api_key: abc def", "api_key: * def"),
        ("api key: abc", "api key: *"),
        ("user[password]=x&b=2", "user[password]=*&b=2"),
        ("headers['authorization'] = 'x'", "headers['authorization'] = '*'"),
        ("[(b'authorization', b'Basic dXNlcjpw'), (b'host', b'h')]", "[(b'authorization', b'*'), (b'host', b'h')]"),
        ('Authorization: Digest username="u", response="r"\nHost: h', "Authorization: *\nHost: h"),
        ("Cookie: a=1; sid=2\r\nHost: h", "Cookie: *\r\nHost: h"),
        ("token: Bearer a|b c", "token: * c"),
        ("password='cut off", "password='*"),
        ("password=", "password="),
        ("password= ", "password= "),
        ("password= Token: abc", "password= * *"),
        ("password=a=b token=c", "password=* token=*"),
        ('password=""', 'password=""'),
        ("password=&x=1", "password=&x=1"),
        ("f(password=abc, x=1)", "f(password=*, x=1)"),
        ("password=a,b)c'd rest", "password=* rest"),
        (f"password={REDACTED}hunter2 x", "password=* x"),
        ("Authorization failed for user 3", "Authorization failed for user 3"),
        ("InvalidTokenError: Not enough segments", "InvalidTokenError: Not enough segments"),
        ("token_count=3 input_tokens=5", "token_count=3 input_tokens=5"),
        ("postgres://user:pa55@db:5432/x", "postgres://*@db:5432/x"),
        ("amqp://user:p@ss@mq/", "amqp://*@mq/"),
        ("ftp://user:a/b@host@x/", "ftp://*@x/"),
        ("https://token@host/", "https://*@host/"),
        ("http://h:8080/@scope/pkg", "http://h:8080/@scope/pkg"),
        ("http://h/a?mail=x@y.z", "http://h/a?mail=x@y.z"),
        ("/x?token=a,b;c&x=1#access_token=q", "/x?token=*&x=1#access_token=*"),
        ("/x?X-Amz-Credential=A%2F1&X-Amz-Signature=s&X-Amz-Date=d", "/x?X-Amz-Credential=*&X-Amz-Signature=*&X-Amz-Date=d"),
        ("/x?X-Amz-Security-Token=s&X-Goog-Signature=t", "/x?X-Amz-Security-Token=*&X-Goog-Signature=*"),
        ("/b?sv=1&sig=a%2Bb%3D", "/b?sv=1&sig=*"),
        ("sig=11 signature: f(x)", "sig=11 signature: f(x)"),
        ("with Bearer abc123|def now", "with Bearer * now"),
        ("bearer mF_9.B5f-4.1JqM", "bearer *"),
        ("missing bearer token", "missing bearer token"),
        ("Basic dXNlcjpwYXNz=", "Basic *"),
        ("basic authentication failed", "basic authentication failed"),
        ("Basic Authentication", "Basic Authentication"),
        (f"got {JWT}.", "got *"),
        (f"x%3D{JWT[:40]}", "x%3D*"),
        ("eyJ is how they begin", "eyJ is how they begin"),
        ("key AKIAIOSFODNN7EXAMPLE used", "key * used"),
        (f"a {STRIPE} b {SLACK} c {GITHUB} d", "a * b * c * d"),
        ("AIza" + "b" * 35, "*"),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", "0f8fad5b-d9cb-469f-a165-70867728950e"),
        (f"a\n{PEM}\nb", "a\n*\nb"),
        (f"a {PEM[:50]}", "a *"),
        (json.dumps({"k": PEM, "z": 1}), '{"k": "*", "z": 1}'),
    ],
)  # fmt: skip
def test_texts(text, expected):
    out = redactor.text(text)
    assert out == expected.replace("*", REDACTED)
    assert redactor.text(out) == out


# Text in which most of the grammar's pieces occur, so that the search does not wander among plain letters only.
_PIECES = st.sampled_from(
    ["password", "token", "api key", "Cookie", "authorization", "x", "=", ": ", "'", '"', '\\"', "[", "]", "{", "(", ")", "&",
     "?", "#", ";", ",", " ", "\n", "\\", "://", "@", "/", "http", "Bearer ", "basic ", "eyJ", "eyJhbGciOi.abcdef", ".",
     "-----BEGIN PRIVATE KEY", "-----END PRIVATE KEY-----", "AKIA", "ghp_", "xoxb-", "=>", "sig", "b'", REDACTED, "aZ9", "%"]
)  # fmt: skip
_TEXTS = st.lists(st.one_of(_PIECES, st.text(max_size=6)), max_size=14).map("".join)
_SECRETS = st.text(alphabet=string.ascii_letters + string.digits + "-_.~!$%*+^|/:@", min_size=12, max_size=40)
_PLANTS = st.sampled_from(
    [
        "password={}", "Password: {}", '{{"client_secret": "{}"}}', "{{'apiKey': '{}'}}", "x?access_token={}&y=1",
        "Authorization: Bearer {}", "Set-Cookie: sid={}; Path=/", "[(b'x-api-key', b'{}')]", "api key = {}",
        '{{\\"token\\": \\"{}\\"}}', "PASSWORD: ['{}', 'b']", "credentials={{'user': '{}'}}",
    ]
)  # fmt: skip


@given(_TEXTS)
@settings(max_examples=400, deadline=None)
def test_any_text_comes_back_and_stays_as_it_is(text):
    out = redactor.text(text)
    assert redactor.text(out) == out


@given(st.tuples(_TEXTS, st.sampled_from(" \n\t")), _PLANTS, _SECRETS, st.tuples(st.sampled_from(" \n"), _TEXTS))
@example(("password=", " "), "Password: {}", "0123456789ab", (" ", ""))
@example(("password=", " "), "credentials={{'user': '{}'}}", "000000000000", (" ", ""))
@settings(max_examples=400, deadline=None)
def test_a_labelled_secret_never_survives(before, plant, secret, after):
    secret = secret.strip(":/@.") + "q7"
    around = ("".join(before), "".join(after))
    assume(secret not in around[0] + around[1])
    assert secret not in redactor.text(plant.format(secret).join(around))


@given(_TEXTS, st.sampled_from([JWT, PEM, STRIPE, SLACK, GITHUB, "AKIAIOSFODNN7EXAMPLE"]), _TEXTS)
@settings(max_examples=300, deadline=None)
def test_a_secret_of_known_shape_never_survives(before, secret, after):
    assert secret not in redactor.text(f"{before} {secret} {after}")
    assert secret not in redactor.text(f"{before},{secret},{after}")


@given(_TEXTS, st.sampled_from(["user", ""]), st.from_regex(r"[a-zA-Z0-9!$&*+,;=.~%-]{8,20}", fullmatch=True), _TEXTS)
@settings(max_examples=200, deadline=None)
def test_a_password_in_a_url_never_survives(before, user, password, after):
    assume(password not in before + after)
    assert password not in redactor.text(f"{before} postgres://{user}:{password}@db.example:5432/app {after}")


@given(st.text(max_size=30), st.one_of(st.text(), st.integers(), st.booleans(), st.floats(), st.lists(st.text())))
@settings(max_examples=200, deadline=None)
def test_any_name_and_value_pass(name, value):
    out = redactor(name, value)
    assert out == REDACTED or type(out) is type(value)


def _random_text(size):
    return "".join(random.Random(7).choices(string.printable, k=size))


@pytest.mark.parametrize(
    "unit",
    ["a", "eyJ", "eyJa", "eyJabcdefgh.", "://", "://a:b", "://a:b@c/", "password", "password=", "password: ", "password: '", "token='\\", "a_",
     "password=[", "password={", "password={}", "password=[{(", "pwd=(password={", "credentials={'a': ", "-----BEGIN PRIVATE KEY", "bearer ", "bearer a", "basic a", "basic aaaaaaaA", "?token=", "AKIA",
     "ghp_a", "github_pat_", "xoxb-", "\\", '\\"', "'", "',", "' ,'", "a.b-c_", " ", "token \t", "=", "token]]]]", "aB", "eyJ-eyJ.",
     "token=bearer ", "api key", "token===", "@", "://@", "k:", "a: b, "],
)  # fmt: skip
def test_time_is_linear_on_hostile_text(unit):
    # 64 times the text may take 64 times as long; what is quadratic takes 4,096 times, minutes instead of a moment.
    text = "token=x eyJ :// @ bearer basic akia _gh -xox -----BEGIN\n" + unit * (2**18 // len(unit))
    began = time.perf_counter()
    redactor.text(text)
    assert time.perf_counter() - began < 10


def test_a_long_text_is_cut_to_its_end():
    text = _random_text(2**17).replace("-----BEGIN", "") + "\n\n" + f"password=hunter2hunter2 {JWT}"
    out = redactor.text(text)
    assert "hunter2hunter2" not in out
    assert JWT not in out


def test_what_is_remembered_as_harmless_is_bounded():
    redactor = Redactor()
    for number in range(10_000):
        assert redactor.text(f"message {number}") == f"message {number}"
        assert redactor.text(f"password={number}") == f"password={REDACTED}"
    assert 0 < len(redactor._harmless) <= 4096
    assert not any("password" in text for text in redactor._harmless)
    long = "x" * 200
    assert redactor.text(long) == long
    assert long not in redactor._harmless
