"""The questions to the JSON lines, in SQL. Each stands alone: run it with ``python -m examples.shop.ask``."""

from pathlib import Path
from typing import Any

import duckdb

OPEN = """
CREATE TABLE lines AS
WITH said AS (
    SELECT parse_filename(filename, true) AS file, json
    FROM read_json_objects(getvariable('files'), format = 'newline_delimited', ignore_errors = true, filename = true)
)
SELECT
    coalesce(json->>'service.name', file) AS service,
    json->>'event.name' AS event,
    json->>'message' AS message,
    json->>'level' AS level,
    json->>'trace_id' AS trace_id,
    json->>'span_id' AS span_id,
    json->>'parent_span_id' AS parent_span_id,
    epoch_us(try_cast(json->>'timestamp' AS TIMESTAMP)) AS ended_us,
    try_cast(json->>'duration_ms' AS DOUBLE) AS duration_ms,
    json AS fields,
    coalesce(json_type(json) = 'OBJECT', false) AS readable
FROM said;

CREATE VIEW requests AS
SELECT
    service, trace_id, span_id, duration_ms, fields,
    fields->>'http.request.method' AS method,
    coalesce(fields->>'http.route', '') AS route,
    try_cast(fields->>'http.response.status_code' AS INTEGER) AS status,
    fields->>'user.tier' AS tier,
    greatest(duration_ms - coalesce(try_cast(fields->>'http.client.duration_ms' AS DOUBLE), 0), 0) AS own_ms,
    coalesce(try_cast(fields->>'db.client.duration_ms' AS DOUBLE), 0) AS database_ms
FROM lines
WHERE event = 'http.server.request' AND duration_ms IS NOT NULL;

CREATE MACRO entropy(p) AS
    CASE WHEN p <= 0 OR p >= 1 THEN 0 ELSE -p * log2(p) - (1 - p) * log2(1 - p) END;
"""

RED = """
SELECT
    service, method, route,
    count(*) AS requests,
    count(*) FILTER (status >= 500) AS errors,
    quantile_disc(duration_ms, [0.5, 0.95, 0.99]) AS quantiles
FROM requests
GROUP BY ALL
ORDER BY service, route, method
"""

TIERS = """
SELECT
    tier,
    count(*) AS requests,
    quantile_disc(duration_ms, [0.5, 0.95, 0.99]) AS quantiles
FROM requests
WHERE service = 'gateway' AND tier IS NOT NULL
  AND method = getvariable('method') AND route = getvariable('route')
GROUP BY ALL
ORDER BY quantiles[3]
"""

#: Which tier on which endpoint has a p99 that is furthest above the other tiers'?
WORST = """
SELECT a.method, a.route, a.tier, quantile_disc(b.duration_ms, 0.95) FILTER (b.tier <> a.tier) AS threshold_ms
FROM (SELECT DISTINCT method, route, tier FROM requests WHERE service = 'gateway' AND tier IS NOT NULL) a
JOIN requests b ON b.service = 'gateway' AND b.method = a.method AND b.route = a.route AND b.tier IS NOT NULL
GROUP BY a.method, a.route, a.tier
HAVING count(*) FILTER (b.tier = a.tier) >= 10 AND count(*) FILTER (b.tier <> a.tier) >= 10
ORDER BY quantile_disc(b.duration_ms, 0.99) FILTER (b.tier = a.tier)
       - quantile_disc(b.duration_ms, 0.99) FILTER (b.tier <> a.tier) DESC
LIMIT 1
"""

#: The requests in question. Slow: slower than 95 of 100 requests of the other tiers to the same endpoint.
SUSPECTS = """
CREATE OR REPLACE TABLE suspects AS
SELECT trace_id, status, duration_ms, duration_ms > getvariable('threshold_ms') AS slow
FROM requests
WHERE service = 'gateway' AND tier = getvariable('tier')
  AND method = getvariable('method') AND route = getvariable('route')
"""

#: Every field of every service's lines of the endpoint's traces: labels (text), amounts (numbers). The conventions'
#: names stand on the lines of all services, so they are told apart by service. Times are left out: they restate the
#: question.
FACTS = r"""
CREATE OR REPLACE TABLE facts AS
SELECT DISTINCT
    trace_id,
    CASE WHEN regexp_matches(f.key, '^(http|url|server|client|user_agent|network|db|error|exception|outcome)\b')
         THEN lines.service || ' ' || f.key ELSE f.key END AS name,
    CASE WHEN f.type IN ('BIGINT', 'UBIGINT', 'DOUBLE') AND f.key <> 'http.response.status_code'
         THEN f.atom::DOUBLE END AS amount,
    fields->>f.key AS value
FROM lines, json_each(fields) f
WHERE event IS NOT NULL AND f.atom IS NOT NULL
  AND trace_id IN (
      SELECT trace_id FROM requests
      WHERE service = 'gateway' AND method = getvariable('method') AND route = getvariable('route')
  )
  AND f.key NOT IN ('timestamp', 'message', 'level', 'logger', 'event.name', 'trace_id', 'span_id', 'parent_span_id',
                    'trace_flags', 'service.name', 'service.version', 'deployment.environment.name', 'sample_rate',
                    'exception.stacktrace')
  AND NOT suffix(f.key, '_ms')
"""

#: What do slow requests have that the rest has not? Ranked by information gain: how many bits of "slow or not" a fact
#: tells. Only what five slow requests share, and what chance does not explain (G-test, 15 is about p < 0.0001).
APART = """
WITH thresholds AS (
    SELECT name, unnest(list_distinct(quantile_disc(amount, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])))
        AS threshold
    FROM facts JOIN suspects USING (trace_id) WHERE amount IS NOT NULL GROUP BY name
), candidates AS (
    SELECT DISTINCT trace_id, name, '= ' || value AS condition, value, 'label' AS kind FROM facts WHERE amount IS NULL
    UNION ALL
    SELECT DISTINCT trace_id, name, format('≥ {:g}', threshold), NULL, 'amount'
    FROM facts JOIN thresholds USING (name) WHERE amount >= threshold
), totals AS (
    SELECT count(*) AS n, count(*) FILTER (slow) AS slow_n FROM suspects
), counted AS (
    SELECT name, condition, value, kind, count(*) AS has, count(*) FILTER (slow) AS slow_has
    FROM candidates JOIN suspects USING (trace_id) GROUP BY ALL
), measured AS (
    SELECT name, condition, value, kind, slow_has, has - slow_has AS rest_has, slow_n, n - slow_n AS rest_n, n,
        entropy(slow_n / n) AS uncertainty,
        uncertainty - has / n * entropy(slow_has / has)
                    - (n - has) / n * entropy((slow_n - slow_has) / greatest(n - has, 1)) AS gain
    FROM counted, totals
)
SELECT kind, name, condition, value, slow_has, slow_n, rest_has, rest_n, gain / uncertainty AS explains
FROM measured
WHERE slow_has >= 5 AND slow_has * rest_n > rest_has * slow_n AND 2 * n * ln(2) * gain > 15
QUALIFY row_number() OVER (PARTITION BY name ORDER BY gain DESC, condition) = 1
ORDER BY kind DESC, gain DESC, name
"""

#: Where is the time spent? A service's own time: without the calls that it waited for.
OWN_TIME = """
WITH spent AS (
    SELECT trace_id, service, sum(own_ms) AS own_ms, sum(database_ms) AS database_ms
    FROM requests GROUP BY ALL
), totals AS (
    SELECT count(*) FILTER (slow) AS slow_n, count(*) FILTER (NOT slow) AS rest_n FROM suspects
)
SELECT
    service,
    sum(own_ms) FILTER (slow) / any_value(slow_n) AS slow_ms,
    sum(own_ms) FILTER (NOT slow) / any_value(rest_n) AS rest_ms,
    sum(database_ms) FILTER (slow) / any_value(slow_n) AS slow_database_ms,
    sum(database_ms) FILTER (NOT slow) / any_value(rest_n) AS rest_database_ms
FROM spent JOIN suspects USING (trace_id), totals
GROUP BY service
ORDER BY coalesce(slow_ms, 0) - coalesce(rest_ms, 0) DESC
"""

#: Does the label make other tiers slow too?
ACROSS_TIERS = """
WITH having_it AS (
    SELECT trace_id FROM facts WHERE name = getvariable('label') AND value = getvariable('value')
)
SELECT
    tier,
    trace_id IN (FROM having_it) AS with_it,
    count(*) AS requests,
    median(duration_ms) AS p50
FROM requests
WHERE service = 'gateway' AND tier IS NOT NULL
  AND method = getvariable('method') AND route = getvariable('route')
GROUP BY ALL
ORDER BY tier, with_it
"""

#: A slow request that stands for the others: it went well, and of all slow ones its duration is next to the median.
TYPICAL = """
SELECT trace_id FROM suspects
ORDER BY slow DESC, status < 400 DESC,
    abs(duration_ms - (SELECT quantile_disc(duration_ms, 0.5) FROM suspects WHERE slow)), trace_id
LIMIT 1
"""

TRACE = """
SELECT service, event, message, level, span_id, parent_span_id, ended_us, duration_ms, fields
FROM lines WHERE trace_id = getvariable('trace_id') AND ended_us IS NOT NULL ORDER BY ended_us
"""

ALL = (RED, WORST, TIERS, SUSPECTS, FACTS, APART, OWN_TIME, ACROSS_TIERS, TYPICAL, TRACE)


def opened(folder: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory with the tables ``lines`` and ``requests`` of a run's JSON lines."""
    connection = duckdb.connect()
    assign(connection, files=str(folder / "*.jsonl"))
    connection.execute(OPEN)
    return connection


def script(connection: duckdb.DuckDBPyConnection) -> str:
    """Every question in order, as one file of SQL, with the variables as they stand."""
    named = "SELECT name, replace(value, chr(39), chr(39) || chr(39)), type FROM duckdb_variables() ORDER BY name"
    variables = connection.execute(named).fetchall()
    settings = (f"SET VARIABLE {name} = '{value}'::{kind};\n" for name, value, kind in variables)
    return "".join([*settings, OPEN, *(f"{question.rstrip()};\n" for question in ALL)])


def assign(connection: duckdb.DuckDBPyConnection, **variables: object) -> None:
    """Set the variables that the questions read."""
    for name, value in variables.items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])


def rows(connection: duckdb.DuckDBPyConnection, question: str) -> list[dict[str, Any]]:
    """The rows of a question's answer, each by column name."""
    answer = connection.execute(question)
    columns = [column[0] for column in answer.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in answer.fetchall()]
