"""What the calls below an operation add up to, on the outermost one: how many, how long, how many failed.

Of database calls also how often the commonest query was sent: the sign of a loop that asks for each item of a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from obskit import semconv
from obskit._locks import reentrant_lock

if TYPE_CHECKING:
    from obskit.operation import Operation

# Re-entrant: a signal handler, or a logging handler that is told of a name's collision, may accumulate too.
LOCK = reentrant_lock()

#: From how many times on a query counts as repeated, and how many different ones of an operation are counted.
_REPEATED_FROM = 5
_MAX_QUERIES = 256


def roll_up(op: Operation, root: Operation) -> None:
    """Add a call that has ended to the fields of the operation above it."""
    if op.event == semconv.EVENT_HTTP_CLIENT:
        prefix = semconv.HTTP_CLIENT
    elif op.event == semconv.EVENT_DB_CLIENT or semconv.DB_SYSTEM_NAME in op.fields:  # or the user's own
        prefix = semconv.DB_CLIENT
    else:
        return
    fields = root.fields
    with LOCK:
        for name, amount in (
            (prefix + semconv.ROLLUP_COUNT, 1),
            (prefix + semconv.ROLLUP_DURATION_MS, op.duration_ms),
            (prefix + semconv.ROLLUP_ERRORS, 1 if op.outcome == "error" else 0),
        ):
            before = fields.get(name, 0)
            if isinstance(before, (int, float)):
                fields[name] = round(before + amount, 3)
        query = op.fields.get(semconv.DB_QUERY_TEXT)
        if isinstance(query, str):
            _count(query, root)


def _count(query: str, root: Operation) -> None:
    if root.queries is None:
        root.queries = {}
    if query not in root.queries and len(root.queries) >= _MAX_QUERIES:
        return
    root.queries[query] = times = root.queries.get(query, 0) + 1
    if times >= _REPEATED_FROM:
        before = root.fields.get(semconv.DB_CLIENT_REPEATED, 0)
        root.fields[semconv.DB_CLIENT_REPEATED] = max(times, before) if isinstance(before, int) else times
