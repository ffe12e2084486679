"""Rules of Prometheus for objectives: what is measured, and when somebody is told.

Burn rates over two windows each, as chapter 5 of Google's "The Site Reliability Workbook" derives them: the long window
says that it matters, the short one that it still goes on.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import yaml

from obskit import semconv
from obskit.slo.objectives import Objective, Objectives

Rule = dict[str, Any]


class Burn(NamedTuple):
    """One condition of an alert: the budget burns `factor` times too fast over both windows."""

    short: str
    long: str
    factor: float


#: Severity, alert, and the conditions of which one suffices.
ALERTS = {
    "page": ("ErrorBudgetBurnsFast", (Burn("5m", "1h", 14.4), Burn("30m", "6h", 6))),
    "ticket": ("ErrorBudgetBurnsSlowly", (Burn("2h", "1d", 3), Burn("6h", "3d", 1))),
}
WINDOWS = ("30m", "1h", "2h", "6h", "1d", "3d")
#: Rates over five minutes are recorded this often; a sum of them over a window, times this, is a number of requests.
STEP_SECONDS = 15

_IDENTITY = ", ".join(semconv.LABELS_IDENTITY)
_HEAD = """\
# Written by `obskit slo`, from slo.yaml. Change that one, and write this anew.
"""


def text(objectives: Objectives) -> str:
    """The rules as the file that Prometheus reads; the same for the same objectives."""
    written: str = yaml.safe_dump(rules(objectives), sort_keys=False, width=1_000, allow_unicode=True)
    return _HEAD + written


def rules(objectives: Objectives) -> dict[str, list[Rule]]:
    """The groups of rules: what each objective measures, the windows over it, the whole budget, the alerts."""
    step = f"{STEP_SECONDS}s"
    measured = [rule for each in objectives.objectives for rule in _measured(each)]
    alerts = [_alert(severity, objectives) for severity in ALERTS]
    return {
        "groups": [
            {"name": "slo", "interval": step, "rules": [*measured, *(_ratio(window) for window in ("5m", *WINDOWS))]},
            {"name": "slo-budget", "interval": "1m", "rules": _budget(objectives.window)},
            {"name": "slo-alerts", "interval": step, "rules": alerts},
        ]
    }


def _measured(objective: Objective) -> list[Rule]:
    labels = {"slo": objective.name} | ({semconv.LABEL_HTTP_ROUTE: objective.route} if objective.route else {})
    latency = objective.latency
    requests, failed = _latency(objective, latency.threshold) if latency else _availability(objective)
    recorded = {
        "slo:sli_requests:rate5m": requests,
        "slo:sli_errors:rate5m": failed,
        "slo:objective:ratio": _constant(objective, objective.ratio),
        "slo:error_budget:ratio": _constant(objective, 1 - objective.ratio),
    }
    return [{"record": name, "expr": expr, "labels": dict(labels)} for name, expr in recorded.items()]


def _availability(objective: Objective) -> tuple[str, str]:
    """All requests but those that the client left before they were answered, and those of them that failed."""
    every, nothing = _rate(objective, "count"), f"0 * {_rate(objective, 'count')}"
    cancelled = _rate(objective, "count", f'{_STATUS}=""', f'{_ERROR}=""')
    failed = _rate(objective, "count", f'{_ERROR}!=""')
    return f"{every} - ({cancelled} or {nothing})", f"{failed} or {nothing}"


def _latency(objective: Objective, threshold: float) -> tuple[str, str]:
    """The requests that succeeded, and those of them that took longer than the threshold, in seconds."""
    succeeded = f'{_STATUS}!=""', f'{_ERROR}=""'
    bound = repr(threshold).removesuffix(".0")
    within = f'le="{bound}"' if threshold % 1 else f'le=~"{bound}|{bound}[.]0"'  # as it is pushed, and as it is scraped
    every = _rate(objective, "count", *succeeded)
    return every, f"{every} - {_rate(objective, 'bucket', *succeeded, within)}"


_STATUS = semconv.LABEL_HTTP_RESPONSE_STATUS_CODE
_ERROR = semconv.LABEL_ERROR_TYPE


def _rate(objective: Objective, part: str, *matchers: str) -> str:
    identity = objective.service, objective.namespace, objective.environment
    chosen = {
        **dict(zip(semconv.LABELS_IDENTITY, identity, strict=True)),
        semconv.LABEL_HTTP_ROUTE: objective.route,
        semconv.LABEL_HTTP_REQUEST_METHOD: objective.method,
    }
    selected = [f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in chosen.items() if value]
    series = f"{semconv.METRIC_HTTP_SERVER_DURATION}_{part}{{{', '.join([*selected, *matchers])}}}"
    return f"sum by ({_IDENTITY}) (rate({series}[5m]))"


def _constant(objective: Objective, value: float) -> str:
    return f'0 * slo:sli_requests:rate5m{{slo="{objective.name}"}} + {value:.10g}'


def _ratio(window: str) -> Rule:
    """Of what was asked in the window, the share that failed; nothing where nothing was asked."""
    if window == "5m":
        expr = "slo:sli_errors:rate5m / (slo:sli_requests:rate5m > 0)"
    else:
        failed, asked = (f"sum_over_time(slo:sli_{what}:rate5m[{window}])" for what in ("errors", "requests"))
        expr = f"{failed} / ({asked} > 0)"
    return {"record": f"slo:sli_error:ratio_rate{window}", "expr": expr}


def _budget(window: str) -> list[Rule]:
    return [
        *([] if window in WINDOWS else [_ratio(window)]),
        {
            "record": "slo:error_budget_remaining:ratio",
            "expr": f"1 - slo:sli_error:ratio_rate{window} / slo:error_budget:ratio",
        },
    ]


def _alert(severity: str, objectives: Objectives) -> Rule:
    name, burns = ALERTS[severity]
    opened = "var-service={{ $labels.service_name }}&var-slo={{ $labels.slo }}"
    return {
        "alert": name,
        "expr": "\nor\n".join(_burning(burn, objectives.minimum_requests) for burn in burns),
        "labels": {"severity": severity},
        "annotations": {
            "summary": "{{ $labels.service_name }} {{ $labels.http_route }} misses its objective {{ $labels.slo }}",
            "description": (
                "{{ $value | humanizePercentage }} of its requests failed or were too slow: at this rate the error"
                f" budget of {objectives.window} is used up before its time."
            ),
            "runbook_url": f"{objectives.runbook_url}#{name.lower()}",
            "dashboard_url": f"{objectives.dashboard_url}?{opened}",
        },
    }


def _burning(burn: Burn, minimum: int) -> str:
    too_fast = f"{burn.factor:g} * slo:error_budget:ratio"
    asked = f"sum_over_time(slo:sli_requests:rate5m[{burn.long}]) * {STEP_SECONDS}"
    return (
        f"(slo:sli_error:ratio_rate{burn.long} > {too_fast}"
        f" and slo:sli_error:ratio_rate{burn.short} > {too_fast}"
        f" and {asked} >= {minimum})"
    )
