"""The rows of docs/reference/command.md, and the tests that pin each."""

ROWS = {
    "obskit assets list": ("cli/test_assets.py::test_list_names_what_export_writes",),
    "obskit assets export DIR": (
        "cli/test_assets.py::test_everything_that_ships_is_written_byte_for_byte",
        "cli/test_assets.py::test_a_second_export_has_nothing_to_write",
        "cli/test_assets.py::test_what_a_person_changed_is_kept_unless_forced",
        "test_exports.py::test_the_installed_wheel_writes_what_the_repository_holds",
    ),
    "--force": ("cli/test_assets.py::test_what_a_person_changed_is_kept_unless_forced",),
    "obskit slo SLO_YAML": (
        "slo/test_slo.py::test_output_and_check",
        "slo/test_slo.py::test_every_problem_is_told_at_once",
        "slo/test_slo.py::test_without_the_extra_it_says_which",
    ),
    "--output FILE": ("slo/test_slo.py::test_output_and_check",),
    "--check FILE": ("slo/test_slo.py::test_output_and_check",),
    "--version": ("cli/test_assets.py::test_the_version",),
}
