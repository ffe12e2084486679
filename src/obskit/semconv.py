"""Every attribute, metric, label and log-field name of obskit, once.

Names are those of the OpenTelemetry semantic conventions (https://opentelemetry.io/docs/specs/semconv/) where one
exists; metric names are the Prometheus translation of the convention's, so that scraped and pushed series agree.
"""

from __future__ import annotations

from typing import Final

# -- HTTP (https://opentelemetry.io/docs/specs/semconv/http/http-spans/) ------------------------------------------
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_REQUEST_METHOD_ORIGINAL: Final = "http.request.method_original"
HTTP_REQUEST_BODY_SIZE: Final = "http.request.body.size"
HTTP_REQUEST_RESEND_COUNT: Final = "http.request.resend_count"
HTTP_RESPONSE_BODY_SIZE: Final = "http.response.body.size"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"
URL_FULL: Final = "url.full"
URL_PATH: Final = "url.path"
URL_SCHEME: Final = "url.scheme"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
CLIENT_ADDRESS: Final = "client.address"
USER_AGENT_ORIGINAL: Final = "user_agent.original"
NETWORK_PROTOCOL_VERSION: Final = "network.protocol.version"
ERROR_TYPE: Final = "error.type"
#: `error.type` where something failed and nothing is known of how.
ERROR_TYPE_OTHER: Final = "_OTHER"
WEBSOCKET_CLOSE_CODE: Final = "websocket.close_code"
WEBSOCKET_RECEIVED_COUNT: Final = "websocket.received.count"
WEBSOCKET_RECEIVED_BYTES: Final = "websocket.received.bytes"
WEBSOCKET_SENT_COUNT: Final = "websocket.sent.count"
WEBSOCKET_SENT_BYTES: Final = "websocket.sent.bytes"

#: Methods that keep their name; any other becomes METHOD_OTHER, so that strangers cannot make series.
KNOWN_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
METHOD_OTHER: Final = "_OTHER"
#: What stands for METHOD_OTHER in a span's name.
METHOD_OTHER_SPAN_NAME: Final = "HTTP"

# -- databases and messaging (https://opentelemetry.io/docs/specs/semconv/database/, …/messaging/) ------------------
DB_NAMESPACE: Final = "db.namespace"
DB_OPERATION_NAME: Final = "db.operation.name"
DB_QUERY_TEXT: Final = "db.query.text"
DB_SYSTEM_NAME: Final = "db.system.name"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
NETWORK_PEER_ADDRESS: Final = "network.peer.address"

# -- exceptions ---------------------------------------------------------------------------------------------------
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

# -- resource -----------------------------------------------------------------------------------------------------
SERVICE_NAME: Final = "service.name"
SERVICE_NAMESPACE: Final = "service.namespace"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
DEPLOYMENT_ENVIRONMENT_NAME: Final = "deployment.environment.name"
#: Its deprecated name; read from the environment, never written.
DEPLOYMENT_ENVIRONMENT: Final = "deployment.environment"
TELEMETRY_DISTRO_NAME: Final = "telemetry.distro.name"
TELEMETRY_DISTRO_VERSION: Final = "telemetry.distro.version"

# -- log line -----------------------------------------------------------------------------------------------------
TIMESTAMP: Final = "timestamp"
LEVEL: Final = "level"
MESSAGE: Final = "message"
LOGGER: Final = "logger"
TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"
TRACE_FLAGS: Final = "trace_flags"
EVENT_NAME: Final = "event.name"
CODE_STACKTRACE: Final = "code.stacktrace"
#: On the line that stands for others: how many.
SUPPRESSED: Final = "suppressed"
#: On a line whose values were cut so that it fits.
TRUNCATED: Final = "truncated"

# -- obskit's own fields of the wide event, where no convention exists --------------------------------------------
DURATION_MS: Final = "duration_ms"
TIME_TO_FIRST_BYTE_MS: Final = "time_to_first_byte_ms"
OUTCOME: Final = "outcome"
REQUEST_ID: Final = "request_id"
QUEUE_MS: Final = "queue_ms"
REQUEST_INVALID_FIELDS: Final = "request.invalid_fields"
SAMPLE_RATE: Final = "sample_rate"
CODE_FILE_PATH: Final = "code.file.path"
CODE_FUNCTION_NAME: Final = "code.function.name"
CODE_LINE_NUMBER: Final = "code.line.number"

#: Roll-ups of the calls below an operation: prefix + one of these.
ROLLUP_COUNT: Final = ".count"
ROLLUP_DURATION_MS: Final = ".duration_ms"
ROLLUP_ERRORS: Final = ".errors"
HTTP_CLIENT: Final = "http.client"
DB_CLIENT: Final = "db.client"
#: How often the commonest query below an operation was sent, from five times on.
DB_CLIENT_REPEATED: Final = "db.client.repeated"

#: Names that a user's field cannot take: they carry the line's identity, or what obskit measured itself. A field that
#: collides is kept under RESERVED_PREFIX + name.
RESERVED_FIELDS: Final = frozenset(
    {
        TIMESTAMP,
        LEVEL,
        MESSAGE,
        LOGGER,
        TRACE_ID,
        SPAN_ID,
        TRACE_FLAGS,
        EVENT_NAME,
        SERVICE_NAME,
        SERVICE_VERSION,
        DEPLOYMENT_ENVIRONMENT_NAME,
        DURATION_MS,
        TIME_TO_FIRST_BYTE_MS,
        OUTCOME,
        ERROR_TYPE,
        EXCEPTION_TYPE,
        EXCEPTION_MESSAGE,
        EXCEPTION_STACKTRACE,
        SAMPLE_RATE,
        HTTP_REQUEST_METHOD,
        HTTP_ROUTE,
        HTTP_RESPONSE_STATUS_CODE,
        URL_SCHEME,
        SERVER_ADDRESS,
        SERVER_PORT,
        WEBSOCKET_CLOSE_CODE,
    }
)
RESERVED_PREFIX: Final = "fields."

# -- what an operation is: `event.name` of its canonical line -----------------------------------------------------
EVENT_HTTP_SERVER: Final = "http.server.request"
EVENT_HTTP_CLIENT: Final = "http.client.request"
EVENT_DB_CLIENT: Final = "db.client.operation"
EVENT_WEBSOCKET: Final = "websocket"
EVENT_OPERATION: Final = "operation"
EVENT_MESSAGE: Final = "message.process"

#: `error.type` of a response that the app began and never completed, without raising.
VALUE_INCOMPLETE_RESPONSE: Final = "incomplete_response"

# -- outcomes -----------------------------------------------------------------------------------------------------
OUTCOME_OK: Final = "ok"
OUTCOME_ERROR: Final = "error"
OUTCOME_CANCELLED: Final = "cancelled"

# -- metrics ------------------------------------------------------------------------------------------------------
METRIC_HTTP_SERVER_DURATION: Final = "http_server_request_duration_seconds"
METRIC_HTTP_SERVER_ACTIVE: Final = "http_server_active_requests"
METRIC_HTTP_CLIENT_DURATION: Final = "http_client_request_duration_seconds"
METRIC_DB_CLIENT_DURATION: Final = "db_client_operation_duration_seconds"
METRIC_OPERATION_DURATION: Final = "obskit_operation_duration_seconds"
METRIC_STREAM_DURATION: Final = "obskit_stream_duration_seconds"
METRIC_WEBSOCKET_DURATION: Final = "obskit_websocket_duration_seconds"
METRIC_WEBSOCKET_ACTIVE: Final = "obskit_websocket_active"
METRIC_EVENT_LOOP_LAG: Final = "obskit_event_loop_lag_seconds"
METRIC_HEALTH_STATUS: Final = "obskit_health_check_status"
METRIC_HEALTH_DURATION: Final = "obskit_health_check_duration_seconds"
METRIC_SPANS: Final = "obskit_spans"
METRIC_LOG_LINES: Final = "obskit_log_lines"
METRIC_LOG_RECORDS: Final = "obskit_log_records"
METRIC_POINTS: Final = "obskit_metric_points"
METRIC_LOG_BYTES: Final = "obskit_log_bytes"
METRIC_SERIES: Final = "obskit_metric_series"
METRIC_INTERNAL_ERRORS: Final = "obskit_internal_errors"
METRIC_FIELDS_DROPPED: Final = "obskit_fields_dropped"
METRIC_CALLS_WITHOUT_TIMEOUT: Final = "obskit_http_client_calls_without_timeout"
METRIC_TARGET_INFO: Final = "target_info"

#: The conventions' bounds for HTTP durations, in seconds.
DURATION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

#: Who a series is about: on a scrape labels of the target, on a push promoted from the resource.
LABELS_IDENTITY: Final = ("service_name", "service_namespace", "deployment_environment_name")
LABEL_HTTP_REQUEST_METHOD: Final = "http_request_method"
LABEL_HTTP_ROUTE: Final = "http_route"
LABEL_HTTP_RESPONSE_STATUS_CODE: Final = "http_response_status_code"
LABEL_URL_SCHEME: Final = "url_scheme"
LABEL_ERROR_TYPE: Final = "error_type"
LABEL_SERVER_ADDRESS: Final = "server_address"
LABEL_SERVER_PORT: Final = "server_port"
LABEL_DB_SYSTEM_NAME: Final = "db_system_name"
LABEL_DB_NAMESPACE: Final = "db_namespace"
LABEL_DB_OPERATION_NAME: Final = "db_operation_name"
LABEL_OPERATION_NAME: Final = "operation_name"
LABEL_OPERATION_KIND: Final = "operation_kind"
LABEL_OUTCOME: Final = "outcome"
LABEL_CLOSE_CODE: Final = "websocket_close_code"
LABEL_CHECK: Final = "check"
LABEL_REASON: Final = "reason"
REASON_WORKER_ENDED: Final = "worker_ended"
LABEL_METRIC: Final = "metric"
LABEL_COMPONENT: Final = "component"
#: On the one label set that takes what is past the cap (the SDK's own name for it, with underscores).
LABEL_OVERFLOW: Final = "otel_metric_overflow"
#: Stands for the values of a promoted field that are not on its list, and for what is folded at the cap.
VALUE_OTHER: Final = "_other"
