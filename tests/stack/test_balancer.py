"""The load balancing tier while one of its gateways is away: the other goes on, and nothing is lost or sent twice."""

from collections import Counter

from collectors import Collector, running
from otlp import Backend, send, span, traces, until
from tables import show


def test_a_gateway_that_is_away_holds_up_no_other(tmp_path):
    gateways, rest = [Backend(), Backend()], Backend()
    resolver = f"static: {{hostnames: [{', '.join(each.grpc for each in gateways)}]}}"
    to = {"PROMETHEUS_OTLP_ENDPOINT": rest.http, "LOKI_OTLP_ENDPOINT": rest.http}
    sent, rows = set(), []

    def load():
        for _ in range(20):
            spans = [span("GET /orders") for _ in range(50)]
            send(balancer.endpoint, traces({"orders": spans}))
            sent.update(each.span_id for each in spans)

    def arrived():
        return Counter(each.proto.span_id for gateway in gateways for each in gateway.spans)

    def note(moment):
        counts = arrived()
        rows.append((moment, len(sent), *(len(each.spans) for each in gateways), counts.total() - len(counts)))

    with running(Collector("gateway-lb.yaml", folder=tmp_path, SAMPLING_RESOLVER=resolver, **to)) as (balancer,):
        load()
        until(lambda: arrived().keys() == sent, 20)
        note("both run")
        first, second = gateways
        before = len(second.spans)
        first.close()
        load()
        until(lambda: len(second.spans) > 1.5 * before, 20)
        note("the first is away")
        first.open()
        until(lambda: arrived().keys() == sent, 40)
        note("both run again")
    for each in (*gateways, rest):
        each.close()
    show("Load balancing", ("when", "sent", "at the first", "at the second", "twice"), rows)
    assert rows[1][3] > 1.5 * before
    assert arrived().keys() == sent
    assert arrived().total() == len(sent)
