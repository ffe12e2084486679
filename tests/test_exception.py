"""How an exception is written down: bounded, and redacted before anything is cut off."""

from obskit._exception import Exceptions
from obskit.redaction import Redactor

KEY = "-----BEGIN PRIVATE KEY-----\n" + "QUJD\n" * 40_000 + "-----END PRIVATE KEY-----"


def stacktrace_of(error):
    return Exceptions(Redactor().text).describe(error)["exception.stacktrace"]


def test_a_long_stack_trace_keeps_its_end_and_no_secret_that_the_cut_went_through():
    written = stacktrace_of(ValueError(f"{KEY}\npassword=hunter2 {'x' * 100}"))
    assert len(written) <= 16 * 1024 + 1
    assert written.endswith("x" * 100 + "\n")
    assert "QUJD" not in written
    assert "hunter2" not in written


def test_a_secret_longer_than_what_is_kept_is_told_by_its_label():
    assert "hunter2" not in stacktrace_of(ValueError("password=" + "hunter2-" * 3_000))
