"""The headers of an exporter's requests: given once, or in a file that is read again when it changes."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_MAX_FILE = 64 * 1024


def parse_headers(text: str) -> tuple[dict[str, str], int]:
    """Read ``key=value`` pairs, separated by commas or newlines, values percent-encoded.

    The format is that of OTEL_EXPORTER_OTLP_HEADERS (https://opentelemetry.io/docs/specs/otel/protocol/exporter/).

    Returns:
        Names in lower case to values, and how many entries are no header; those are left out.
    """
    entries = [entry for entry in re.split(r"[,\n]", text) if entry.strip()]
    pairs = [(name, unquote(value)) for name, found, value in (entry.partition("=") for entry in entries) if found]
    headers = valid_headers(pairs)
    return headers, len(entries) - len(pairs) + sum(name.strip().lower() not in headers for name, _ in pairs)


def valid_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Keep the pairs that HTTP can carry (https://www.rfc-editor.org/rfc/rfc9110#name-fields), names in lower case."""
    stripped = ((name.strip().lower(), value.strip()) for name, value in pairs)
    return {name: value for name, value in stripped if _TOKEN.fullmatch(name) and _VALUE.fullmatch(value)}


class Headers:
    """Fixed headers, and those of a mounted secret over them.

    Args:
        fixed: names to values; what HTTP cannot carry is left out.
        path: a file in the format of :func:`parse_headers`. While it cannot be read, what it held last is used.

    What is wrong is logged once for each change of the file; never a value.
    """

    def __init__(self, fixed: Mapping[str, str], path: str | None) -> None:
        self._fixed = valid_headers(fixed.items())
        if len(self._fixed) < len(fixed):
            _warn("%d of the OTLP headers given are not valid HTTP and are not sent", len(fixed) - len(self._fixed))
        self._path = path
        self._seen: tuple[int, ...] | str | None = None
        self._read: dict[str, str] = {}

    def current(self) -> dict[str, str]:
        """The headers to send now, names in lower case."""
        if self._path is not None:
            try:
                self._refresh(self._path)
            except OSError as error:
                self._complain(self._path, error.strerror or type(error).__name__)
        return {**self._fixed, **self._read}

    def _refresh(self, path: str) -> None:
        stat = os.stat(path)  # noqa: PTH116  (once an export)
        # A mounted secret is swapped by a symbolic link: another inode, at times with an equal time.
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if seen == self._seen:
            return
        with open(path, "rb") as file:  # noqa: PTH123
            text = file.read(_MAX_FILE).decode("utf-8", "replace")
        self._read, malformed = parse_headers(text)
        self._seen = seen
        if malformed:
            _warn("%d entries of the OTLP headers file %s are not key=value and are not sent", malformed, path)

    def _complain(self, path: str, reason: str) -> None:
        if self._seen != reason:
            self._seen = reason
            _warn("the OTLP headers file %s cannot be read: %s", path, reason)


def _warn(message: str, *args: object) -> None:
    logging.getLogger("obskit").warning(message, *args)
