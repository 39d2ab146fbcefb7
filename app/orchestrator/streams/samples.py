"""What was measured of live streams, kept ever coarser with age, so that a month costs no more to show than an hour.

for the last    one sample stands for    rows
hour            10 s                     360
day             5 min                    276
week            1 h                      144
for good        6 h                      4 a day
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

from sqlalchemy import delete, select, update

from ..models import Sample, Session
from ..site.clock import now
from ..site.database import db

MOST = 1000  # how many of a session anybody is shown
KEPT = timedelta(hours=1)  # after the stream's end
BATCH = 1000  # rows that one round merges at most: those who publish wait for the lock meanwhile
UNSEEN = {"synchronize_session": False}  # nobody holds the rows that go


class Step(NamedTuple):
    """What is older than *age* and stands for *fine* seconds is merged to stand for *coarse* seconds."""

    age: timedelta
    fine: int
    coarse: int


STEPS = (
    Step(timedelta(hours=1), 10, 300),
    Step(timedelta(days=1), 300, 3600),
    Step(timedelta(days=7), 3600, 21_600),
)


def newest(session: Session, most: int = MOST) -> list[Sample]:
    """Return the newest samples of *session*, *most* of them at most, oldest first."""
    query = select(Sample).where(Sample.session_id == session.id).order_by(Sample.at.desc()).limit(most)
    return list(db.session.scalars(query))[::-1]


def thin() -> int:
    """Merge what has become old of the live streams, BATCH rows at most, and return how many rows it looked at."""
    looked_at = 0
    for session_id in db.session.scalars(select(Session.id).where(Session.ended_at.is_(None))).all():
        for step in STEPS:
            looked_at += _merge(session_id, step, BATCH - looked_at)
    db.session.commit()
    return looked_at


def _begin(moment: datetime, seconds: int) -> datetime:
    """Return when the stretch of *seconds* (a part of a day, which begins at 0:00 UTC) began that holds *moment*."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (moment - midnight) // timedelta(seconds=seconds) * timedelta(seconds=seconds)


def _merge(session_id: str, step: Step, most: int) -> int:
    """Merge what *step* says of a session's samples, *most* rows at most, whole stretches; return how many it read."""
    edge = _begin(now() - step.age, step.coarse)
    old = (Sample.session_id == session_id, Sample.seconds == step.fine, Sample.at < edge)
    query = select(Sample.id, Sample.at, Sample.bitrate_kbps, Sample.viewers).where(*old).order_by(Sample.at)
    rows = db.session.execute(query.limit(most)).all()
    stretches = [(begin, list(rows)) for begin, rows in groupby(rows, lambda row: _begin(row.at, step.coarse))]
    if len(rows) == most and (most < BATCH or len(stretches) > 1):
        stretches = stretches[:-1]  # its other rows come with the next round
    merged = [
        {
            "id": stretch[0].id,
            "at": begin,
            "seconds": step.coarse,
            "bitrate_kbps": round(fmean(row.bitrate_kbps for row in stretch)),
            "viewers": round(fmean(row.viewers for row in stretch)),
        }
        for begin, stretch in stretches
    ]
    if merged:
        db.session.execute(update(Sample), merged)
        others = [row.id for _, stretch in stretches for row in stretch[1:]]
        db.session.execute(delete(Sample).where(Sample.id.in_(others)), execution_options=UNSEEN)
    return len(rows)


def forget() -> None:
    """Forget the samples of streams that ended KEPT ago; only sessions that still have some are looked at."""
    measured = select(Sample.session_id).distinct()
    over = select(Session.id).where(Session.id.in_(measured), Session.ended_at < now() - KEPT)
    db.session.execute(delete(Sample).where(Sample.session_id.in_(over)))
    db.session.commit()
