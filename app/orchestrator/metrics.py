"""What Prometheus scrapes: events as counters over all workers, and what is live as gauges read from the database.

Several workers each keep their counters in files under PROMETHEUS_MULTIPROC_DIR, which a scrape adds up, those of dead
workers included. Gauges come from the database when asked, so that they are 0 again however a stream ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address

from flask import Blueprint, Flask, Response, abort, current_app, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_flask_exporter import PrometheusMetrics

from . import sessions, stream_health
from .database import db
from .models import Tally
from .settings import Settings
from .stream_problems import REFUSALS

blueprint = Blueprint("metrics", __name__)

REASONS = tuple(REFUSALS)
TALLIES = {  # what is counted in the database by processes that nobody scrapes
    "worker_rounds": "Rounds of the worker that failed as a whole.",
    "worker_streams": "Streams that the worker could not measure in a round.",
}

auth_attempts = Counter("auth_attempts", "Attempts to sign in.", ["status"])
streams_started = Counter("streams_started", "Streams that were admitted.")
key_refusals = Counter("stream_key_refusals", "Publishers that were refused.", ["reason"])
callback_seconds = Histogram(
    "rtmp_callback_duration_seconds",
    "How long nginx-rtmp waits for an answer.",
    ["callback"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 3),
)
# Each series is there from the start, at 0, so that its first increase is seen as one.
for _status in ("failed", "success"):
    auth_attempts.labels(_status)
for _reason in REASONS:
    key_refusals.labels(_reason)


class Live(Collector):
    """What is live at this moment; never more series than streams may be live at once."""

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield the gauges, and the counters that lie in the database."""
        live = sessions.live()
        yield GaugeMetricFamily("active_streams", "Streams that are live.", value=len(live))
        bitrate = GaugeMetricFamily("stream_bitrate_bits_per_second", "What a publisher sends.", labels=["slug"])
        viewers = GaugeMetricFamily("stream_viewers", "Players that follow a stream.", labels=["slug"])
        problems = GaugeMetricFamily("stream_problems", "What is wrong with a stream.", labels=["slug", "code"])
        for session in live:
            bitrate.add_metric([session.stream_key.slug], session.bitrate_kbps * 1000)
            viewers.add_metric([session.stream_key.slug], session.viewers)
            for problem in session.health.told if session.health else ():
                problems.add_metric([session.stream_key.slug, problem.code], 1)
        yield bitrate
        yield viewers
        yield problems
        yield from _of_host()
        for name, meaning in TALLIES.items():
            tally = db.session.get(Tally, name)
            yield CounterMetricFamily(f"{name}_failed", meaning, value=tally.count if tally else 0)


def _of_host() -> Iterator[GaugeMetricFamily]:
    """Yield what the supervisor said lately of how much more this host can take."""
    host = stream_health.host()
    if host is None:
        return
    for name, meaning, value in (
        ("host_encode_more", "Further streams that this host can encode.", host.encode_more),
        ("host_carry_more", "Further streams that this host can carry as they are.", host.carry_more),
    ):
        if value is not None:
            yield GaugeMetricFamily(name, meaning, value=value)


def configure(app: Flask) -> None:
    """Measure all requests of *app*."""
    requests = CollectorRegistry()
    app.extensions["streamkeep_requests"] = requests
    PrometheusMetrics(app, path=None, group_by="endpoint", registry=requests)
    app.register_blueprint(blueprint)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Answer a scrape, from the networks that may; for everybody else there is nothing here."""
    settings: Settings = current_app.config["STREAMKEEP"]
    try:
        peer = ip_address(request.environ["streamkeep.peer"])
    except ValueError:
        abort(404)
    # The proxy is in these networks as well, and what it asks comes from the outside.
    if str(peer) == settings.trusted_proxy or not any(peer in network for network in settings.metrics_peers):
        abort(404)
    gauges = CollectorRegistry()
    gauges.register(Live())
    text = b"".join(generate_latest(registry) for registry in (*_counters(), gauges))
    return Response(text, content_type=CONTENT_TYPE_LATEST)


def _counters() -> tuple[CollectorRegistry, ...]:
    """Return the counters of all workers, or of this process where it is the only one."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY, current_app.extensions["streamkeep_requests"]
    everybody = CollectorRegistry()
    MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]  # prometheus_client types it not
    return (everybody,)
