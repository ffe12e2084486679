-- Wide events in ClickHouse, 25 or later: one row a span, one row a log record, written by clickhouse.yaml.
-- The columns that the exporter inserts keep its names and types; the others are computed here from those.
-- On a cluster: ReplicatedMergeTree, and ON CLUSTER after each name.

CREATE DATABASE IF NOT EXISTS otel;

-- A day is a partition: the old ones are dropped as a whole. Rows lie as they are asked for: a service, an operation, a time.
CREATE TABLE IF NOT EXISTS otel.otel_traces
(
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes JSON(
        `service.namespace` LowCardinality(String),
        `deployment.environment.name` LowCardinality(String),
        max_dynamic_paths = 128
    ) CODEC(ZSTD(1)),
    ResourceAttributesKeys Array(LowCardinality(String)) CODEC(ZSTD(1)),
    ScopeName LowCardinality(String) CODEC(ZSTD(1)),
    ScopeVersion LowCardinality(String) CODEC(ZSTD(1)),
    -- What most questions ask for has a type; each other attribute has a column of its own all the same, up to the limit.
    SpanAttributes JSON(
        `http.route` LowCardinality(String),
        `http.request.method` LowCardinality(String),
        `http.response.status_code` UInt16,
        `error.type` LowCardinality(String),
        `outcome` LowCardinality(String),
        `sample_rate` Float64,
        max_dynamic_paths = 512
    ) CODEC(ZSTD(1)),
    SpanAttributesKeys Array(LowCardinality(String)) CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)), -- nanoseconds
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested
    (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes JSON(max_dynamic_paths = 32)
    ) CODEC(ZSTD(1)),
    Links Nested
    (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes JSON(max_dynamic_paths = 8)
    ) CODEC(ZSTD(1)),

    -- How many spans this one stands for after sampling: sum it instead of counting rows.
    SampleRate Float64 DEFAULT greatest(SpanAttributes.sample_rate, 1) CODEC(ZSTD(1)),
    Namespace LowCardinality(String) DEFAULT ResourceAttributes.service.namespace CODEC(ZSTD(1)),
    Environment LowCardinality(String) DEFAULT ResourceAttributes.deployment.environment.name CODEC(ZSTD(1)),
    Route LowCardinality(String) DEFAULT SpanAttributes.http.route CODEC(ZSTD(1)),
    Status UInt16 DEFAULT SpanAttributes.http.response.status_code CODEC(ZSTD(1)),

    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_res_attr_keys ResourceAttributesKeys TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_keys SpanAttributesKeys TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp), Timestamp)
TTL toDateTime(Timestamp) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS otel.otel_logs
(
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    TraceFlags UInt8,
    SeverityText LowCardinality(String) CODEC(ZSTD(1)),
    SeverityNumber UInt8,
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    Body String CODEC(ZSTD(1)),
    ResourceSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes JSON(
        `service.namespace` LowCardinality(String),
        `deployment.environment.name` LowCardinality(String),
        max_dynamic_paths = 128
    ) CODEC(ZSTD(1)),
    ResourceAttributesKeys Array(LowCardinality(String)) CODEC(ZSTD(1)),
    ScopeSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ScopeName LowCardinality(String) CODEC(ZSTD(1)),
    ScopeVersion LowCardinality(String) CODEC(ZSTD(1)),
    ScopeAttributes JSON(max_dynamic_paths = 8) CODEC(ZSTD(1)),
    ScopeAttributesKeys Array(LowCardinality(String)) CODEC(ZSTD(1)),
    LogAttributes JSON(
        `http.route` LowCardinality(String),
        `http.response.status_code` UInt16,
        `outcome` LowCardinality(String),
        `sample_rate` Float64,
        max_dynamic_paths = 512
    ) CODEC(ZSTD(1)),
    LogAttributesKeys Array(LowCardinality(String)) CODEC(ZSTD(1)),
    EventName LowCardinality(String) CODEC(ZSTD(1)),

    SampleRate Float64 DEFAULT greatest(LogAttributes.sample_rate, 1) CODEC(ZSTD(1)),
    Namespace LowCardinality(String) DEFAULT ResourceAttributes.service.namespace CODEC(ZSTD(1)),
    Environment LowCardinality(String) DEFAULT ResourceAttributes.deployment.environment.name CODEC(ZSTD(1)),

    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_log_attr_keys LogAttributesKeys TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_body Body TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 8
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, toStartOfFiveMinutes(Timestamp), Timestamp)
TTL toDateTime(Timestamp) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;
