"""Contrib's semantic conventions: the stable ones, which a process chooses once, at its first instrumentation.

https://opentelemetry.io/docs/specs/semconv/non-normative/http-migration/
"""

from __future__ import annotations

from opentelemetry.instrumentation import _semconv as contrib

from obskit.instrumentation.databases import stable_conventions


def http_is_stable() -> bool:
    """Whether contrib's HTTP instrumentations speak the stable conventions, alone or beside the old ones.

    Where none has chosen yet, they do from now on.
    """
    stability = contrib._OpenTelemetrySemanticConventionStability  # noqa: SLF001  (it has no public name)
    with stable_conventions():
        stability._initialize()  # type: ignore[no-untyped-call]  # noqa: SLF001
    mode = stability._get_opentelemetry_stability_opt_in_mode(  # noqa: SLF001
        contrib._OpenTelemetryStabilitySignalType.HTTP  # noqa: SLF001
    )
    return mode in (contrib._StabilityMode.HTTP, contrib._StabilityMode.HTTP_DUP)  # noqa: SLF001
