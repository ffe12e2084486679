"""What carries trace context beside HTTP: the headers of messages, the arguments of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.propagators.textmap import Getter


class AnyCaseGetter(Getter[Any]):
    """Reads mappings and lists of pairs, str or bytes, whatever the case of their names."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        """Every value under `key`, which is lower case; None where there is none."""
        pairs = carrier.items() if isinstance(carrier, Mapping) else carrier
        found = [
            part
            for name, value in pairs
            if _text(name).lower() == key
            for part in ([_text(value)] if isinstance(value, (str, bytes)) else map(_text, value or ()))
        ]
        return found or None

    def keys(self, carrier: Any) -> list[str]:
        """Every name, as it is."""
        return [_text(name) for name in (carrier if isinstance(carrier, Mapping) else dict(carrier))]


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
