"""The rows of docs/reference/api.md, and the tests that pin each."""

#: What is shown of a call is what its signature says.
CALL = "contract/test_signatures.py::test_a_call_is_as_the_reference_shows_it"
ARGUMENT = "contract/test_signatures.py::test_each_argument_has_its_row"

ROWS = {
    "init": (
        "test_init.py::test_arguments_beat_the_config_beats_the_environment",
        "test_init.py::test_wrong_arguments_are_all_named_and_nothing_is_wired",
        "test_init.py::test_the_same_configuration_again_is_the_same_handle_and_observes_the_new_app",
    ),
    "Obskit": (
        "test_exports.py::test_the_handles_surface",
        "test_close.py::test_it_is_a_context_manager_that_hides_nothing",
    ),
    "Config": (
        "test_config.py::test_the_fields_and_their_defaults_are_the_contracts",
        "test_config.py::test_a_config_is_immutable",
    ),
    "annotate": (
        "test_exports.py::test_the_exported_names",
        "test_operation_api.py::test_annotate_from_anywhere_below_a_request",
    ),
    "accumulate": ("test_exports.py::test_the_exported_names", "test_operation_api.py::test_accumulate_adds_up"),
    "current_operation": (
        "test_exports.py::test_the_exported_names",
        "test_operation_api.py::test_nested_operations_are_parent_and_child",
    ),
    "operation": (
        "test_exports.py::test_the_exported_names",
        "test_operation_api.py::test_ways_and_endings",
        "test_operation_api.py::test_outside_of_init_the_code_just_runs",
    ),
    "inject": (
        "test_exports.py::test_the_exported_names",
        "test_operation_api.py::test_a_trace_goes_on_from_what_was_injected",
    ),
    "extract": (
        "test_exports.py::test_the_exported_names",
        "test_operation_api.py::test_a_trace_goes_on_from_what_was_injected",
    ),
    "get_logger": ("test_exports.py::test_the_exported_names", "signals/test_pipeline.py::test_names_of_loggers"),
    "exceptions": ("test_exports.py::test_the_exceptions",),
    "__version__": ("test_exports.py::test_the_version",),
    "init: app": (
        ARGUMENT,
        "test_init.py::test_routes_added_after_init_are_observed",
        "test_init.py::test_starlette_apps_are_observed_too",
        "test_init.py::test_without_an_app_all_but_the_asgi_part_works",
        "test_init.py::test_an_app_that_is_not_starlettes_is_for_wrap",
        "instrumentation/test_frameworks.py::test_a_request",
        "instrumentation/test_frameworks.py::test_an_app_of_no_framework_is_to_be_wrapped",
    ),
    "init: service_name": (
        ARGUMENT,
        "test_init.py::test_the_service_is_called_as_the_app_is",
        "test_init.py::test_arguments_beat_the_config_beats_the_environment",
    ),
    "init: service_version": (
        ARGUMENT,
        "test_init.py::test_the_version_is_that_of_the_installed_distribution",
        "test_init.py::test_arguments_beat_the_config_beats_the_environment",
    ),
    "init: environment": (ARGUMENT, "test_init.py::test_arguments_beat_the_config_beats_the_environment"),
    "init: config": (ARGUMENT, "test_init.py::test_arguments_beat_the_config_beats_the_environment"),
    "init: checks": (
        ARGUMENT,
        "test_init.py::test_checks_are_health_checks",
        "test_init.py::test_a_module_that_runs_twice_brings_its_checks_twice",
    ),
    "Obskit.wrap(app)": (
        CALL,
        "instrumentation/test_asgi.py::test_a_bare_app_has_no_route_and_never_a_raw_path",
        "instrumentation/test_asgi.py::test_wrapped_twice_is_observed_once",
    ),
    'Obskit.check(name, *, timeout=1.0, ttl=5.0, critical=True, affects="health", failures=1)': (
        CALL,
        "contract/test_handle.py::test_check_passes_every_argument_on",
        "contract/test_handle.py::test_check_refuses_what_is_wrong_and_a_name_that_is_taken",
        "test_close.py::test_checks_and_flush_of_the_handle",
    ),
    "Obskit.health": (
        "test_init.py::test_a_module_that_runs_twice_brings_its_checks_twice",
        "test_close.py::test_checks_and_flush_of_the_handle",
    ),
    "Obskit.registry": ("contract/test_handle.py::test_metrics_of_ones_own_show_from_both_registries",),
    "Obskit.config": (
        "test_init.py::test_the_service_is_called_as_the_app_is",
        "test_init.py::test_the_version_is_that_of_the_installed_distribution",
    ),
    "Obskit.drain()": (
        "contract/test_handle.py::test_drain_turns_readiness_off_and_nothing_else",
        "servers/test_drain.py::test_a_server_that_is_not_held_back_says_so_and_stops_at_once",
    ),
    "Obskit.flush(timeout=5.0)": (
        CALL,
        "test_close.py::test_close_keeps_its_deadline_with_a_collector_that_hangs",
        "e2e/test_stop.py::test_however_a_script_ends_nothing_is_lost",
        "contract/test_handle.py::test_lines_and_their_bytes_are_counted_as_they_are_written",
    ),
    "Obskit.close(timeout=None)": (
        CALL,
        "test_close.py::test_all_that_init_touched_is_as_before",
        "test_close.py::test_close_keeps_its_deadline_with_a_collector_that_hangs",
        "test_close.py::test_the_default_deadline_is_shutdown_seconds",
        "test_close.py::test_the_second_close_does_nothing",
    ),
    "annotate(mapping=None, /, **fields)": (
        CALL,
        "test_operation_api.py::test_annotate_takes_a_mapping_keywords_or_both",
    ),
    "accumulate(name, amount=1)": (
        CALL,
        "test_operation_api.py::test_accumulate_adds_up",
        "test_operation_api.py::test_accumulate_from_many_threads_loses_nothing",
    ),
    "current_operation()": (
        CALL,
        "test_operation_api.py::test_nested_operations_are_parent_and_child",
        "test_operation_api.py::test_outside_of_operations_everything_is_taken_and_nothing_kept",
    ),
    "str": ("test_fields.py::test_values", "contract/test_configured_effects.py::test_strings_keep_so_many_characters"),
    "bool": ("test_fields.py::test_values",),
    "int": ("test_fields.py::test_values",),
    "float": ("test_fields.py::test_values",),
    "None": ("test_fields.py::test_names_and_mappings",),
    "list": ("test_fields.py::test_values",),
    "tuple": ("test_fields.py::test_values",),
    "set": ("test_fields.py::test_values",),
    "mapping": ("test_fields.py::test_names_and_mappings",),
    "anything else": ("test_fields.py::test_values",),
    "Operation.annotate(mapping=None, /, **fields)": (
        CALL,
        "test_operation_api.py::test_annotate_takes_a_mapping_keywords_or_both",
        "test_operation_api.py::test_annotate_from_anywhere_below_a_request",
    ),
    "Operation.accumulate(name, amount=1)": (
        CALL,
        "test_operation_api.py::test_accumulate_from_many_threads_loses_nothing",
    ),
    "Operation.name": ("contract/test_handle.py::test_what_an_operation_shows",),
    "Operation.kind": ("contract/test_handle.py::test_what_an_operation_shows",),
    "Operation.fields": ("contract/test_handle.py::test_what_an_operation_shows",),
    "Operation.trace_id": (
        "contract/test_handle.py::test_what_an_operation_shows",
        "test_operation_api.py::test_outside_of_operations_everything_is_taken_and_nothing_kept",
    ),
    "Operation.span_id": ("contract/test_handle.py::test_what_an_operation_shows",),
    "Operation.sampled": (
        "contract/test_handle.py::test_what_an_operation_shows",
        "signals/test_traces.py::test_samplers",
    ),
    "Operation.parent": (
        "contract/test_handle.py::test_what_an_operation_shows",
        "test_operation_api.py::test_nested_operations_are_parent_and_child",
    ),
    "Operation.outcome": (
        "contract/test_handle.py::test_what_an_operation_shows",
        "test_operation_api.py::test_after_the_end_fields_are_dropped_and_counted",
    ),
    "Operation.duration_ms": (
        "contract/test_handle.py::test_what_an_operation_shows",
        "test_operation_api.py::test_signals_see_an_operation_at_its_start_and_once_at_its_end",
    ),
    "Operation.ended": (
        "contract/test_handle.py::test_what_an_operation_shows",
        "test_operation_api.py::test_one_object_entered_within_itself",
    ),
    "operation: name": (
        ARGUMENT,
        "test_operation_api.py::test_ways_and_endings",
        "test_operation_api.py::test_wrong_arguments_say_what_is_right",
    ),
    "operation: kind": (
        ARGUMENT,
        "test_operation_api.py::test_kinds",
        "test_operation_api.py::test_wrong_arguments_say_what_is_right",
    ),
    "operation: parent": (
        ARGUMENT,
        "test_operation_api.py::test_a_trace_goes_on_from_what_was_injected",
        "test_operation_api.py::test_a_parent_that_is_given_beats_the_current_one",
    ),
    "operation: links": (ARGUMENT, "test_operation_api.py::test_links"),
    "operation: fields": (ARGUMENT, "test_operation_api.py::test_fields_are_those_of_each_run"),
    "inject(carrier)": (
        CALL,
        "test_propagation.py::test_what_is_injected_is_extracted",
        "contract/test_configured_effects.py::test_what_is_written_is_what_the_propagators_write",
    ),
    "extract(carrier)": (
        CALL,
        "test_propagation.py::test_extract_reads_carriers_of_every_shape",
        "test_propagation.py::test_extract_of_a_carrier_without_context_starts_a_new_trace",
    ),
    "get_logger(name=None)": (
        CALL,
        "signals/test_pipeline.py::test_names_of_loggers",
        "signals/test_adopt.py::test_structlog_configured_already_means_stamp",
    ),
    "Config(**fields)": (
        "test_config.py::test_every_wrong_argument_is_named_at_once",
        "test_config.py::test_what_is_no_field_is_pythons_own_error",
    ),
    "Config.from_env(environ)": (
        CALL,
        "test_config.py::test_a_right_variable_gives_its_field",
        "test_config.py::test_no_environment_raises",
    ),
    "Config.warnings": (
        "test_config.py::test_a_wrong_variable_gives_one_warning_and_the_default",
        "test_config.py::test_several_faults_are_several_warnings",
    ),
    "Config.given": (
        "test_config.py::test_a_right_variable_gives_its_field",
        "test_config.py::test_equality_hash_and_copy_look_at_the_fields_only",
    ),
    "Config.overlaid(other)": (
        CALL,
        "test_config.py::test_arguments_beat_the_environment_which_beats_defaults",
        "test_config.py::test_what_was_given_on_top_always_holds",
    ),
    "Config.differences(other)": (CALL, "test_config.py::test_differences_are_sentences"),
    "Config.span_exporter": ("test_config.py::test_where_spans_go",),
    "Config.traces_url": ("test_config.py::test_the_url_of_traces",),
    "Config.otlp(signal)": (
        "test_config.py::test_the_url_of_each_signal",
        "test_config.py::test_a_signals_variable_beats_the_general_one",
    ),
    "Config.pushes(signal)": (
        "test_config.py::test_where_metrics_and_logs_are_pushed",
        "test_config.py::test_where_spans_go",
    ),
    "ObskitError": ("test_guard.py::test_the_exceptions_name_every_problem",),
    "ConfigError": (
        "test_guard.py::test_the_exceptions_name_every_problem",
        "test_config.py::test_every_wrong_argument_is_named_at_once",
    ),
    "capture(app=None, *, config=None, checks=None)": (
        CALL,
        "test_testing.py::test_nothing_leaves_the_process_and_the_environment_decides_nothing",
        "test_testing.py::test_all_is_restored_also_after_a_failing_test",
        "test_testing.py::test_it_must_be_alone",
        "test_testing.py::test_checks_are_taken",
    ),
    "Captured.obs": ("test_testing.py::test_other_apps_are_wrapped",),
    "Captured.lines": ("test_testing.py::test_lines_spans_and_metrics",),
    "Captured.line(message)": (
        CALL,
        "test_testing.py::test_the_example_of_the_module",
        "test_testing.py::test_what_is_not_one_says_what_there_is",
    ),
    "Captured.spans": ("test_testing.py::test_lines_spans_and_metrics",),
    "Captured.span(name)": (
        CALL,
        "test_testing.py::test_lines_spans_and_metrics",
        "test_testing.py::test_what_is_not_one_says_what_there_is",
    ),
    "Captured.metric(name, **labels)": (CALL, "test_testing.py::test_lines_spans_and_metrics"),
}
