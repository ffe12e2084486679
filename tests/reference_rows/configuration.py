"""The rows of docs/reference/configuration.md, and the tests that pin each."""

#: Each variable and argument of the table is read, and what is wrong with one is said.
READ = (
    "test_config.py::test_the_fields_and_their_defaults_are_the_contracts",
    "test_config.py::test_the_reference_documents_each_field",
    "test_config.py::test_a_right_variable_gives_its_field",
    "test_config.py::test_a_wrong_variable_gives_one_warning_and_the_default",
)
PATHS = (
    "test_init.py::test_paths_are_as_configured_and_empty_switches_them_off",
    "test_init.py::test_a_path_that_the_app_routes_itself_is_left_to_it_with_one_warning",
    "test_config.py::test_paths_that_meet_fall_back",
)
OF_EACH_SIGNAL = (
    "test_config.py::test_a_signals_variable_beats_the_general_one",
    "test_config.py::test_the_url_of_each_signal",
)
_OPTIONS = "endpoint headers timeout protocol compression certificate client_key client_certificate"

ROWS = {
    "service_name": (
        *READ,
        "test_config.py::test_the_service_name_variable_beats_the_resource_attribute",
        "test_init.py::test_the_service_is_called_as_the_app_is",
        "contract/test_identity.py::test_the_resource_is_what_is_given_and_what_obskit_adds",
        "contract/test_identity.py::test_each_line_says_whose_it_is",
    ),
    "service_version": (
        *READ,
        "test_init.py::test_the_version_is_that_of_the_installed_distribution",
        "contract/test_identity.py::test_the_resource_is_what_is_given_and_what_obskit_adds",
        "contract/test_identity.py::test_each_line_says_whose_it_is",
    ),
    "environment": (
        *READ,
        "test_config.py::test_the_newer_name_of_the_environment_wins",
        "contract/test_identity.py::test_the_resource_is_what_is_given_and_what_obskit_adds",
        "contract/test_identity.py::test_each_line_says_whose_it_is",
    ),
    "service_namespace": (*READ, "contract/test_identity.py::test_the_resource_is_what_is_given_and_what_obskit_adds"),
    "resource_attributes": (
        *READ,
        "contract/test_identity.py::test_the_resource_is_what_is_given_and_what_obskit_adds",
    ),
    "enabled": (
        *READ,
        "test_init.py::test_disabled_keeps_probes_metrics_and_lines",
        "e2e/test_first_minute.py::test_disabled_keeps_probes_metrics_and_lines_without_traces",
    ),
    "traces_exporter": (
        *READ,
        "test_config.py::test_where_spans_go",
        "test_init.py::test_spans_go_to_the_console_when_asked",
        "test_init.py::test_init_says_what_is_wired_and_what_is_off",
    ),
    "metrics_exporter": (
        *READ,
        "test_init.py::test_metrics_exporter_none_leaves_no_metrics_path",
        "test_config.py::test_where_metrics_and_logs_are_pushed",
        "e2e/test_push.py::test_scraped_and_pushed_are_the_same_series",
        "e2e/test_push.py::test_metrics_are_shown_on_the_console_when_asked",
        "e2e/test_push.py::test_a_collector_that_hangs_holds_up_no_stop",
        "test_init.py::test_init_says_what_is_wired_and_what_is_off",
    ),
    "clients": (
        *READ,
        "test_init.py::test_clients_are_those_that_are_configured",
        "instrumentation/test_clients.py::test_only_the_clients_that_are_named_are_observed",
    ),
    "otlp_endpoint": (
        *READ,
        "test_config.py::test_the_url_of_traces",
        "contract/test_configured_export.py::test_the_endpoint_is_a_base_url",
    ),
    **{
        f"otlp_{signal}_{option}": (*READ, *OF_EACH_SIGNAL)
        for signal in ("traces", "metrics", "logs")
        for option in _OPTIONS.split()
    },
    "otlp_traces_endpoint": (
        *READ,
        *OF_EACH_SIGNAL,
        "test_config.py::test_the_url_of_traces",
        "contract/test_configured_export.py::test_the_endpoint_of_traces_is_used_as_it_is_and_beats_the_base",
    ),
    "otlp_headers": (*READ, "contract/test_configured_export.py::test_headers"),
    "otlp_headers_file": (
        *READ,
        "contract/test_configured_export.py::test_a_file_of_headers",
        "export/test_otlp.py::test_the_headers_file_is_read_again_when_it_changes",
    ),
    "otlp_timeout": (*READ, "contract/test_configured_export.py::test_an_attempt_takes_no_longer_than_the_timeout"),
    "otlp_protocol": (
        *READ,
        "contract/test_configured_export.py::test_the_protocol",
        "contract/test_otlp_logs.py::test_the_encoder_of_json_is_used_where_it_is_asked_for",
        "export/test_grpc.py::test_spans_and_log_records_arrive",
        "export/test_grpc.py::test_metrics_arrive_and_are_pushed_a_last_time",
        "export/test_grpc.py::test_close_keeps_its_deadline_whatever_the_collector_does",
        "export/test_grpc.py::test_a_process_without_the_package_runs_and_says_what_to_install",
        "test_config.py::test_grpc_that_is_not_installed_is_one_warning_and_no_export",
        "test_init.py::test_grpc_without_its_exporter_says_what_to_do_and_exports_nothing",
    ),
    "otlp_compression": (*READ, "contract/test_configured_export.py::test_the_compression"),
    "otlp_certificate": (
        *READ,
        "contract/test_configured_export.py::test_a_collector_that_asks_for_a_certificate_gets_it",
        "contract/test_configured_export.py::test_a_certificate_of_nobody_known_is_not_trusted",
    ),
    "otlp_client_key": (
        *READ,
        "contract/test_configured_export.py::test_a_collector_that_asks_for_a_certificate_gets_it",
    ),
    "otlp_client_certificate": (
        *READ,
        "contract/test_configured_export.py::test_a_collector_that_asks_for_a_certificate_gets_it",
    ),
    "logs_exporter": (
        *READ,
        "test_config.py::test_where_metrics_and_logs_are_pushed",
        "contract/test_otlp_logs.py::test_each_line_is_a_record_with_the_same_facts",
        "contract/test_otlp_logs.py::test_nothing_is_sent_unless_it_is_asked_for",
        "contract/test_otlp_logs.py::test_disabled_nothing_is_sent",
        "contract/test_otlp_logs.py::test_the_teams_own_pipeline_stays_and_its_records_are_sent",
        "contract/test_otlp_logs.py::test_records_are_shown_on_the_console_when_asked",
        "contract/test_otlp_logs.py::test_records_that_opentelemetrys_own_handler_sends_are_not_sent_again",
    ),
    "log_queue_size": (*READ, "export/test_log_records.py::test_what_does_not_fit_is_dropped_and_counted"),
    "log_batch_size": (*READ, "contract/test_otlp_logs.py::test_batches_are_as_configured"),
    "log_schedule_delay": (*READ, "contract/test_otlp_logs.py::test_batches_are_as_configured"),
    "log_export_timeout": (*READ, "export/test_grpc.py::test_export_gives_up_at_its_deadline"),
    "metric_export_interval": (
        *READ,
        "export/test_metrics_push.py::test_it_pushes_at_intervals",
        "e2e/test_push.py::test_scraped_and_pushed_are_the_same_series",
        "e2e/test_push.py::test_the_last_push_comes_before_the_end",
    ),
    "metric_export_timeout": (*READ, "export/test_metrics_push.py::test_a_push_has_the_timeout_that_is_given"),
    "metric_temporality": (
        *READ,
        "e2e/test_push.py::test_deltas_add_up_to_what_is_scraped",
        "export/test_metrics_push.py::test_deltas_are_what_was_added_since_the_last_push_that_arrived",
        "export/test_metrics_push.py::test_lowmemory_leaves_counters_as_they_are",
    ),
    "metric_histograms": (
        *READ,
        "e2e/test_push.py::test_exponential_histograms_are_pushed_and_explicit_ones_scraped",
        "signals/test_exponential.py::test_the_buckets_are_those_of_the_sdk",
    ),
    "span_queue_size": (*READ, "contract/test_configured_export.py::test_a_queue_that_is_full_drops_and_counts"),
    "span_batch_size": (
        *READ,
        "contract/test_configured_export.py::test_a_batch_has_at_most_its_size",
        "test_config.py::test_the_batch_shrinks_with_the_queue_unless_it_is_given",
        "test_config.py::test_a_batch_larger_than_the_queue_falls_back",
    ),
    "span_schedule_delay": (
        *READ,
        "contract/test_configured_export.py::test_a_batch_that_is_not_full_waits_for_the_delay",
    ),
    "span_export_timeout": (*READ, "contract/test_configured_export.py::test_a_batch_may_take_the_export_timeout"),
    "attribute_count_limit": (
        *READ,
        "test_config.py::test_the_span_limits_beat_the_general_ones",
        "test_fields.py::test_the_configured_limit_is_kept_by_operations",
    ),
    "attribute_value_length_limit": (
        *READ,
        "contract/test_configured_effects.py::test_strings_keep_so_many_characters",
    ),
    "span_event_limit": (*READ, "signals/test_traces.py::test_events_and_links_are_bounded_clean_and_redacted"),
    "span_link_limit": (*READ, "signals/test_traces.py::test_events_and_links_are_bounded_clean_and_redacted"),
    "series_limit": (*READ, "contract/test_configured_effects.py::test_a_metric_keeps_so_many_label_sets_and_one_more"),
    "propagators": (
        *READ,
        "instrumentation/test_asgi.py::test_only_the_propagators_that_are_on_are_read",
        "instrumentation/test_clients.py::test_context_goes_out_as_the_propagators_say",
        "contract/test_configured_effects.py::test_what_is_written_is_what_the_propagators_write",
        "test_b3.py::test_a_request_continues_the_trace_and_passes_it_on",
        "test_b3.py::test_the_last_one_named_that_finds_a_span_counts",
        "test_b3.py::test_where_it_is_not_asked_for_b3_is_not_read",
    ),
    "trust_inbound": (
        *READ,
        "instrumentation/test_inbound.py::test_whose_word_is_taken",
        "instrumentation/test_inbound.py::test_a_strangers_request_begins_a_trace_of_its_own",
        "instrumentation/test_inbound.py::test_a_strangers_decision_about_sampling_does_not_count",
        "instrumentation/test_inbound.py::test_peers_as_a_server_reports_them",
    ),
    "propagate_to": (
        *READ,
        "instrumentation/test_clients.py::test_baggage_goes_to_listed_hosts_only",
        "instrumentation/test_clients.py::test_baggage_does_not_follow_a_redirect_to_another_host",
        "instrumentation/test_clients.py::test_without_baggage_among_the_propagators_none_is_sent",
        "instrumentation/test_clients.py::test_baggage_of_the_applications_own_stays",
    ),
    "sampler": (
        *READ,
        "signals/test_traces.py::test_samplers",
        "instrumentation/test_asgi.py::test_the_sampler_decides_about_a_new_trace",
    ),
    "sampler_ratio": (*READ, "signals/test_traces.py::test_samplers"),
    "keep": (
        *READ,
        "signals/test_keep.py::test_what_a_rule_keeps",
        "signals/test_keep.py::test_how_slow_a_request_is",
        "signals/test_keep.py::test_rules_without_a_share_keep_everything_and_are_warned_about",
    ),
    "keep_rate": (
        *READ,
        "signals/test_keep.py::test_the_rest_is_thinned_to_a_share_that_stands_for_all",
        "e2e/test_agreement.py::test_services_agree_and_keep_whole_traces",
    ),
    "response_trace_header": (*READ, "instrumentation/test_asgi.py::test_the_response_can_carry_the_trace_id"),
    "request_log": (
        *READ,
        "test_init.py::test_canonical_lines_are_those_that_are_configured",
        "signals/test_logs.py::test_request_log",
    ),
    "log_mode": (
        *READ,
        "contract/test_configured_effects.py::test_the_mode_of_logs",
        "signals/test_adopt.py::test_structlog_configured_already_means_stamp",
    ),
    "log_level": (*READ, "contract/test_configured_effects.py::test_the_lowest_level"),
    "log_profile": (*READ, "signals/test_profiles.py::test_a_line_by_its_profile"),
    "gcp_project": (*READ, "signals/test_profiles.py::test_the_project_of_a_trace"),
    "log_format": (
        *READ,
        "contract/test_configured_effects.py::test_the_format_of_lines",
        "signals/test_adopt.py::test_the_format",
    ),
    "metric_fields": (
        *READ,
        "signals/test_metrics.py::test_metric_fields_become_labels_with_their_allowed_values_only",
        "instrumentation/test_asgi.py::test_one_request_is_told_alike_by_all_three_signals",
    ),
    "duration_buckets": (
        *READ,
        "contract/test_configured_effects.py::test_buckets_are_those_that_are_given",
        "test_config.py::test_the_buckets_are_the_conventions",
    ),
    "server_spans": (
        *READ,
        "test_server_span.py::test_one_server_span_a_request",
        "instrumentation/test_server_spans.py::test_the_span_is_anothers_and_the_rest_as_ever",
        "instrumentation/test_server_spans.py::test_contrib_speaks_the_stable_conventions_or_init_says_why_not",
    ),
    "client_address": (
        *READ,
        "instrumentation/test_asgi.py::test_the_clients_address_is_kept_as_far_as_it_may_be",
        "instrumentation/test_asgi.py::test_truncated",
    ),
    "redact": (
        *READ,
        "contract/test_configured_effects.py::test_names_are_redacted_and_allowed_as_configured",
        "test_redaction.py::test_names_can_be_added_and_allowed",
    ),
    "redact_allow": (
        *READ,
        "contract/test_configured_effects.py::test_names_are_redacted_and_allowed_as_configured",
        "test_redaction.py::test_names_can_be_added_and_allowed",
    ),
    "live_path": (*READ, *PATHS),
    "ready_path": (*READ, *PATHS),
    "startup_path": (*READ, *PATHS),
    "health_path": (*READ, *PATHS),
    "metrics_path": (*READ, *PATHS),
    "admin_port": (
        *READ,
        "workers/test_admin.py::test_metrics_and_health_move_and_probes_stay",
        "workers/test_admin.py::test_one_worker_listens_for_all_and_another_takes_over",
    ),
    "worker_group": (
        *READ,
        "workers/test_servers.py::test_whatever_counts_is_the_sum_in_any_worker",
        "workers/test_multiprocess.py::test_a_group_by_name",
        "workers/test_multiprocess.py::test_none_is_alone",
    ),
    "drain_seconds": (
        *READ,
        "servers/test_drain.py::test_requests_are_served_while_readiness_is_off",
        "servers/test_drain.py::test_the_second_sigterm_goes_straight_through",
        "test_sigterm.py::test_the_server_is_held_back_in_the_main_thread",
    ),
    "shutdown_seconds": (
        *READ,
        "test_close.py::test_the_default_deadline_is_shutdown_seconds",
        "test_close.py::test_lifespans_end_and_close_share_one_deadline",
        "e2e/test_stop.py::test_no_receiver_holds_up_the_stop",
        "servers/test_stop_servers.py::test_no_collector_holds_up_the_stop_and_no_line_is_lost",
    ),
}
