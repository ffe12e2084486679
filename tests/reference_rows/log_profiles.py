"""The rows of docs/reference/log-profiles.md: one table of whole lines pins them all, since a name that is not in it is one
too many, and one that it misses one too few."""

LINES = "signals/test_profiles.py::test_a_line_by_its_profile"
NAMES = (
    "timestamp", "level", "message", "logger", "trace_id", "span_id", "trace_flags", "service.name", "service.version",
    "deployment.environment.name", "event.name", "duration_ms", "outcome", "error.type", "exception.type",
    "exception.message", "exception.stacktrace", "request_id", "http.request.method", "http.response.status_code",
    "http.request.body.size", "http.response.body.size", "user_agent.original", "client.address",
    "network.protocol.version", "url.scheme", "server.address", "url.path", "http.route",
)  # fmt: skip

ROWS = dict.fromkeys(NAMES, (LINES,)) | {
    "ecs.version": (LINES, "signals/test_profiles.py::test_a_field_with_a_name_of_the_profiles_gives_way"),
}
