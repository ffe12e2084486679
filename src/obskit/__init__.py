"""obskit: one call makes a Python service observable."""

from obskit._version import __version__

__all__ = ["__version__"]
