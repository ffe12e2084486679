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

# The Collector, of itself; the words at the end are what it counts of each signal.
COLLECTORS = 'job="otelcol"'
SIGNALS = {"spans": "spans", "log records": "log_records", "metric points": "metric_points"}
ACCEPTED, REFUSED, SENT, SEND_FAILED, ENQUEUE_FAILED = (
    {name: f"otelcol_{what}_{counted}_total" for name, counted in SIGNALS.items()}
    for what in (
        "receiver_accepted",
        "receiver_refused",
        "exporter_sent",
        "exporter_send_failed",
        "exporter_enqueue_failed",
    )
)
QUEUE = "otelcol_exporter_queue_size"
QUEUE_CAPACITY = "otelcol_exporter_queue_capacity"
COLLECTOR_MEMORY = "otelcol_process_memory_rss_bytes"
COLLECTOR_CPU = "otelcol_process_cpu_seconds_total"
COLLECTOR_UPTIME = "otelcol_process_uptime_seconds_total"
TRACES_DECIDED = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"
TRACES_BY_POLICY = "otelcol_processor_tail_sampling_count_traces_sampled_total"
TRACES_DROPPED_EARLY = "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early_total"
TRACES_IN_MEMORY = "otelcol_processor_tail_sampling_sampling_traces_on_memory"
