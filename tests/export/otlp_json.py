"""OTLP/JSON, read back."""

import base64

import orjson
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def parse_json(body, message=ExportTraceServiceRequest):
    """OTLP/JSON as protobuf's own mapping reads it: bytes fields in base64, which OTLP writes in hex."""

    def base64_ids(value):
        if isinstance(value, list):
            return [base64_ids(item) for item in value]
        if not isinstance(value, dict):
            return value
        ids = {"traceId", "spanId", "parentSpanId"}
        return {
            key: base64.b64encode(bytes.fromhex(item)).decode() if key in ids else base64_ids(item)
            for key, item in value.items()
        }

    return json_format.ParseDict(base64_ids(orjson.loads(body)), message())
