"""The text of a query as it may be shown: without the values in it.

The conventions ask for as much where a query is not parameterised
(https://opentelemetry.io/docs/specs/semconv/database/database-spans/#sanitization-of-dbquerytext).
"""

from __future__ import annotations

import re

#: Beyond this a text is cut before it is looked through.
_MAX_CHARACTERS = 16 * 1024
# Strings, also one that the cut has left open, dollar-quoted ones, then numbers that are no part of a name or of a
# placeholder such as $1 and :1.
_LITERAL = re.compile(
    r"""'(?>(?:[^']|'')*)(?:'|\Z)|\$(?P<tag>\w*+)\$(?s:.*?)(?:\$(?P=tag)\$|\Z)|(?<![\w$:@?.])\d++(?:\.\d++)?(?![\w])"""
)


def without_literals(text: str) -> str:
    """`text` with ``?`` in the place of each string and number.

    Args:
        text: a statement of SQL or of its kin, in any dialect; names in double quotes or backticks stay.
    """
    return _LITERAL.sub("?", text[:_MAX_CHARACTERS])
