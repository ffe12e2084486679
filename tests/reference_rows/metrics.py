"""The rows of docs/reference/metrics.md, and the tests that pin each."""

ROWS = {
    "http_server_request_duration_seconds": (
        "signals/test_metrics.py::test_a_served_request_is_one_observation_under_the_conventions_labels",
        "signals/test_metrics.py::test_a_stream_counts_to_its_first_byte_and_its_whole_apart",
        "e2e/test_chain.py::test_the_metric_counts_each_line_once_in_its_bucket",
    ),
    "http_server_active_requests": (
        "signals/test_metrics.py::test_requests_under_way_are_counted_while_they_last",
        "instrumentation/test_asgi.py::test_exchanges_that_do_not_end_as_they_should",
    ),
    "http_client_request_duration_seconds": (
        "signals/test_metrics.py::test_an_outbound_call_has_the_conventions_client_labels",
        "instrumentation/test_clients.py::test_a_call_is_one_client_span_whose_context_is_sent",
        "e2e/test_chain.py::test_the_client_metric_counts_the_calls_that_the_lines_tell_of",
    ),
    "db_client_operation_duration_seconds": (
        "databases/test_databases.py::test_a_call_is_one_client_span_and_rolls_up",
        "databases/test_databases.py::test_a_call_that_fails_is_an_error_by_its_exception",
    ),
    "obskit_operation_duration_seconds": (
        "signals/test_metrics.py::test_any_other_operation_has_name_kind_and_outcome",
        "test_operation_api.py::test_ways_and_endings",
    ),
    "obskit_stream_duration_seconds": (
        "signals/test_metrics.py::test_a_stream_counts_to_its_first_byte_and_its_whole_apart",
        "instrumentation/test_asgi.py::test_a_stream_records_its_first_byte_and_its_total",
    ),
    "obskit_websocket_duration_seconds": (
        "signals/test_metrics.py::test_a_websocket_has_its_route_and_close_code",
        "instrumentation/test_asgi.py::test_a_websocket_is_one_operation",
    ),
    "obskit_websocket_active": (
        "signals/test_metrics.py::test_a_websocket_has_its_route_and_close_code",
        "instrumentation/test_asgi.py::test_a_websocket_is_one_operation",
    ),
    "obskit_event_loop_lag_seconds": (
        "instrumentation/test_loop.py::TestLag::test_ticks_are_observed_and_a_block_shows",
        "signals/test_metrics.py::test_event_loop_lag_has_bounds_from_a_millisecond_to_five_seconds",
        "contract/test_handle.py::test_what_blocks_the_loop_is_measured_and_named",
    ),
    "obskit_health_check_status": (
        "signals/test_metrics.py::test_health_checks_that_ran_show_status_and_duration",
        "contract/test_handle.py::test_check_passes_every_argument_on",
    ),
    "obskit_health_check_duration_seconds": (
        "signals/test_metrics.py::test_health_checks_that_ran_show_status_and_duration",
        "contract/test_handle.py::test_check_passes_every_argument_on",
    ),
    "obskit_spans_produced_total": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "contract/test_configured_export.py::test_a_queue_that_is_full_drops_and_counts",
        "contract/test_handle.py::test_spans_are_counted_only_where_they_go_somewhere",
    ),
    "obskit_spans_exported_total": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "export/test_spans.py::test_produced_is_exported_and_dropped_and_queued",
        "e2e/test_chain.py::test_all_that_was_produced_was_exported_and_nothing_went_wrong",
    ),
    "obskit_spans_dropped_total": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "contract/test_configured_export.py::test_a_queue_that_is_full_drops_and_counts",
        "contract/test_handle.py::test_each_reason_is_there_from_the_start",
    ),
    "obskit_log_lines_produced_total": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "contract/test_handle.py::test_lines_and_their_bytes_are_counted_as_they_are_written",
    ),
    "obskit_log_lines_exported_total": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "contract/test_handle.py::test_lines_and_their_bytes_are_counted_as_they_are_written",
    ),
    "obskit_log_lines_dropped_total": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "contract/test_handle.py::test_each_reason_is_there_from_the_start",
        "e2e/test_faults.py::test_a_standard_output_whose_reader_has_gone",
    ),
    "obskit_log_records_produced_total": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "contract/test_otlp_logs.py::test_a_collector_that_is_gone_costs_its_records_and_no_more_than_the_deadline",
    ),
    "obskit_log_records_exported_total": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "contract/test_otlp_logs.py::test_a_collector_that_is_gone_costs_its_records_and_no_more_than_the_deadline",
    ),
    "obskit_log_records_dropped_total": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "contract/test_otlp_logs.py::test_a_collector_that_is_gone_costs_its_records_and_no_more_than_the_deadline",
    ),
    "obskit_metric_points_produced_total": (
        "export/test_metrics_push.py::test_losses_are_counted_and_said_once",
        "export/test_metrics_push.py::test_close_leaves_a_hung_exporter_at_its_deadline",
    ),
    "obskit_metric_points_exported_total": (
        "export/test_metrics_push.py::test_losses_are_counted_and_said_once",
        "export/test_metrics_push.py::test_close_leaves_a_hung_exporter_at_its_deadline",
    ),
    "obskit_metric_points_dropped_total": (
        "export/test_metrics_push.py::test_losses_are_counted_and_said_once",
        "export/test_metrics_push.py::test_close_leaves_a_hung_exporter_at_its_deadline",
    ),
    "obskit_log_bytes_total": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "contract/test_handle.py::test_lines_and_their_bytes_are_counted_as_they_are_written",
    ),
    "obskit_fields_dropped_total": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "test_fields.py::test_the_configured_limit_is_kept_by_operations",
        "test_operation_api.py::test_after_the_end_fields_are_dropped_and_counted",
    ),
    "obskit_http_client_calls_without_timeout_total": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "instrumentation/test_clients.py::test_a_call_without_a_timeout_is_counted_and_its_place_named_once",
        "instrumentation/test_clients.py::test_a_call_with_a_timeout_is_not",
    ),
    "obskit_metric_series": (
        "signals/test_metrics.py::test_what_became_of_spans_and_lines_is_read_at_the_scrape",
        "contract/test_configured_effects.py::test_a_metric_keeps_so_many_label_sets_and_one_more",
    ),
    "obskit_internal_errors_total": (
        "signals/test_metrics.py::test_contained_errors_show_by_component",
        "test_guard.py::test_it_shows_in_the_metrics",
    ),
    "target_info": (
        "contract/test_identity.py::test_the_resource_is_what_is_given_and_what_obskit_adds",
        "signals/test_metrics.py::test_target_info_holds_the_resource",
    ),
    "process_*": (
        "contract/test_handle.py::test_process_metrics_show_also_where_the_default_registry_has_lost_them",
        "signals/test_metrics.py::test_process_metrics_are_registered_only_where_the_default_registry_lacks_them",
        "export/test_exposition.py::test_the_default_registry_shows_process_metrics_once",
        "contract/test_handle.py::test_metrics_of_ones_own_show_from_both_registries",
    ),
    "python_*": (
        "contract/test_handle.py::test_process_metrics_show_also_where_the_default_registry_has_lost_them",
        "signals/test_metrics.py::test_process_metrics_are_registered_only_where_the_default_registry_lacks_them",
        "export/test_exposition.py::test_the_default_registry_shows_process_metrics_once",
        "contract/test_handle.py::test_metrics_of_ones_own_show_from_both_registries",
    ),
    "http_request_method": (
        "signals/test_metrics.py::test_a_served_request_is_one_observation_under_the_conventions_labels",
        "instrumentation/test_asgi.py::test_outcomes",
    ),
    "http_route": (
        "signals/test_metrics.py::test_a_served_request_is_one_observation_under_the_conventions_labels",
        "instrumentation/test_asgi.py::test_outcomes",
    ),
    "http_response_status_code": (
        "signals/test_metrics.py::test_a_served_request_is_one_observation_under_the_conventions_labels",
        "signals/test_metrics.py::test_no_status_is_empty_and_one_that_http_does_not_know_is_other",
    ),
    "url_scheme": (
        "signals/test_metrics.py::test_a_served_request_is_one_observation_under_the_conventions_labels",
        "signals/test_metrics.py::test_no_status_is_empty_and_one_that_http_does_not_know_is_other",
    ),
    "error_type": (
        "signals/test_metrics.py::test_a_failed_request_carries_its_error_type",
        "instrumentation/test_asgi.py::test_outcomes",
    ),
    "server_address": (
        "signals/test_metrics.py::test_an_outbound_call_has_the_conventions_client_labels",
        "instrumentation/test_clients.py::test_a_call_is_one_client_span_whose_context_is_sent",
    ),
    "server_port": ("signals/test_metrics.py::test_an_outbound_call_has_the_conventions_client_labels",),
    "db_system_name": ("databases/test_databases.py::test_a_call_is_one_client_span_and_rolls_up",),
    "db_namespace": ("databases/test_databases.py::test_the_metric_names_the_database_and_the_operation",),
    "db_operation_name": ("databases/test_databases.py::test_the_metric_names_the_database_and_the_operation",),
    "operation_name": (
        "test_operation_api.py::test_ways_and_endings",
        "signals/test_metrics.py::test_any_other_operation_has_name_kind_and_outcome",
    ),
    "operation_kind": ("test_operation_api.py::test_kinds",),
    "outcome": (
        "test_operation_api.py::test_ways_and_endings",
        "signals/test_metrics.py::test_any_other_operation_has_name_kind_and_outcome",
    ),
    "websocket_close_code": (
        "signals/test_metrics.py::test_a_websocket_has_its_route_and_close_code",
        "signals/test_metrics.py::test_close_codes_that_clients_make_up_do_not_fold_routes",
    ),
    "check": (
        "signals/test_metrics.py::test_health_checks_that_ran_show_status_and_duration",
        "contract/test_handle.py::test_check_passes_every_argument_on",
    ),
    "reason": ("contract/test_handle.py::test_each_reason_is_there_from_the_start",),
    "metric": ("contract/test_configured_effects.py::test_a_metric_keeps_so_many_label_sets_and_one_more",),
    "component": (
        "signals/test_metrics.py::test_every_counter_is_there_from_the_start_at_zero",
        "test_guard.py::test_it_shows_in_the_metrics",
    ),
    "otel_metric_overflow": (
        "signals/test_metrics.py::test_the_overflow_set_is_empty_but_for_its_mark",
        "contract/test_configured_effects.py::test_a_metric_keeps_so_many_label_sets_and_one_more",
    ),
    "queue_full": (
        "export/test_spans.py::test_a_full_queue_drops_and_counts",
        "contract/test_configured_export.py::test_a_queue_that_is_full_drops_and_counts",
    ),
    "encode": (
        "export/test_otlp.py::test_what_cannot_be_encoded_is_counted_and_the_rest_sent",
        "export/test_encode.py::test_a_span_that_cannot_be_encoded_is_dropped_alone",
    ),
    "rejected": (
        "export/test_otlp.py::test_not_retried",
        "export/test_otlp.py::test_partial_success_counts_what_was_rejected",
        "e2e/test_faults.py::test_a_collector_that_refuses_is_reported_once_and_so_is_its_recovery",
    ),
    "unreachable": (
        "export/test_otlp.py::test_a_dead_collector_is_tried_until_the_deadline",
        "export/test_otlp.py::test_retry_after_is_capped_by_the_deadline",
    ),
    "error": ("export/test_spans.py::test_an_exporter_that_breaks_costs_its_batch_only",),
    "held_full": (
        "signals/test_keep.py::test_a_root_holds_a_quarter_of_the_room_and_its_own_span_beside",
        "signals/test_keep.py::test_where_all_room_is_taken_the_oldest_root_gives_way",
    ),
    "sampled_out": (
        "signals/test_keep.py::test_leaving_out_is_no_loss",
        "e2e/test_agreement.py::test_every_span_is_accounted_for",
    ),
    "repeated": ("signals/test_repeats.py::test_a_line_that_floods_is_left_out_counted_and_said_once",),
    "buffer_full": (
        "export/test_writer.py::test_a_pipe_that_nobody_reads_never_holds_up_the_application",
        "e2e/test_faults.py::test_a_standard_output_that_nobody_reads",
    ),
    "too_long": ("export/test_writer.py::test_a_line_too_long_is_dropped_whole",),
    "closed_pipe": (
        "export/test_writer.py::test_a_reader_that_left",
        "e2e/test_faults.py::test_a_standard_output_whose_reader_has_gone",
    ),
    "io_error": ("export/test_writer.py::test_a_full_disk", "e2e/test_faults.py::test_a_disk_that_is_full"),
    "shutdown": (
        "export/test_spans.py::test_close_abandons_a_hung_export_at_its_deadline",
        "export/test_writer.py::test_a_pipe_that_nobody_reads_never_holds_up_the_application",
        "test_close.py::test_close_keeps_its_deadline_with_a_collector_that_hangs",
    ),
    **dict.fromkeys(
        (
            "http.server.request.duration",
            "http.server.active_requests",
            "http.client.request.duration",
            "db.client.operation.duration",
            "obskit.operation_duration",
        ),
        (
            "test_metric_names.py::test_the_names_that_are_pushed",
            "test_metric_names.py::test_each_metric_of_obskits_comes_back_by_its_own_name",
            "e2e/test_push.py::test_scraped_and_pushed_are_the_same_series",
        ),
    ),
}
