"""What Prometheus and Loki answer to the queries of the dashboards."""

import time
from dataclasses import dataclass
from typing import Any

import httpx
from dashboard_queries import Query

STEP = 5


def get(url: str, **parameters: str) -> Any:
    """The JSON that an address answers with; an error of the server is raised with what it says."""
    answer = httpx.get(url, params=parameters, timeout=30)
    assert answer.status_code == httpx.codes.OK, f"{answer.status_code} of {answer.url}: {answer.text}"
    return answer.json()


@dataclass(frozen=True)
class Backends:
    """The two that dashboards ask, and since when they have something to say."""

    prometheus: str
    loki: str
    since: float
    until: float | None = None

    def rows(self, query: Query) -> int:
        """How many series, values or lines a query of a dashboard brings."""
        if query.kind == "variable":
            return len(self.values(query))
        if query.datasource == "loki":
            return self.logs(query)
        return len([each for each in self.series(query) if any(value != "NaN" for _, value in samples(each))])

    def range(self) -> dict[str, str]:
        """The time that is asked about."""
        return {"start": f"{self.since:.3f}", "end": self.now()}

    def now(self) -> str:
        """The time that instant queries are about."""
        return f"{self.until or time.time():.3f}"

    def values(self, query: Query) -> list[str]:
        """The values that a template variable offers."""
        address = f"{self.prometheus}/api/v1/label/{query.label}/values"
        return get(address, **{"match[]": query.expanded()}, **self.range())["data"]

    def series(self, query: Query, **values: str) -> list[dict[str, Any]]:
        """What Prometheus answers a panel or an annotation."""
        if query.instant:
            return get(f"{self.prometheus}/api/v1/query", query=query.expanded(**values), time=self.now())["data"][
                "result"
            ]
        span = self.range() | {"step": str(STEP)}
        return get(f"{self.prometheus}/api/v1/query_range", query=query.expanded(**values), **span)["data"]["result"]

    def exemplars(self, query: Query) -> list[dict[str, Any]]:
        """The exemplars that Grafana draws as dots on a panel."""
        found = get(f"{self.prometheus}/api/v1/query_exemplars", query=query.expanded(), **self.range())["data"]
        return [exemplar for series in found for exemplar in series["exemplars"]]

    def logs(self, query: Query, **values: str) -> int:
        """How many series or lines Loki finds."""
        if query.instant:
            answer = get(f"{self.loki}/loki/api/v1/query", query=query.expanded(**values), time=self.now())
        else:
            answer = get(
                f"{self.loki}/loki/api/v1/query_range", query=query.expanded(**values), limit="200", **self.range()
            )
        result = answer["data"]["result"]
        return sum(len(each["values"]) for each in result) if answer["data"]["resultType"] == "streams" else len(result)


def samples(series: dict[str, Any]) -> list[tuple[float, str]]:
    return series["values"] if "values" in series else [series["value"]]
