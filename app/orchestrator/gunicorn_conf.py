"""How gunicorn serves the orchestrator: https://docs.gunicorn.org/en/stable/settings.html."""

from __future__ import annotations

from typing import Any

from .site import metric_files

bind = "0.0.0.0:8000"  # the container's own networks; nothing of it is published
workers = 2
worker_class = "gthread"
threads = 16  # a publisher holds one for a moment (streams.media_control), while its packager needs another
worker_tmp_dir = "/dev/shm"  # noqa: S108  # the heartbeat must not wait for a disk
timeout = 30
graceful_timeout = 10
keepalive = 65  # seconds; longer than the proxy's, so that it never writes into a closing connection
limit_request_line = 4094
limit_request_fields = 50
forwarded_allow_ips = ""
control_socket_disable = True
wsgi_app = "orchestrator:create_app()"
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "orchestrator.site.events.JsonLines"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}},
    "root": {"level": "WARNING", "handlers": ["out"]},  # alembic would tell of each look at the tables
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["out"], "propagate": False}},
}


def pre_fork(server: Any, worker: Any) -> None:
    """Give *worker* the lowest place that no other has: where it counts, and whoever comes after it goes on."""
    taken = {other.place for other in server.WORKERS.values()}
    worker.place = next(place for place in range(len(taken) + 1) if place not in taken)


def post_fork(_server: Any, worker: Any) -> None:
    """Let *worker* count in its place."""
    metric_files.take(worker.place)
