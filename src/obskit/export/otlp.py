"""Spans, log records and metrics to a collector by OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp)."""

from __future__ import annotations

import http.client
import logging
import os
import random
import ssl
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Generic, Literal, TypeVar
from urllib.parse import urlsplit

from obskit._version import __version__
from obskit.export._answer import partial_success
from obskit.export._encodings import Encoding
from obskit.export._exporter import ENCODE, REJECTED, SHUTDOWN, UNREACHABLE, ExportResult
from obskit.export._headers import Headers
from obskit.export._http import Answer, Connection

T = TypeVar("T")

_RETRYABLE = frozenset({429, 502, 503, 504})
#: Seconds before the second attempt, and at most between two. The longest is below the default of
#: OBSKIT_SHUTDOWN_SECONDS, so that a collector which came back is tried once more before the process ends.
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 4.0
#: The lowest level costs a third of the usual one and leaves the body a few percent larger.
_GZIP_LEVEL = 1
_GZIP_WINDOW = 31


class OtlpExporter(Generic[T]):
    """Sends batches of one signal to one collector, and tries again as the specification says.

    Args:
        encoding: which signal, and how it is written.
        endpoint: the whole URL of the signal, such as ``http://localhost:4318/v1/traces``.
        headers: sent with each request; what HTTP cannot carry is left out with a warning.
        headers_file: path of a mounted secret with more of them, over `headers`, read again when it changes; see
            :func:`obskit.export._headers.parse_headers`.
        timeout: seconds for one attempt, from looking the name up to the last byte of the answer.
        compression: of the request's body.
        protocol: of the request's body.
        certificate: path of the CA certificates (PEM) to trust instead of the system's.
        client_key, client_certificate: paths of what mutual TLS needs; the certificate alone if it holds the key.

    Raises:
        ValueError: the endpoint is no HTTP URL.
        OSError: a certificate cannot be read; ssl.SSLError, a subclass, when it is none.
    """

    def __init__(  # noqa: PLR0913  (the specification's options)
        self,
        encoding: Encoding[T],
        *,
        endpoint: str,
        headers: Mapping[str, str] | None = None,
        headers_file: str | None = None,
        timeout: float = 10.0,
        compression: Literal["gzip", "none"] = "gzip",
        protocol: Literal["http/protobuf", "http/json"] = "http/protobuf",
        certificate: str | None = None,
        client_key: str | None = None,
        client_certificate: str | None = None,
    ) -> None:
        #: What keeps items from being delivered now, in one line without credentials; empty when nothing does.
        self.trouble = ""
        self._url = urlsplit(endpoint)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            msg = "the OTLP endpoint must be a URL such as http://localhost:4318/v1/traces"
            raise ValueError(msg)
        #: Where items go, without credentials, for messages.
        self.endpoint = f"{self._url.scheme}://{self._url.netloc.rpartition('@')[2]}{self._url.path}"
        self._headers = Headers(headers or {}, headers_file)
        self._timeout = timeout
        self._encoding = encoding
        self._encode = encoding.json if protocol == "http/json" else encoding.protobuf
        self._tls = None
        if self._url.scheme == "https":
            self._tls = ssl.create_default_context(cafile=certificate)
            if client_certificate:
                self._tls.load_cert_chain(client_certificate, client_key)
        self._fixed = {"content-type": "application/json" if protocol == "http/json" else "application/x-protobuf"}
        if compression == "gzip":
            self._fixed["content-encoding"] = "gzip"
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._closed = threading.Event()
        self._connection = Connection(self._url, self._tls)

    def export(self, items: Sequence[T], deadline: float) -> ExportResult:
        """Encode and send `items`, attempt after attempt, until they are taken, refused or `deadline` passes.

        Args:
            items: of the signal.
            deadline: on the clock of ``time.monotonic``.

        Returns:
            Items dropped as ``encode``, ``rejected`` (a status that is not to be retried, or a partial success),
            ``unreachable`` (the deadline passed) or ``shutdown`` (closed meanwhile).
        """
        if self._pid != os.getpid():
            self._connection.abandon()
            self._begin()
        encoded = self._encode(items)
        unencoded = {ENCODE: encoded.dropped} if encoded.dropped else {}
        sent = self._encoding.count(items) - encoded.dropped
        if not sent:
            return ExportResult(unencoded)
        body = encoded.body
        if "content-encoding" in self._fixed:
            body = zlib.compress(body, _GZIP_LEVEL, _GZIP_WINDOW)
        dropped, error = self._deliver(body, sent, deadline)
        return ExportResult({**unencoded, **dropped}, f"{self.endpoint}: {error}" if error else "")

    def close(self) -> None:
        """End the export in flight, and every later one, as ``shutdown``; from any thread, without waiting."""
        self._closed.set()
        if self._pid == os.getpid():
            self._connection.close()

    def _deliver(self, body: bytes, sent: int, deadline: float) -> tuple[dict[str, int], str]:
        """Attempt until it is decided what was dropped, for which reason, and what went wrong."""
        error, waits = "", _waits()
        while True:
            if self._closed.is_set():
                return {SHUTDOWN: sent}, error or "closed"
            if monotonic() >= deadline:
                return {UNREACHABLE: sent}, error or "no time was left for an attempt"
            asked = None
            try:
                answer = self._attempt(body, deadline)
            except (OSError, http.client.HTTPException) as failure:
                # The last attempt is often cut short by the deadline, and what failed before it says more.
                if not (error and isinstance(failure, TimeoutError)):
                    error = _told(failure)
            else:
                if answer.status not in _RETRYABLE:
                    self.trouble = ""
                    return self._decided(answer, sent)
                error = f"HTTP {answer.status}"
                asked = retry_after_seconds(answer.retry_after)
            self._say(error)
            self._closed.wait(max(0.0, min(asked or next(waits), deadline - monotonic())))

    def _say(self, error: str) -> None:
        """Tell of an outage when it begins, not when the first item is lost to it."""
        if not self.trouble:
            logging.getLogger("obskit").warning(
                "%s cannot be delivered to %s: %s; they wait and are tried again",
                self._encoding.what,
                self.endpoint,
                error,
            )
        self.trouble = f"{self.endpoint}: {error}"

    def _attempt(self, body: bytes, deadline: float) -> Answer:
        headers = {
            "user-agent": f"OTel-OTLP-Exporter-obskit/{__version__}",
            **self._headers.current(),
            **self._fixed,
            "content-length": str(len(body)),
        }
        return self._connection.post(body, headers, min(deadline, monotonic() + self._timeout))

    def _decided(self, answer: Answer, sent: int) -> tuple[dict[str, int], str]:
        if not 200 <= answer.status < 300:  # noqa: PLR2004  (the class of success)
            return {REJECTED: sent}, f"HTTP {answer.status}"
        rejected, message = partial_success(answer.body, answer.content_type)
        if not rejected:
            return {}, ""
        return {REJECTED: min(rejected, sent)}, f"{rejected} {self._encoding.what} refused: {message[:200]!r}"


def _waits() -> Iterator[float]:
    """Seconds between attempts: doubling, with jitter, so that the clients of a collector do not return as one."""
    longest = _FIRST_WAIT
    while True:
        yield longest * random.uniform(0.5, 1.0)
        longest = min(longest * 2, _LONGEST_WAIT)


def retry_after_seconds(value: str) -> float | None:
    """Read a Retry-After header (https://www.rfc-editor.org/rfc/rfc9110#field.retry-after).

    Args:
        value: seconds or an HTTP date; anything else is None, as is what asks for no wait.

    Returns:
        Seconds from now.
    """
    try:
        if value.isdecimal():
            seconds = float(value)
        else:
            when = parsedate_to_datetime(value)
            seconds = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if seconds > 0 else None


def _told(failure: Exception) -> str:
    if isinstance(failure, http.client.BadStatusLine) and not isinstance(failure, ConnectionError):
        return "no answer in HTTP/1.1: a port for gRPC, such as 4317, takes OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
    return f"{type(failure).__name__}: {str(failure)[:200]}"
