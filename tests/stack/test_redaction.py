"""The second line of defence: secrets of services that do not redact do not get past the first Collector behind the agents."""

import pytest
from collectors import Collector, running
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValueList
from otlp import Backend, attributes, send, span, traces, until
from tables import show

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJlLW9mLWFubg"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\nq2hT\n-----END RSA PRIVATE KEY-----"
#: Where a secret stands -> (attribute or text, what must not arrive).
SECRETS = {
    "a name": ("user.password", "hunter2-plain", "hunter2-plain"),
    "a name with a dash": ("http.request.header.set-cookie", "sid=9f8e7d6c", "9f8e7d6c"),
    "a name in a list": ("http.request.header.authorization", ["Digest 0a1b2c3d"], "0a1b2c3d"),
    "query string": ("url.full", "https://shop/pay?page=2&token=qs-7711&x=1", "qs-7711"),
    "signature in a query": ("url.query", "a=1&sig=c2lnbmVk77", "c2lnbmVk77"),
    "user of a URL": ("db.url", "postgres://ann:pa55w0rd@db:5432/shop", "pa55w0rd"),
    "bearer": ("http.note", "sent Bearer abcdef.123456", "abcdef.123456"),
    "JSON web token": ("note", f"the caller had {JWT}", JWT),
    "JSON": ("request.body", '{"user": "ann", "api_key": "k-99887766"}', "k-99887766"),
    "AWS access key": ("aws.note", "AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
    "GitHub token": ("git.note", "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_abcdefghij"),
    "Stripe key": ("stripe.note", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqLyjWDarj"),
    "temporary AWS key": ("aws.other", "with ASIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"),
    "GitLab token": ("gitlab.note", "glpat-abcDEF123456_ghiJKL78", "abcDEF123456"),
    "Slack token": ("slack.note", "xoxb-" + "1234567890-abcdef", "1234567890-abcdef"),
    "Google key": ("google.note", "AIza" + "SyA1234567890abcdefghijklmnopqrstuv", "SyA1234567890"),
    "OpenAI key": ("ai.note", "sk-proj-" + "abcdefghijklmnop_qrst", "abcdefghijklmnop_"),
    "private key": ("ssh.note", PEM, "MIIEpAIBAAKCAQEA7"),
    "Visa": ("card", "4111 1111 1111 1111", "1111 1111 1111"),
    "Visa, a number": ("card.used", 4111111111111111, "4111111111111111"),
    "Mastercard": ("pay.note", "charged 5555555555554444 twice", "5555555555554444"),
    "American Express": ("pay.other", "3782-822463-10005", "822463-10005"),
    "e-mail": ("note.contact", "ask ann.smith+1@shop.example.co.uk", "ann.smith"),
}
#: What looks a little like a secret and is none.
HARMLESS = {
    "usage.input_tokens": 512,
    "secretary": "Ann",
    "idempotency_key": "7f9c2ba4e88f827d616045507605853e",
    "order.id": "9007199254740993",
    "time_unix_nano": 1795605799448890019,
    "token_count": 3,
    "http.request.header.user-agent": "curl/8.5.0 (+https://curl.se/)",
    "url.path": "/orders/4711/tokens",
    "client.address": "203.0.113.7",
    "exception.message": "password is missing",
    "disk.note": "disk-usage-percentage-total-of-volume",
    "cache.key": "user:42:basket",
}


@pytest.fixture(scope="module", params=["gateway.yaml", "gateway-lb.yaml"])
def arrived(request, tmp_path_factory):
    """Everything that has come out of the first Collector behind the agents, as bytes and as objects."""
    backend = Backend()
    first = Collector(
        request.param,
        folder=tmp_path_factory.mktemp("redaction"),
        JAEGER_ENDPOINT=backend.grpc,
        PROMETHEUS_OTLP_ENDPOINT=backend.http,
        LOKI_OTLP_ENDPOINT=backend.http,
        SAMPLING_RESOLVER=f"static: {{hostnames: [{backend.grpc}]}}",
        SAMPLE_PERCENT=100,
        DECISION_WAIT="1s",
    )
    with running(first):
        for export in (_spans(), _records(), _points()):
            send(first.endpoint, export)
        until(lambda: backend.spans and backend.records and _pushed(backend), 20)
    backend.close()
    return backend


def _pushed(backend):
    return [each for each in backend.points if each.name == "basket.size"]


def _spans():
    values = {name: value for name, value, _ in SECRETS.values()} | HARMLESS
    each = span("GET /pay", message="refused: password=st4tus-secret for ann")
    each.attributes.extend(attributes(values))
    event = each.events.add(name="exception", time_unix_nano=each.end_time_unix_nano)
    event.attributes.extend(attributes({"exception.message": "no row for ann@event.example, token=ev-5566"}))
    return traces({"pay": [each]}, **{"db.password": "res-0ur5e", "team": "shop"})


def _records():
    export = ExportLogsServiceRequest()
    of = export.resource_logs.add()
    of.resource.attributes.extend(attributes({"service.name": "pay"}))
    records = of.scope_logs.add().log_records
    for name, value, _ in SECRETS.values():
        records.add(body=AnyValue(string_value=f"{name}={value}"))
    records.add(body=AnyValue(kvlist_value=KeyValueList(values=attributes({"user": "ann", "password": "b0dy-map"}))))
    records.add(attributes=attributes({name: value for name, value, _ in SECRETS.values()}))
    records.add(body=AnyValue(string_value="4711 orders for user 42 in 0.3 s"), attributes=attributes(HARMLESS))
    return export


def _points():
    export = ExportMetricsServiceRequest()
    of = export.resource_metrics.add()
    of.resource.attributes.extend(attributes({"service.name": "pay"}))
    point = of.scope_metrics.add().metrics.add(name="basket.size").gauge.data_points.add(as_int=3, time_unix_nano=1)
    point.attributes.extend(attributes({"user": "metric-ann@shop.example", "tier": "gold"}))
    return export


def test_no_secret_arrives(arrived):
    rows, text = [], b"".join(each.SerializeToString() for each in arrived._requests).decode(errors="replace")
    more = {
        "status message": "st4tus-secret",
        "event": "ev-5566",
        "e-mail in an event": "ann@event.example",
        "resource": "res-0ur5e",
        "map as body": "b0dy-map",
        "metric": "metric-ann",
    }
    hidden = {place: secret for place, (_, _, secret) in SECRETS.items()} | more
    for place, secret in hidden.items():
        rows.append((place, secret, "arrived" if secret in text else "gone"))
    show("Secrets", ("where", "what", "behind the Collector"), rows)
    assert [row for row in rows if row[2] != "gone"] == []


def test_what_is_no_secret_stays(arrived):
    (each,) = arrived.spans
    assert {name: each.attributes.get(name) for name in HARMLESS} == HARMLESS
    assert each.resource["team"] == "shop"
    record = arrived.records[-1]
    assert record.proto.body.string_value == "4711 orders for user 42 in 0.3 s"
    assert {name: record.attributes.get(name) for name in HARMLESS} == HARMLESS
    assert _pushed(arrived)[0].attributes["tier"] == "gold"


def test_the_rest_of_a_text_stays(arrived):
    (each,) = arrived.spans
    assert each.attributes["url.full"] == "https://shop/pay?page=2&****&x=1"
    assert each.attributes["pay.note"] == "charged **** twice"


def test_a_span_says_where_a_service_leaks(arrived):
    (each,) = arrived.spans
    assert set(each.attributes["redaction.masked.keys"].split(",")) == {name for name, _, _ in SECRETS.values()}
