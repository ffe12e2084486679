"""Which process runs what; what a run shows and leaves is in leftovers."""

from leftovers import pytest_sessionfinish, pytest_sessionstart, pytest_terminal_summary
from xdist.scheduler import LoadFileScheduling

__all__ = ["pytest_sessionfinish", "pytest_sessionstart", "pytest_terminal_summary"]


class ByFileAndStack(LoadFileScheduling):
    """A file to a process, and the files of whole/ to the same one: they share a stack."""

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return "whole" if "/whole/" in file else file


def pytest_xdist_make_scheduler(config, log):
    return ByFileAndStack(config, log)
