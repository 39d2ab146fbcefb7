"""How pages show what they know: times, rates, durations, curves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ..models import Health, Session, StreamKey
from ..permissions import is_private, is_public
from ..site.clock import now
from ..streams import health as stream_health
from ..streams.problems import Problem
from .blueprint import blueprint

WIDTH, HEIGHT = 240, 48  # of a curve's own coordinates
POINTS = 120
PREVIEW_SECONDS = 10  # how often a new preview is asked for


blueprint.add_app_template_test(is_private, "private")
blueprint.add_app_template_test(is_public, "public")


def media_path(key: StreamKey, file: str) -> str:
    """Return the address of *file* of the stream of *key*."""
    folder = "private" if is_private(key) else "hls"
    return f"/{folder}/{key.slug}/{file}"


@blueprint.app_template_global()
def preview(key: StreamKey) -> str:
    """Return the address of the stream's newest picture; it changes with time, so that no cache keeps an old one."""
    return f"{media_path(key, 'thumbnail.jpg')}?{int(now().timestamp()) // PREVIEW_SECONDS}"


@blueprint.app_template_filter()
def moment(value: datetime) -> str:
    """Return *value* for people."""
    return value.strftime("%-d %b %Y, %H:%M UTC")


@blueprint.app_template_filter()
def clock_time(value: datetime) -> str:
    """Return *value* for people to the second, with its day where that is not today."""
    day = "" if value.date() == now().date() else value.strftime("%-d %b %Y, ")
    return f"{day}{value:%H:%M:%S} UTC"


@blueprint.app_template_filter()
def machine(value: datetime) -> str:
    """Return *value* for the datetime attribute."""
    return f"{value.isoformat(timespec='seconds')}Z"


@blueprint.app_template_filter()
def span(value: timedelta) -> str:
    """Return *value* as the two largest of its units."""
    seconds = max(0, int(value.total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


@blueprint.app_template_filter()
def problems(health: Health | None) -> list[Problem]:
    """Return what is wrong with a stream, the worst first; nothing where nobody has looked at it yet."""
    return stream_health.problems_of(health)


@blueprint.app_template_filter()
def uptime(session: Session) -> str:
    """Return how long *session* runs, or ran."""
    return span((session.ended_at or now()) - session.started_at)


@blueprint.app_template_filter()
def rate(kbps: int) -> str:
    """Return *kbps* for people; nothing measured is a dash."""
    if not kbps:
        return "–"  # noqa: RUF001  # a dash is meant
    return f"{kbps / 1000:.1f} Mbit/s" if kbps >= 1000 else f"{kbps} kbit/s"


def curve(values: Sequence[int]) -> str:
    """Return *values* as the points of an SVG polyline; the scale begins at 0."""
    values = values[-POINTS:]
    if len(values) < 2:
        return ""
    top = max(*values, 1)
    step = WIDTH / (len(values) - 1)
    return " ".join(f"{i * step:.1f},{HEIGHT - 2 - (HEIGHT - 4) * v / top:.1f}" for i, v in enumerate(values))
