"""The rows of docs/reference/redaction.md, and the tests that pin each."""

SHAPES = ("contract/test_secret_shapes.py::test_a_shape_is_cut_out_of_fields_lines_and_exceptions",)

ROWS = {
    "labelled value": (
        *SHAPES,
        "test_redaction.py::test_texts",
        "test_redaction.py::test_a_labelled_secret_never_survives",
    ),
    "credentials of a URL": (
        *SHAPES,
        "test_redaction.py::test_texts",
        "test_redaction.py::test_a_password_in_a_url_never_survives",
    ),
    "parameter of a URL": (*SHAPES, "test_redaction.py::test_texts"),
    "bearer and basic": (*SHAPES, "test_redaction.py::test_texts"),
    "JWT": (*SHAPES, "test_redaction.py::test_texts", "test_redaction.py::test_a_secret_of_known_shape_never_survives"),
    "private key": (
        *SHAPES,
        "test_redaction.py::test_texts",
        "test_redaction.py::test_a_secret_of_known_shape_never_survives",
    ),
    "AWS access key": (
        *SHAPES,
        "test_redaction.py::test_texts",
        "test_redaction.py::test_a_secret_of_known_shape_never_survives",
    ),
    "GitHub and GitLab token": (*SHAPES, "test_redaction.py::test_a_secret_of_known_shape_never_survives"),
    "Slack token": (*SHAPES, "test_redaction.py::test_a_secret_of_known_shape_never_survives"),
    "Stripe key": (*SHAPES, "test_redaction.py::test_a_secret_of_known_shape_never_survives"),
    "other providers' keys": (*SHAPES, "test_redaction.py::test_texts"),
}
