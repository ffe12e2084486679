-- What wide events are for: questions that nobody thought of before. After sampling, sum SampleRate instead of counting rows.
-- A field of the application is SpanAttributes.<its name>; of the log's canonical lines, LogAttributes.<its name>.

-- How slow is each route for each tier of users?
SELECT
    SpanAttributes.user.tier::String AS tier,
    Route,
    round(sum(SampleRate)) AS requests,
    quantileExactWeighted(0.99)(Duration, toUInt64(round(SampleRate))) / 1e6 AS p99_ms
FROM otel.otel_traces
WHERE SpanKind = 'Server' AND ServiceName = 'gateway' AND Timestamp > now() - INTERVAL 1 HOUR
GROUP BY tier, Route
ORDER BY tier, Route;

-- How many requests were there really, and how many failed?
SELECT
    ServiceName,
    count() AS rows,
    round(sum(SampleRate)) AS requests,
    round(sumIf(SampleRate, StatusCode = 'Error')) AS failed
FROM otel.otel_traces
WHERE SpanKind = 'Server' AND Timestamp > now() - INTERVAL 1 HOUR
GROUP BY ServiceName
ORDER BY ServiceName;

-- Which values of which fields do failures have that other requests do not?
SELECT
    key,
    SpanAttributes.^`user` AS users,
    round(sumIf(SampleRate, StatusCode = 'Error') / sum(SampleRate), 4) AS failing
FROM otel.otel_traces
ARRAY JOIN SpanAttributesKeys AS key
WHERE SpanKind = 'Server' AND Timestamp > now() - INTERVAL 1 HOUR AND startsWith(key, 'user.')
GROUP BY key, users
ORDER BY failing DESC
LIMIT 10;

-- One trace, with what was logged in it.
SELECT *
FROM
(
    SELECT Timestamp, ServiceName, SpanName AS what, Duration / 1e6 AS ms
    FROM otel.otel_traces
    WHERE TraceId = {trace_id: String}
    UNION ALL
    SELECT Timestamp, ServiceName, Body AS what, NULL AS ms
    FROM otel.otel_logs
    WHERE TraceId = {trace_id: String}
)
ORDER BY Timestamp;
