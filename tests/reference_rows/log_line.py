"""The rows of docs/reference/log-line.md, and the tests that pin each."""

ROWS = {
    "timestamp": (
        "signals/test_pipeline.py::test_timestamps",
        "signals/test_logs.py::test_the_timestamp_is_the_operations_end",
        "signals/test_pipeline.py::test_the_order_of_a_line",
    ),
    "level": (
        "signals/test_pipeline.py::test_levels_of_structlog",
        "signals/test_pipeline.py::test_levels_of_stdlib",
        "signals/test_logs.py::test_levels",
    ),
    "message": (
        "signals/test_pipeline.py::test_messages_and_their_arguments_in_structlog",
        "signals/test_pipeline.py::test_bad_arguments_in_stdlib",
        "signals/test_logs.py::test_messages_of_requests_never_hold_the_raw_path",
    ),
    "logger": (
        "signals/test_pipeline.py::test_names_of_loggers",
        "signals/test_logs.py::test_a_whole_line",
        "e2e/test_first_minute.py::test_one_line_says_what_is_wired_and_where_it_goes",
    ),
    "trace_id": (
        "signals/test_pipeline.py::test_the_order_of_a_line",
        "signals/test_pipeline.py::test_outside_of_a_trace_there_are_no_ids",
        "signals/test_logs.py::test_without_a_trace_there_are_no_ids",
    ),
    "span_id": (
        "signals/test_pipeline.py::test_the_order_of_a_line",
        "signals/test_pipeline.py::test_the_current_span_is_authoritative_within_an_operation",
        "signals/test_logs.py::test_without_a_trace_there_are_no_ids",
    ),
    "trace_flags": (
        "signals/test_pipeline.py::test_an_unsampled_operation_and_one_without_a_trace",
        "signals/test_logs.py::test_an_unsampled_trace_has_ids_and_says_so",
        "signals/test_logs.py::test_without_a_trace_there_are_no_ids",
    ),
    "service.name": (
        "contract/test_identity.py::test_each_line_says_whose_it_is",
        "signals/test_pipeline.py::test_the_order_of_a_line",
    ),
    "service.version": (
        "contract/test_identity.py::test_each_line_says_whose_it_is",
        "contract/test_identity.py::test_names_that_are_not_given_are_not_on_lines",
        "signals/test_pipeline.py::test_the_order_of_a_line",
    ),
    "deployment.environment.name": (
        "contract/test_identity.py::test_each_line_says_whose_it_is",
        "contract/test_identity.py::test_names_that_are_not_given_are_not_on_lines",
        "signals/test_pipeline.py::test_the_order_of_a_line",
    ),
    "exception.type": (
        "signals/test_pipeline.py::test_exceptions",
        "test_operation_api.py::test_ways_and_endings",
        "contract/test_request_fields.py::test_what_an_exception_may_hold",
    ),
    "exception.message": (
        "signals/test_pipeline.py::test_exceptions",
        "contract/test_request_fields.py::test_what_an_exception_may_hold",
        "instrumentation/test_asgi.py::test_an_exception_is_written_once_with_its_stack_and_without_its_secrets",
    ),
    "exception.stacktrace": (
        "signals/test_pipeline.py::test_exceptions",
        "contract/test_request_fields.py::test_of_a_long_stack_trace_the_end_is_kept",
        "instrumentation/test_asgi.py::test_an_exception_is_written_once_with_its_stack_and_without_its_secrets",
        "instrumentation/test_frameworks.py::test_an_exception_has_one_stack_trace_and_it_is_the_original_ones",
    ),
    "code.stacktrace": ("signals/test_pipeline.py::test_the_stack_of_the_call",),
    "truncated": (
        "signals/test_encoding.py::test_a_long_line_is_cut_to_64_kib_and_says_so",
        "signals/test_encoding.py::test_a_line_of_just_the_limit_is_not_touched",
    ),
    "http.server.request": (
        "signals/test_logs.py::test_a_whole_line",
        "test_close.py::test_what_is_no_fault_of_obskits_passes",
    ),
    "websocket": (
        "instrumentation/test_asgi.py::test_a_websocket_is_one_operation",
        "contract/test_request_fields.py::test_a_websockets_scheme_is_its_own",
    ),
    "operation": (
        "test_operation_api.py::test_kinds",
        "e2e/test_chain.py::test_there_are_no_internal_spans_but_those_of_background_tasks",
    ),
    "message.process": ("test_operation_api.py::test_kinds",),
    "db.client.operation": (
        "databases/test_databases.py::test_a_call_is_one_client_span_and_rolls_up",
        "databases/test_borrowed.py::test_an_instrumentors_span_is_as_good_as_the_sdks",
    ),
    "http.client.request": (
        "signals/test_logs.py::test_only_local_roots_that_are_no_calls_have_a_line",
        "instrumentation/test_clients.py::test_a_call_is_one_client_span_whose_context_is_sent",
    ),
    "event.name": (
        "signals/test_logs.py::test_a_whole_line",
        "signals/test_logs.py::test_messages_of_other_operations",
    ),
    "http.request.method": (
        "instrumentation/test_asgi.py::test_outcomes",
        "contract/test_request_fields.py::test_what_is_known_of_a_request",
    ),
    "http.request.method_original": (
        "instrumentation/test_asgi.py::test_outcomes",
        "contract/test_request_fields.py::test_what_is_known_of_a_request",
    ),
    "http.route": (
        "instrumentation/test_asgi.py::test_outcomes",
        "instrumentation/test_route.py::test_fastapi",
        "instrumentation/test_route.py::test_starlette",
        "e2e/test_chain.py::test_the_lines_of_all_services_carry_the_one_trace_id_of_their_request",
        "instrumentation/test_frameworks.py::test_the_route",
    ),
    "http.response.status_code": (
        "instrumentation/test_asgi.py::test_outcomes",
        "instrumentation/test_asgi.py::test_exchanges_that_do_not_end_as_they_should",
        "instrumentation/test_kinds.py::test_an_exchange",
    ),
    "url.path": (
        "contract/test_request_fields.py::test_what_is_known_of_a_request",
        "contract/test_request_fields.py::test_the_query_is_not_recorded_at_all",
    ),
    "url.scheme": (
        "contract/test_request_fields.py::test_what_is_known_of_a_request",
        "contract/test_request_fields.py::test_a_websockets_scheme_is_its_own",
    ),
    "server.address": (
        "contract/test_request_fields.py::test_what_is_known_of_a_request",
        "instrumentation/test_asgi.py::test_without_port",
    ),
    "client.address": (
        "contract/test_request_fields.py::test_what_is_known_of_a_request",
        "instrumentation/test_asgi.py::test_the_clients_address_is_kept_as_far_as_it_may_be",
    ),
    "user_agent.original": ("contract/test_request_fields.py::test_what_is_known_of_a_request",),
    "network.protocol.version": ("contract/test_request_fields.py::test_what_is_known_of_a_request",),
    "duration_ms": (
        "instrumentation/test_asgi.py::test_one_request_is_told_alike_by_all_three_signals",
        "contract/test_request_fields.py::test_the_first_byte_comes_before_the_last",
        "contract/test_request_fields.py::test_neither_a_slow_reader_nor_work_afterwards_counts",
    ),
    "time_to_first_byte_ms": (
        "contract/test_request_fields.py::test_the_first_byte_comes_before_the_last",
        "instrumentation/test_asgi.py::test_a_stream_records_its_first_byte_and_its_total",
    ),
    "http.request.body.size": (
        "instrumentation/test_asgi.py::test_body_sizes",
        "contract/test_request_fields.py::test_only_the_body_that_was_read_counts",
        "contract/test_request_fields.py::test_what_is_known_of_a_request",
    ),
    "http.response.body.size": (
        "instrumentation/test_asgi.py::test_body_sizes",
        "instrumentation/test_asgi.py::test_a_stream_records_its_first_byte_and_its_total",
        "instrumentation/test_kinds.py::test_an_exchange",
    ),
    "outcome": (
        "instrumentation/test_asgi.py::test_outcomes",
        "instrumentation/test_asgi.py::test_exchanges_that_do_not_end_as_they_should",
        "test_operation_api.py::test_ways_and_endings",
        "instrumentation/test_kinds.py::test_an_exchange",
    ),
    "error.type": (
        "instrumentation/test_asgi.py::test_outcomes",
        "instrumentation/test_asgi.py::test_exchanges_that_do_not_end_as_they_should",
        "test_operation_api.py::test_ways_and_endings",
        "instrumentation/test_kinds.py::test_an_exchange",
    ),
    "request_id": ("contract/test_request_fields.py::test_what_is_known_of_a_request",),
    "sample_rate": (
        "signals/test_keep.py::test_which_lines_there_are",
        "signals/test_keep.py::test_the_rest_is_thinned_to_a_share_that_stands_for_all",
        "signals/test_keep.py::test_sampled_lines_without_a_keep_rate_are_errors_slow_ones_and_traces_that_are_recorded",
    ),
    "suppressed": (
        "signals/test_repeats.py::test_a_line_that_floods_is_left_out_counted_and_said_once",
        "signals/test_repeats.py::test_what_counts_as_the_same",
    ),
    "queue_ms": (
        "instrumentation/test_asgi.py::test_queue_time_is_a_field",
        "instrumentation/test_asgi.py::test_queue_time_is_read_in_the_units_that_proxies_write",
        "instrumentation/test_asgi.py::test_queue_time_that_cannot_be_right_is_none",
    ),
    "request.invalid_fields": (
        "instrumentation/test_frameworks.py::test_the_fields_that_are_wrong_are_named_and_never_their_values",
        "instrumentation/test_frameworks.py::test_of_many_wrong_fields_some_are_named",
        "instrumentation/test_kinds.py::test_a_connection_that_is_refused_for_what_it_holds_names_the_field",
    ),
    "websocket.close_code": (
        "instrumentation/test_asgi.py::test_a_websocket_is_one_operation",
        "instrumentation/test_kinds.py::test_a_connection",
        "instrumentation/test_kinds.py::test_a_frameworks_connection_that_fails",
    ),
    "websocket.received.count": ("instrumentation/test_kinds.py::test_messages_are_counted_and_weighed",),
    "websocket.received.bytes": ("instrumentation/test_kinds.py::test_messages_are_counted_and_weighed",),
    "websocket.sent.count": (
        "instrumentation/test_kinds.py::test_messages_are_counted_and_weighed",
        "instrumentation/test_kinds.py::test_a_connection",
    ),
    "websocket.sent.bytes": ("instrumentation/test_kinds.py::test_messages_are_counted_and_weighed",),
    "http.client.count": (
        "instrumentation/test_clients.py::test_calls_roll_up_into_the_operation_at_the_top",
        "e2e/test_chain.py::test_calls_are_rolled_up_into_the_line_of_the_request_that_made_them",
    ),
    "http.client.duration_ms": (
        "instrumentation/test_clients.py::test_calls_roll_up_into_the_operation_at_the_top",
        "e2e/test_chain.py::test_calls_are_rolled_up_into_the_line_of_the_request_that_made_them",
    ),
    "http.client.errors": (
        "instrumentation/test_clients.py::test_calls_roll_up_into_the_operation_at_the_top",
        "e2e/test_chain.py::test_calls_are_rolled_up_into_the_line_of_the_request_that_made_them",
    ),
    "db.client.repeated": ("databases/test_databases.py::test_a_query_that_is_sent_again_and_again_shows_on_the_line",),
    "db.client.count": (
        "databases/test_databases.py::test_a_call_is_one_client_span_and_rolls_up",
        "databases/test_databases.py::test_a_call_rolls_up_where_the_trace_is_not_recorded",
        "test_operation_api.py::test_client_operations_of_databases_roll_up_into_the_root",
        "contract/test_handle.py::test_calls_of_databases_are_added_up",
    ),
    "db.client.duration_ms": ("contract/test_handle.py::test_calls_of_databases_are_added_up",),
    "db.client.errors": ("test_operation_api.py::test_client_operations_of_databases_roll_up_into_the_root",),
    "db.system.name": (
        "test_operation_api.py::test_client_operations_of_databases_roll_up_into_the_root",
        "contract/test_handle.py::test_calls_of_databases_are_added_up",
    ),
    "code.function.name": (
        "instrumentation/test_loop.py::TestCulprit::test_the_blocking_code_is_named_with_the_whole_duration",
        "contract/test_handle.py::test_what_blocks_the_loop_is_measured_and_named",
    ),
    "code.file.path": (
        "instrumentation/test_loop.py::TestCulprit::test_the_blocking_code_is_named_with_the_whole_duration",
        "contract/test_handle.py::test_what_blocks_the_loop_is_measured_and_named",
    ),
    "code.line.number": (
        "instrumentation/test_loop.py::TestCulprit::test_the_blocking_code_is_named_with_the_whole_duration",
        "contract/test_handle.py::test_what_blocks_the_loop_is_measured_and_named",
    ),
    "replace": (
        "signals/test_adopt.py::test_replace",
        "signals/test_adopt.py::test_handlers_of_others_stay_and_get_their_records",
        "signals/test_adopt.py::test_uvicorns_loggers_wherever_it_configures_them",
        "signals/test_adopt.py::test_gunicorns_loggers",
        "signals/test_adopt.py::test_access_lines_give_way_without_cost",
        "signals/test_adopt.py::test_http_clients_are_quiet_unless_someone_set_their_level",
    ),
    "stamp": (
        "signals/test_adopt.py::test_stamp_touches_no_handler",
        "signals/test_stamp.py::test_records_carry_the_ids",
        "signals/test_stamp.py::test_structlog_events_carry_the_ids",
        "signals/test_stamp.py::test_the_canonical_line_goes_through_stdlib",
        "signals/test_stamp.py::test_the_canonical_line_goes_through_the_teams_structlog",
        "signals/test_adopt.py::test_structlog_configured_already_means_stamp",
    ),
    "off": ("signals/test_adopt.py::test_off", "contract/test_configured_effects.py::test_the_mode_of_logs"),
    "time_unix_nano": (
        "export/test_log_records.py::test_what_stands_in_fields_of_its_own_is_no_attribute",
        "contract/test_otlp_logs.py::test_each_line_is_a_record_with_the_same_facts",
    ),
    "severity_number": (
        "export/test_log_records.py::test_severity",
        "contract/test_otlp_logs.py::test_each_line_is_a_record_with_the_same_facts",
    ),
    "severity_text": (
        "export/test_log_records.py::test_severity",
        "contract/test_otlp_logs.py::test_each_line_is_a_record_with_the_same_facts",
    ),
    "body": (
        "export/test_log_records.py::test_a_stack_trace_is_kept_whole_and_a_message_is_bounded",
        "contract/test_otlp_logs.py::test_each_line_is_a_record_with_the_same_facts",
    ),
    "scope": ("contract/test_otlp_logs.py::test_each_line_is_a_record_with_the_same_facts",),
    "event_name": ("contract/test_otlp_logs.py::test_each_line_is_a_record_with_the_same_facts",),
    "trace context": ("contract/test_otlp_logs.py::test_each_line_is_a_record_with_the_same_facts",),
    "attributes": (
        "export/test_log_records.py::test_attributes_are_bounded_and_what_is_dropped_is_said",
        "export/test_log_records.py::test_both_encodings_equal_the_official_encoder",
        "contract/test_otlp_logs.py::test_each_line_is_a_record_with_the_same_facts",
        "contract/test_otlp_logs.py::test_an_exception_is_attributes_of_its_record",
    ),
}
