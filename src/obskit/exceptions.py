"""The exceptions that obskit raises, all of them before or outside the request path.

Hierarchy::

    ObskitError
    └── ConfigError     wrong arguments to init() or Config; also a ValueError
"""

from __future__ import annotations

from collections.abc import Sequence


class ObskitError(Exception):
    """Base of every exception that obskit raises on purpose."""


class ConfigError(ObskitError, ValueError):
    """Wrong arguments. The message names every problem found, not only the first.

    Args:
        problems: one sentence each, saying what is wrong and what to do.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"obskit: {len(self.problems)} problem(s) in the configuration:{lines}")
