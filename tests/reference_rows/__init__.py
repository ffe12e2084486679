"""Which tests pin which row of docs/reference: each of a row's tests fails when what the row promises breaks.

By page, the rows of its tables by their names; a row that names several things, as `int`, `float`, is several rows. Tests
are named as pytest does, from this folder on, a parametrised one without its parameters.
"""

from reference_rows import api, command, configuration, health, log_line, log_profiles, metrics, redaction, stop, traces

ROWS = {
    "api.md": api.ROWS,
    "command.md": command.ROWS,
    "configuration.md": configuration.ROWS,
    "health.md": health.ROWS,
    "log-line.md": log_line.ROWS,
    "log-profiles.md": log_profiles.ROWS,
    "metrics.md": metrics.ROWS,
    "redaction.md": redaction.ROWS,
    "stop.md": stop.ROWS,
    "traces.md": traces.ROWS,
}
