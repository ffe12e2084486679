"""The rows of docs/reference/traces.md, and the tests that pin each."""

RESOURCE = ("contract/test_identity.py::test_the_resource_is_what_is_given_and_what_obskit_adds",)

READ = ("test_bad_input.py::test_how_much_of_a_header_is_read",)

ROWS = {
    "db.namespace": (
        "databases/test_databases.py::test_the_metric_names_the_database_and_the_operation",
        "databases/test_borrowed.py::test_names_of_before_are_the_stable_ones",
    ),
    "db.operation.name": (
        "databases/test_databases.py::test_a_call_is_one_client_span_and_rolls_up",
        "databases/test_borrowed.py::test_names_of_before_are_the_stable_ones",
    ),
    "db.query.text": (
        "databases/test_databases.py::test_a_call_is_one_client_span_and_rolls_up",
        "databases/test_borrowed.py::test_values_are_taken_out_of_queries",
    ),
    "network.peer.address": ("databases/test_borrowed.py::test_names_of_before_are_the_stable_ones",),
    "messaging.destination.name": (
        "databases/test_borrowed.py::test_a_message_that_is_processed_has_a_line_of_its_own",
        "databases/test_borrowed.py::test_names_of_before_are_the_stable_ones",
    ),
    "messaging.message.id": ("databases/test_borrowed.py::test_names_of_before_are_the_stable_ones",),
    "messaging.operation.type": ("databases/test_borrowed.py::test_names_of_before_are_the_stable_ones",),
    "traceparent": (*READ, "test_propagation.py::test_two_traceparents_are_none"),
    "tracestate": (*READ, "test_propagation.py::test_an_invalid_tracestate_is_no_tracestate"),
    "baggage": (*READ, "test_propagation.py::test_no_more_baggage_is_read_than_the_specification_allows"),
    **dict.fromkeys(
        ("b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"),
        (*READ, "test_b3.py::test_what_names_a_span", "test_b3.py::test_where_it_is_not_asked_for_b3_is_not_read"),
    ),
    **dict.fromkeys(
        ("host", "user-agent", "x-request-id", "x-request-start"),
        (*READ, "test_bad_input.py::test_what_is_too_much_is_read_within_bounds"),
    ),
    "request": ("test_server_span.py::test_one_server_span_a_request", "instrumentation/test_asgi.py::test_outcomes"),
    "connection": (
        "instrumentation/test_asgi.py::test_a_websocket_is_one_operation",
        "instrumentation/test_kinds.py::test_a_connection",
    ),
    "call": (
        "instrumentation/test_clients.py::test_a_call_is_one_client_span_whose_context_is_sent",
        "instrumentation/test_clients.py::test_each_hop_of_a_redirect_is_a_call_and_counts_up",
    ),
    "task": (
        "instrumentation/test_frameworks.py::test_litestars_background_tasks_are_children_of_their_request",
        "instrumentation/test_frameworks.py::test_quarts_background_tasks_are_children_of_their_request",
        "instrumentation/test_asgi.py::test_work_after_the_response_is_a_child_of_its_own",
        "test_server_span.py::test_one_server_span_a_request",
    ),
    "work": ("test_operation_api.py::test_ways_and_endings", "test_operation_api.py::test_kinds"),
    "http.request.method": (
        "instrumentation/test_clients.py::test_a_call_is_one_client_span_whose_context_is_sent",
        "instrumentation/test_clients.py::test_an_unknown_method_makes_no_name_of_its_own",
    ),
    "server.address": ("instrumentation/test_clients.py::test_a_call_is_one_client_span_whose_context_is_sent",),
    "server.port": (
        "instrumentation/test_clients.py::test_a_call_is_one_client_span_whose_context_is_sent",
        "instrumentation/test_httpx.py::test_a_transport_that_answers_at_once",
    ),
    "url.full": (
        "instrumentation/test_clients.py::test_a_call_is_one_client_span_whose_context_is_sent",
        "instrumentation/test_clients.py::test_credentials_and_secrets_of_a_url_stay_inside",
    ),
    "http.response.status_code": (
        "instrumentation/test_clients.py::test_a_call_is_one_client_span_whose_context_is_sent",
        "instrumentation/test_httpx.py::test_a_transport_that_answers_at_once",
    ),
    "http.request.resend_count": (
        "instrumentation/test_clients.py::test_each_hop_of_a_redirect_is_a_call_and_counts_up",
        "instrumentation/test_clients.py::test_a_call_of_its_own_does_not_count_up",
    ),
    "network.protocol.version": (
        "instrumentation/test_clients.py::test_a_call_is_one_client_span_whose_context_is_sent",
    ),
    "error.type": (
        "instrumentation/test_clients.py::test_statuses",
        "instrumentation/test_clients.py::test_a_refused_connection_is_an_error_by_its_type",
    ),
    "outcome": (
        "instrumentation/test_clients.py::test_a_call_is_one_client_span_whose_context_is_sent",
        "instrumentation/test_clients.py::test_a_cancelled_call_is_no_error",
    ),
    "service.name": RESOURCE,
    "service.version": (*RESOURCE, "contract/test_identity.py::test_what_is_not_given_is_not_in_the_resource"),
    "service.namespace": (*RESOURCE, "contract/test_identity.py::test_what_is_not_given_is_not_in_the_resource"),
    "service.instance.id": (
        *RESOURCE,
        "contract/test_identity.py::test_each_init_is_another_instance_unless_one_is_given",
    ),
    "deployment.environment.name": (
        *RESOURCE,
        "contract/test_identity.py::test_what_is_not_given_is_not_in_the_resource",
    ),
    "deployment.environment": (
        "contract/test_identity.py::test_the_older_name_of_the_environment_is_read_and_never_written",
    ),
    "telemetry.distro.name": RESOURCE,
    "telemetry.distro.version": RESOURCE,
    "telemetry.sdk.language": RESOURCE,
    "telemetry.sdk.name": RESOURCE,
    "telemetry.sdk.version": RESOURCE,
    "ot=th:c": (
        "test_probability.py::test_a_share_of_the_traces_is_recorded_and_stands_for_all",
        "test_probability.py::test_the_threshold_of_the_caller_is_kept_and_counts",
        "test_probability.py::test_what_is_malformed_says_nothing_and_goes_no_further",
        "test_probability.py::test_a_threshold_that_the_flags_contradict_is_dropped",
    ),
    "ot=rv:…": (
        "test_probability.py::test_what_the_tracestate_says_is_read",
        "test_probability.py::test_a_sampler_that_does_not_follow_the_parent_says_what_it_applied",
    ),
    "sample_rate": ("test_probability.py::test_all_spans_of_a_trace_carry_it_those_of_other_instrumentations_too",),
    "FastAPI's native telemetry": ("test_server_span.py::test_one_server_span_a_request",),
    "Starlette's OpenTelemetryMiddleware": ("test_server_span.py::test_one_server_span_a_request",),
    "opentelemetry-instrumentation-fastapi": (
        "test_server_span.py::test_one_server_span_a_request",
        "test_server_span.py::test_contrib_that_comes_after_the_first_app_has_begun",
        "test_close.py::test_contribs_middleware_stands_down_for_observed_requests_only",
    ),
    "obskit": ("test_server_span.py::test_one_server_span_a_request",),
    "contrib": (
        "test_server_span.py::test_one_server_span_a_request",
        "instrumentation/test_server_spans.py::test_the_span_is_anothers_and_the_rest_as_ever",
        "instrumentation/test_server_spans.py::test_contrib_speaks_the_stable_conventions_or_init_says_why_not",
    ),
    "native": (
        "test_server_span.py::test_one_server_span_a_request",
        "instrumentation/test_server_spans.py::test_the_span_is_anothers_and_the_rest_as_ever",
    ),
    "opentelemetry-instrumentation-httpx": (
        "instrumentation/test_clients_contrib.py::test_one_client_span_a_call_beside_contribs_instrumentors",
        "instrumentation/test_clients_contrib.py::test_contribs_instrumentor_alone_does_what_it_did_before",
    ),
    "an SDK TracerProvider set before": (
        "test_server_span.py::test_a_provider_of_the_users_own_is_kept",
        "signals/test_traces.py::test_a_provider_without_an_exporter_is_given_obskits_until_close",
        "signals/test_traces.py::test_its_sampler_and_limits_hold",
        "test_existing.py::test_a_provider_that_was_there_is_flushed_and_lives_on",
    ),
    "telemetry of an app that is not observed": (
        "test_server_span.py::test_the_span_of_an_app_that_is_not_observed_is_that_of_the_app_mounted_in_it",
    ),
    "obskit itself, twice": (
        "instrumentation/test_asgi.py::test_wrapped_twice_is_observed_once",
        "test_server_span.py::test_an_observed_app_mounted_in_an_observed_app_is_the_outer_ones_request",
        "test_init.py::test_the_same_app_twice_is_observed_once",
    ),
    "queue": (
        "export/test_spans.py::test_a_full_queue_drops_and_counts",
        "contract/test_configured_export.py::test_a_queue_that_is_full_drops_and_counts",
        "test_config.py::test_the_fields_and_their_defaults_are_the_contracts",
    ),
    "batch": (
        "export/test_spans.py::test_a_full_batch_leaves_at_once",
        "export/test_spans.py::test_a_batch_that_is_not_full_leaves_after_the_delay",
        "contract/test_configured_export.py::test_a_batch_has_at_most_its_size",
        "contract/test_configured_export.py::test_a_batch_that_is_not_full_waits_for_the_delay",
        "test_config.py::test_the_fields_and_their_defaults_are_the_contracts",
    ),
    "attempt": (
        "export/test_otlp.py::test_the_deadline_holds_against",
        "export/test_otlp.py::test_an_attempt_ends_by_its_timeout_and_the_next_may_succeed",
        "contract/test_configured_export.py::test_an_attempt_takes_no_longer_than_the_timeout",
        "test_config.py::test_the_fields_and_their_defaults_are_the_contracts",
    ),
    "retry": (
        "export/test_otlp.py::test_retried",
        "export/test_otlp.py::test_a_reset_is_retried",
        "export/test_otlp.py::test_retry_after_is_waited_for",
        "export/test_otlp.py::test_waits_grow_up_to_a_limit_and_vary",
    ),
    "give up": (
        "export/test_otlp.py::test_a_dead_collector_is_tried_until_the_deadline",
        "export/test_otlp.py::test_not_retried",
        "contract/test_configured_export.py::test_a_batch_may_take_the_export_timeout",
        "test_config.py::test_the_fields_and_their_defaults_are_the_contracts",
    ),
    "partial success": (
        "export/test_otlp.py::test_partial_success_counts_what_was_rejected",
        "export/test_otlp.py::test_partial_success_is_not_believed_beyond_what_was_sent",
    ),
}
