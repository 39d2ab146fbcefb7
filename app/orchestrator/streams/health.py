"""How streams are, as the supervisor finds and reports it: judged where it enters, kept with the session.

What cannot be played is told at once, and its publisher sent away after GRACE, unless that ends before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from ..models import Health, Host, Session
from ..site.clock import now
from ..site.database import db
from ..site.events import note
from ..site.metric_files import Counter
from . import sessions
from .problems import KINDS, SEVERITIES, Problem, described

GRACE = timedelta(seconds=20)
FRESH = timedelta(seconds=10)  # the supervisor reports each 2 s; what it has not said for so long is not true any more
LONGEST_TEXT = 40  # characters
LONGEST_LIST = 10
MOST_PROBLEMS = 16  # a stream
MOST = 10**9  # of whatever is counted

dropped = Counter("stream_problems_dropped", "Problems that the supervisor reported and this version can't understand.")

Judge = Callable[[Any], Any]


def number(low: float, high: float) -> Judge:
    """Return what makes a number between *low* and *high* of what came, or None where it is no finite one."""

    def judge(value: Any) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or (isinstance(value, float) and _odd(value)):
            return None
        return round(float(min(max(value, low), high)), 3)

    return judge


def _odd(value: float) -> bool:
    """Tell whether *value* is endless or no number at all."""
    return not math.isfinite(value)


def whole(high: int) -> Judge:
    """Return what makes a whole number from 0 to *high* of what came, or None."""
    judge = number(0, high)
    return lambda value: None if (found := judge(value)) is None else int(found)


def text(value: Any) -> str | None:
    """Return *value* as a short text without control characters, or None where it is none."""
    if not isinstance(value, str):
        return None
    return "".join(c for c in value[:LONGEST_TEXT] if c.isprintable()) or None


def flag(value: Any) -> bool | None:
    """Return *value* where it is true or false, else None."""
    return value if isinstance(value, bool) else None


def texts(value: Any) -> list[str] | None:
    """Return the short texts in the list *value*, or None where there are none."""
    found = [text(one) for one in value[:LONGEST_LIST]] if isinstance(value, list) else []
    return [one for one in found if one] or None


def _fields(value: Any, judges: dict[str, Judge]) -> dict[str, Any]:
    """Return those fields of *value* that *judges* know and find something in."""
    if not isinstance(value, dict):
        return {}
    found = {name: judge(value.get(name)) for name, judge in judges.items()}
    return {name: one for name, one in found.items() if one is not None}


RENDITION = {"name": text, "kbps": whole(10_000_000), "width": whole(65_535), "height": whole(65_535)}


def _renditions(value: Any) -> list[dict[str, Any]] | None:
    """Return the renditions in the list *value*, each with a name, or None where there are none."""
    found = [_fields(one, RENDITION) for one in value[:LONGEST_LIST]] if isinstance(value, list) else []
    return [one for one in found if "name" in one] or None


DAY = 86_400.0
FACTS: dict[str, Judge] = {
    "video_codec": text,
    "profile": text,
    "pixel_format": text,
    "width": whole(65_535),
    "height": whole(65_535),
    "frame_rate": number(0, 1000),
    "keyframe_seconds": number(0, DAY),
    "bitrate_kbps": whole(10_000_000),
    "audio_codec": text,
    "sample_rate": whole(10_000_000),
    "channels": whole(255),
    "audio_offset_seconds": number(-DAY, DAY),
    "jumps": whole(MOST),
    "last_data_seconds": number(0, DAY),
    "behind_seconds": number(0, DAY),
    "segments": whole(MOST),
    "renditions": _renditions,
    "playing": flag,
}
CAPACITY = {name: whole(100_000) for name in ("encode_more", "carry_more", "load_percent", "failures")}


def _seconds(value: Any) -> float | None:
    """Return how many seconds *value* is, forward or back, to a tenth; None where it is no number."""
    found = number(-1e6, 1e6)(value)
    return None if found is None else round(abs(found), 1)


def _named(value: Any) -> str:
    """Return the name *value*; what can't be named is a problem all the same."""
    return text(value) or "of an unknown kind"


VALUES: dict[str, Judge] = {
    "seconds": _seconds,
    "count": whole(MOST),
    "channels": whole(255),
    "width": whole(65_535),
    "height": whole(65_535),
    "codec": lambda value: text(value) or "An unknown codec",
    "format": _named,
    "names": lambda value: ", ".join(texts(value) or ["some renditions"]),
}


def _problem(said: Any) -> tuple[str, dict[str, Any]] | None:
    """Return (code, values) of a problem as it was *said*; None where this version does not know it."""
    code = said.get("code") if isinstance(said, dict) else None
    kind = KINDS.get(code) if isinstance(code, str) else None
    if kind is None:
        return None
    values = {name: VALUES[name](said.get(name)) for name in kind.values}
    return None if None in values.values() else (str(code), values)


def _problems(said: Any, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the problems that were *said*, one of a code, each since when it has been there without a break."""
    since = {problem["code"]: problem["since"] for problem in before}
    moment = now().isoformat(timespec="seconds")
    found: dict[str, dict[str, Any]] = {}
    for one in said[:MOST_PROBLEMS] if isinstance(said, list) else []:
        problem = _problem(one)
        if problem is None:
            dropped.inc()
            continue
        code, values = problem
        found[code] = {"code": code, "values": values, "since": since.get(code, moment)}
    return list(found.values())


def take(live: Sequence[Session], reports: list[Any], host: Any) -> None:
    """Take what the supervisor says of the sessions that are *live*, and of the *host*.

    Reports on other sessions are passed over: they ended while it was speaking. A change of problems is logged once.
    """
    said = {one["session"]: one for one in reports if isinstance(one, dict) and isinstance(one.get("session"), str)}
    for session in live:
        if session.id in said:
            _take_one(session, said[session.id])
    if isinstance(host, dict):
        db.session.merge(Host(id=1, at=now(), **{name: judge(host.get(name)) for name, judge in CAPACITY.items()}))
    db.session.commit()


def _take_one(session: Session, report: dict[str, Any]) -> None:
    """Keep the *report* on *session*, and send away who has sent what can't be played for GRACE."""
    health = session.health = session.health or Health(session_id=session.id, facts={}, problems=[])
    before = {problem["code"] for problem in health.problems}
    health.at = now()
    health.facts = _fields(report.get("facts"), FACTS)
    health.problems = _problems(report.get("problems"), health.problems)
    session.silent_seconds = health.facts.get("last_data_seconds", session.silent_seconds)
    codes = {problem["code"] for problem in health.problems}
    if codes != before:
        slug = session.stream_key.slug
        note("health", "changed", session.address, slug=slug, session=session.id, problems=sorted(codes))
    if not any(KINDS[code].severity == "unplayable" for code in codes):
        health.leaves_at = None
    elif health.leaves_at is None:
        health.leaves_at = now() + GRACE
    elif health.leaves_at <= now() and not session.ending:
        sessions.send_away(session, "unplayable", sessions.HOLD)


def facts(session: Session) -> dict[str, Any]:
    """Return what is known of the stream of *session* at this moment; nothing where nobody said so lately."""
    fresh = session.health is not None and session.health.at >= now() - FRESH
    return session.health.facts if session.health is not None and fresh else {}


def measured(session: Session) -> dict[str, Any]:
    """Return the columns of *session* that are known from its stream itself: its publisher may say something else."""
    known = facts(session)
    found: dict[str, Any] = {
        name: known[name] for name in ("width", "height", "frame_rate", "bitrate_kbps") if name in known
    }
    if "video_codec" in known:
        found["video_codec"] = f"{known['video_codec']} {known.get('profile', '')}".strip()[:32]
    if "audio_codec" in known:
        found["audio_codec"] = known["audio_codec"][:32]
    return found


def problems_of(health: Health | None) -> list[Problem]:
    """Return the problems in *health* as people are told them, the worst first.

    A code that this version does not know is left out.
    """
    found = [described(problem) for problem in health.problems if problem["code"] in KINDS] if health else []
    return sorted(found, key=lambda problem: SEVERITIES.index(problem.severity), reverse=True)


def host() -> Host | None:
    """Return what the supervisor said of the machine, if it did lately."""
    found = db.session.get(Host, 1)
    return found if found is not None and found.at >= now() - FRESH else None
