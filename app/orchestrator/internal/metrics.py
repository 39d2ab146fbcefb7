"""What Prometheus scrapes: events as counters over all workers, and what is live as gauges read from the database.

Several workers each keep their counters in files (`site.metric_files`), which a scrape adds up. Gauges come from the
database when asked, so that they are 0 again however a stream ended.

No label holds what a client chooses: methods, endpoints, statuses and reasons are those that this application knows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address

from flask import Blueprint, Flask, Response, abort, current_app, got_request_exception, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_flask_exporter import PrometheusMetrics

from ..models import Tally
from ..site import metric_files
from ..site.database import db
from ..site.events import log
from ..site.metric_files import Counter
from ..site.settings import current_settings
from ..streams import health, sessions

blueprint = Blueprint("metrics", __name__)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
TALLIES = {  # what is counted in the database by processes that nobody scrapes
    "worker_rounds": "Rounds of the worker that failed as a whole.",
    "worker_streams": "Streams that the worker could not measure in a round.",
}


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
            for problem in health.problems_of(session.health):
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
    host = health.host()
    if host is None:
        return
    for name, meaning, value in (
        ("host_encode_more", "Further streams that this host can encode.", host.encode_more),
        ("host_carry_more", "Further streams that this host can carry as they are.", host.carry_more),
        ("supervisor_failures", "Rounds of the supervisor, or streams in one, that failed.", host.failures),
    ):
        if value is not None:
            yield GaugeMetricFamily(name, meaning, value=value)


def configure(app: Flask) -> None:
    """Measure all requests of *app*."""
    requests = CollectorRegistry()
    app.extensions["streamkeep_requests"] = requests
    exporter = PrometheusMetrics(app, path=None, export_defaults=False, registry=requests)
    exporter.info("flask_exporter_info", "Information about the Prometheus Flask exporter", version=exporter.version)
    failures = Counter(
        "flask_http_request_exceptions",
        "HTTP requests that ended in an exception.",
        ["method", "status"],
        registry=requests,
    )

    def count_failure(_app: Flask, **_options: object) -> None:
        """Count a request that ended in an exception."""
        failures.labels(_method(), "500").inc()

    got_request_exception.connect(count_failure, app, weak=False)
    # The exporter's own defaults have the method as the client wrote it.
    duration = exporter.histogram(
        "flask_http_request_duration_seconds",
        "Flask HTTP request duration in seconds",
        labels={"method": _method, "endpoint": _endpoint, "status": _answer},
        buckets=(0.01, 0.05, 0.1, 0.5, 1, 5),
    )
    total = exporter.counter(
        "flask_http_request_total", "Total number of HTTP requests", labels={"method": _method, "status": _answer}
    )
    app.full_dispatch_request = total(duration(app.full_dispatch_request))  # type: ignore[method-assign]  # every request comes by here, also those without a view
    app.register_blueprint(blueprint)


def _method() -> str:
    """Return the request's method, or "other" for one that somebody made up."""
    return request.method if request.method in METHODS else "other"


def _endpoint() -> str:
    """Return the name of the view that answers, or "none"."""
    return request.endpoint or "none"


def _answer(response: Response) -> int:
    """Return the status of the answer."""
    return response.status_code


@blueprint.get("/metrics")
def metrics() -> Response:
    """Answer a scrape, from the networks that may; for everybody else there is nothing here."""
    settings = current_settings()
    try:
        peer = ip_address(request.environ["streamkeep.peer"])
    except ValueError:
        abort(404)
    # The proxy is in these networks as well, and what it asks comes from the outside.
    if str(peer) == settings.trusted_proxy or not any(peer in network for network in settings.metrics_peers):
        abort(404)
    gauges = CollectorRegistry()
    gauges.register(Live())
    return Response(_counted() + generate_latest(gauges), content_type=CONTENT_TYPE_LATEST)


def _counted() -> bytes:
    """Return the counters of all workers, or of this process where it is the only one."""
    if metric_files.FOLDER not in os.environ:
        return generate_latest(REGISTRY) + generate_latest(current_app.extensions["streamkeep_requests"])
    everybody = CollectorRegistry()
    try:
        MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]  # prometheus_client types it not
        return generate_latest(everybody)
    except Exception:  # whatever is wrong with the files, what is live can be told
        log.exception("metrics")
        return b""
