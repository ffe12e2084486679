"""obskit: one call makes a Python service observable."""

from obskit import _sdk as _sdk  # first: OpenTelemetry's SDK, whatever the environment holds
from obskit import exceptions
from obskit._handle import Obskit
from obskit._init import init
from obskit._version import __version__
from obskit.config import Config
from obskit.instrumentation.function import operation
from obskit.operation import accumulate, annotate, current_operation
from obskit.propagation import extract, inject
from obskit.signals._pipeline import get_logger

__all__ = [
    "Config",
    "Obskit",
    "__version__",
    "accumulate",
    "annotate",
    "current_operation",
    "exceptions",
    "extract",
    "get_logger",
    "init",
    "inject",
    "operation",
]
