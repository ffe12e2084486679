"""The rows of docs/reference/stop.md, and the tests that pin each."""

ROWS = {
    "SIGTERM to a server": (
        "servers/test_stop_servers.py::test_sigterm_under_load_loses_nothing_that_was_answered",
        "servers/test_stop_servers.py::test_it_ends_as_without_obskit",
        "e2e/test_stop.py::test_sigterm_under_load_loses_no_line_and_no_span_of_what_was_answered",
        "e2e/test_stop.py::test_however_it_is_served_nothing_is_lost",
        "export/test_writer.py::test_write_through_gets_a_line_out_before_a_signal_kills",
    ),
    "SIGTERM to a worker whose server does not handle it": (
        "servers/test_stop_servers.py::test_sigterm_under_load_loses_nothing_that_was_answered",
        "servers/test_stop_servers.py::test_sigterm_to_a_worker_that_does_not_handle_it",
        "test_sigterm.py::test_the_process_still_dies_of_the_signal",
    ),
    "the first SIGTERM": ("servers/test_drain.py::test_requests_are_served_while_readiness_is_off",),
    "the second SIGTERM": (
        "servers/test_drain.py::test_the_second_sigterm_goes_straight_through",
        "test_sigterm.py::test_the_second_signal_goes_straight_through_and_the_first_is_not_repeated",
    ),
    "SIGINT": ("servers/test_drain.py::test_ctrl_c_is_not_held_back",),
    "SIGTERM under a server that cannot be held back": (
        "servers/test_drain.py::test_a_server_that_is_not_held_back_says_so_and_stops_at_once",
        "test_sigterm.py::test_a_loops_handler_can_be_preceded_and_not_held_back",
    ),
    "SIGTERM": (
        "test_sigterm.py::test_close_gives_sigterm_back",
        "test_sigterm.py::test_a_handler_that_was_set_since_stays",
    ),
    "close()": (
        "test_close.py::test_all_that_init_touched_is_as_before",
        "e2e/test_stop.py::test_however_a_script_ends_nothing_is_lost",
        "export/test_spans.py::test_close_exports_the_rest_stops_the_thread_and_closes_the_exporter",
    ),
    "exit of the interpreter": (
        "test_close.py::test_close_at_exit_sends_what_is_queued",
        "e2e/test_stop.py::test_however_a_script_ends_nothing_is_lost",
    ),
    "SIGTERM to a script": (
        "contract/test_handle.py::test_sigterm_ends_a_script_as_it_would_without_obskit_and_nothing_is_lost",
        "contract/test_handle.py::test_a_script_that_handles_sigterm_loses_nothing",
    ),
    "SIGKILL": (
        "contract/test_handle.py::test_sigkill_takes_no_more_than_the_last_lines",
        "e2e/test_stop.py::test_sigkill_leaves_whole_lines",
    ),
    "the app": (
        "test_close.py::test_all_that_init_touched_is_as_before",
        "test_close.py::test_wrapped_apps_pass_through_untouched_after_close",
    ),
    "logging": (
        "test_close.py::test_all_that_init_touched_is_as_before",
        "test_close.py::test_handlers_come_back_in_their_order_and_those_of_others_stay",
        "signals/test_adopt.py::test_restore_is_exact",
    ),
    "structlog": (
        "test_close.py::test_all_that_init_touched_is_as_before",
        "signals/test_pipeline.py::test_structlog_is_as_it_was_afterwards",
        "signals/test_pipeline.py::test_what_someone_configured_since_stays",
    ),
    "client libraries": (
        "test_close.py::test_all_that_init_touched_is_as_before",
        "instrumentation/test_clients.py::test_clients_made_before_are_observed_and_afterwards_they_are_the_librarys_own",
        "instrumentation/test_httpx.py::test_a_patch_of_somebody_elses_on_top_is_left_in_place",
        "instrumentation/test_clients_contrib.py::test_libraries_imported_after_init_are_observed",
    ),
    "OpenTelemetry": (
        "test_close.py::test_all_that_init_touched_is_as_before",
        "signals/test_traces.py::test_a_tracer_that_is_kept_follows_from_init_to_init",
    ),
    "background tasks, contrib's middleware": (
        "test_close.py::test_all_that_init_touched_is_as_before",
        "test_close.py::test_what_somebody_else_has_put_over_a_patch_stays",
        "test_close.py::test_contribs_middleware_stands_down_for_observed_requests_only",
    ),
    "threads": (
        "test_reentry.py::test_a_thousand_lives_leave_nothing_behind",
        "test_close.py::test_all_that_init_touched_is_as_before",
    ),
}
