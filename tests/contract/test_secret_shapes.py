"""Every shape of secret that the reference names is cut out of a text, wherever it stands."""

import logging

import pytest

import obskit
from obskit.testing import capture

# Put together here, so that no scanner takes this file for a leak.
TAIL = "a1B2c3D4" * 5
SHAPES = {
    "labelled value": [f"password={TAIL}", f'"api_key": "{TAIL}"', f"Cookie: {TAIL}"],
    "credentials of a URL": [f"https://user:{TAIL}@host"],
    "parameter of a URL": [f"/a?token={TAIL}", f"/a?x=1&sig={TAIL}"],
    "bearer and basic": [f"Bearer {TAIL}", f"Basic {TAIL}"],
    "JWT": [f"eyJhbGciOiJIUzI1NiJ9.{TAIL}.{TAIL}"],
    "private key": [f"-----BEGIN EC PRIVATE KEY-----\n{TAIL}\n-----END EC PRIVATE KEY-----"],
    "AWS access key": [f"{prefix}{'A1B2C3D4' * 2}" for prefix in ("AKIA", "ASIA")],
    "GitHub and GitLab token": [f"{prefix}{TAIL}" for prefix in ("ghp_", "gho_", "github_pat_", "glpat-")],
    "Slack token": [f"{prefix}{TAIL}" for prefix in ("xoxb-", "xoxp-", "xoxa-")],
    "Stripe key": [f"{prefix}{TAIL}" for prefix in ("sk_" + "live_", "rk_" + "test_", "whsec_")],
    "other providers' keys": [f"sk-ant-{TAIL}", f"sk-proj-{TAIL}", f"AIza{TAIL[:35]}", f"npm_{TAIL[:36]}"],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_cut_out_of_fields_lines_and_exceptions(shape):
    with capture() as captured:
        for secret in SHAPES[shape]:
            with pytest.raises(ValueError), obskit.operation("job", fields={"note": f"see {secret} there"}):  # noqa: PT012
                logging.getLogger("shop").warning("got %s today", secret)
                raise ValueError(secret)
        said = str(captured.lines) + "".join(span.to_json() for span in captured.spans)
    assert "a1B2" not in said
    assert "A1B2" not in said
    assert said.count("[REDACTED]") >= 4 * len(SHAPES[shape])
