"""The rows of docs/reference/health.md, and the tests that pin each."""

ROWS = {
    "/livez": (
        "health/test_endpoints.py::TestLiveness::test_runs_no_check_and_does_not_depend_on_state",
        "contract/test_handle.py::test_before_startup_ends_probes_say_so",
    ),
    "/readyz": (
        "health/test_endpoints.py::TestReadiness::test_follows_startup_and_draining",
        "health/test_endpoints.py::TestReadiness::test_follows_the_checks_that_affect_it",
        "contract/test_handle.py::test_probes_follow_the_lifespan",
        "contract/test_handle.py::test_before_startup_ends_probes_say_so",
        "contract/test_handle.py::test_without_a_lifespan_startup_ends_with_the_first_request",
    ),
    "/startupz": (
        "health/test_endpoints.py::TestStartup::test_waits_for_the_end_of_startup",
        "health/test_endpoints.py::TestStartup::test_each_check_must_pass_once_and_that_is_remembered",
        "contract/test_handle.py::test_before_startup_ends_probes_say_so",
    ),
    "/health": (
        "health/test_endpoints.py::TestHealth::test_without_checks",
        "health/test_endpoints.py::TestHealth::test_critical_checks_make_errors_others_degrade",
        "test_init.py::test_checks_are_health_checks",
    ),
    "status": ("health/test_endpoints.py::TestHealth::test_critical_checks_make_errors_others_degrade",),
    "uptime": ("health/test_endpoints.py::TestHealth::test_uptime_is_in_seconds_to_the_millisecond",),
    "timestamp": ("health/test_endpoints.py::TestHealth::test_without_checks",),
    "checks": (
        "health/test_endpoints.py::TestHealth::test_critical_checks_make_errors_others_degrade",
        "health/test_endpoints.py::TestHealth::test_texts_of_exceptions_stay_inside",
        "health/test_checks.py::TestOutcome::test_failures_name_their_type_only",
    ),
    "name": (
        "contract/test_signatures.py::test_checks_have_the_defaults_of_the_reference",
        "health/test_checks.py::TestArguments::test_a_name_is_taken_once",
        "signals/test_metrics.py::test_health_checks_that_ran_show_status_and_duration",
    ),
    "timeout": (
        "contract/test_signatures.py::test_checks_have_the_defaults_of_the_reference",
        "contract/test_handle.py::test_check_passes_every_argument_on",
        "health/test_checks.py::TestDeadline::test_an_async_check_that_hangs_is_cancelled",
        "health/test_checks.py::TestDeadline::test_a_sync_check_that_hangs_is_not_started_again",
    ),
    "ttl": (
        "contract/test_signatures.py::test_checks_have_the_defaults_of_the_reference",
        "contract/test_handle.py::test_check_passes_every_argument_on",
        "health/test_checks.py::TestSharing::test_a_result_is_used_until_its_time_to_live_ends",
    ),
    "critical": (
        "contract/test_signatures.py::test_checks_have_the_defaults_of_the_reference",
        "contract/test_handle.py::test_check_passes_every_argument_on",
        "health/test_endpoints.py::TestHealth::test_critical_checks_make_errors_others_degrade",
    ),
    "affects": (
        "contract/test_signatures.py::test_checks_have_the_defaults_of_the_reference",
        "test_close.py::test_checks_and_flush_of_the_handle",
        "health/test_endpoints.py::TestReadiness::test_follows_the_checks_that_affect_it",
        "health/test_endpoints.py::TestStartup::test_each_check_must_pass_once_and_that_is_remembered",
    ),
    "failures": (
        "contract/test_signatures.py::test_checks_have_the_defaults_of_the_reference",
        "contract/test_handle.py::test_check_passes_every_argument_on",
        "health/test_checks.py::TestThreshold::test_failing_only_after_so_many_failures_in_a_row",
    ),
}
