"""The choice of who makes SERVER spans: ``Config.server_spans``."""

from __future__ import annotations

import importlib

from obskit.config import Config
from obskit.exceptions import ConfigError
from obskit.instrumentation._server_spans import OwnSpans, ServerSpans

_OLD_CONVENTIONS = (
    "server_spans=contrib needs the stable semantic conventions, but OpenTelemetry's instrumentations have begun with "
    "the old ones, and they choose once a process: set OTEL_SEMCONV_STABILITY_OPT_IN=http, or call obskit.init() "
    "before the first of them"
)


def choose(config: Config) -> ServerSpans:
    """Who makes the SERVER spans of this process.

    Raises:
        ConfigError: contrib is to, and is not installed, or speaks the old semantic conventions already.
    """
    if not config.enabled or config.server_spans == "obskit":
        return OwnSpans()
    if config.server_spans == "native":
        from obskit.instrumentation._native import NativeSpans  # noqa: PLC0415

        return NativeSpans()
    return _contrib()


def _contrib() -> ServerSpans:
    try:
        stability = importlib.import_module("obskit.instrumentation._stability")
        spans: ServerSpans = importlib.import_module("obskit.instrumentation._contrib").ContribSpans()
    except ImportError as error:
        msg = f"server_spans=contrib needs the extra: pip install 'obskit[contrib]' ({error})"
        raise ConfigError([msg]) from None  # the sentence says it all
    if not stability.http_is_stable():
        raise ConfigError([_OLD_CONVENTIONS])
    return spans
