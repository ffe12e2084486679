"""Names of series that are not obskit's own."""

# The Collector's service_graph connector.
GRAPH_CALLS = "traces_service_graph_request_total"
GRAPH_FAILED = "traces_service_graph_request_failed_total"
GRAPH_SERVER_SECONDS = "traces_service_graph_request_server_seconds_bucket"

# Prometheus itself, of each target; and the job of those that are services.
UP = "up"
SERVICES = 'job="obskit"'
ALERTS = "ALERTS"

# prometheus_client's, scraped.
PROCESS_CPU = "process_cpu_seconds_total"
PROCESS_MEMORY = "process_resident_memory_bytes"
PROCESS_FILES = "process_open_fds"
PROCESS_FILES_LIMIT = "process_max_fds"
PROCESS_START = "process_start_time_seconds"
PYTHON_COLLECTIONS = "python_gc_collections_total"

# Recorded by the rules that `obskit slo` writes.
SLO_ERRORS = {window: f"slo:sli_error:ratio_rate{window}" for window in ("5m", "1h", "6h", "1d", "3d")}
SLO_OBJECTIVE = "slo:objective:ratio"
SLO_BUDGET = "slo:error_budget:ratio"
SLO_LEFT = "slo:error_budget_remaining:ratio"
