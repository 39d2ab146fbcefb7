"""What is kept of a stream's history, what it looks like, and that showing it costs the same after a month."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any

import pytest
from api_clients import Person
from browsers import Browser
from flask import Flask
from orchestrator import worker
from orchestrator.models import Sample, Session
from orchestrator.pages.formatting import POINTS
from orchestrator.people import accounts, logins
from orchestrator.site.clock import now
from orchestrator.site.database import db
from orchestrator.streams import keys, samples, sessions
from sqlalchemy import event, func, insert, select

Call = Callable[..., int]
FINE = 10  # seconds


def live(slug: str, owner: str) -> Session:
    """Return the session of a stream of *owner* that is live and has not been measured yet."""
    key = keys.create(slug, owner=accounts.known(owner))[0]
    heard = now() + timedelta(days=1)  # however long the test takes
    session = Session(stream_key_id=key.id, client_id=slug, address="198.51.100.7", updated_at=heard)
    db.session.add(session)
    db.session.commit()
    return session


def wave(moment: datetime) -> int:
    """Return a bitrate (kbit/s) that goes up and down within two days."""
    return round(3000 + 2000 * math.sin(moment.timestamp() / 86_400 * math.pi))


def measured(session: Session, lasting: timedelta, until: timedelta = timedelta(), every: int = FINE) -> None:
    """Let *session* be measured each *every* seconds, from *lasting* ago to *until* ago."""
    moment = now().replace(microsecond=0)
    ages = range(int(lasting.total_seconds()), int(until.total_seconds()), -every)
    marks = [moment - timedelta(seconds=age) for age in ages]
    rows = [
        {"session_id": session.id, "at": at, "seconds": every, "bitrate_kbps": wave(at), "viewers": 7} for at in marks
    ]
    db.session.execute(insert(Sample), rows)
    db.session.commit()


def kept(session: Session) -> list[Sample]:
    """Return all samples of *session*."""
    return list(db.session.scalars(select(Sample).where(Sample.session_id == session.id).order_by(Sample.at)))


def thinned() -> int:
    """Go round until nothing is left to merge, and return how many rounds that took."""
    for number in range(1, 500):
        db.session.expire_all()
        if samples.thin() == 0:
            return number
    raise AssertionError("it goes on for ever")


def test_a_month_is_kept_in_hundreds_of_rows_of_the_same_shape(streamer: Person) -> None:
    session = live("alice", streamer.name)
    day = timedelta(hours=26)
    measured(session, timedelta(days=30), until=day, every=300)
    measured(session, day)
    assert len(kept(session)) > 17_000
    thinned()
    rows = kept(session)
    assert len(rows) < samples.MOST
    assert {row.seconds for row in rows} == {10, 300, 3600, 21_600}
    for newer, older in zip(rows[1:], rows, strict=False):
        assert newer.at >= older.at + timedelta(seconds=older.seconds), "no moment is told twice"
        assert newer.seconds <= older.seconds
    for row in rows[1:]:  # the first stretch began before the stream
        middle = row.at + timedelta(seconds=row.seconds / 2)
        assert abs(row.bitrate_kbps - wave(middle)) < 400, "a stretch says what it was on average"
        assert row.viewers == 7
    last_hour = [row for row in rows if row.at > now() - timedelta(minutes=59)]
    assert {row.seconds for row in last_hour} == {FINE}
    assert samples.thin() == 0


def test_an_average_is_one_of_all_that_is_merged(streamer: Person) -> None:
    session = live("alice", streamer.name)
    begin = (now() - timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
    for number in range(30):
        at = begin + timedelta(seconds=number * FINE)
        db.session.add(Sample(session_id=session.id, at=at, bitrate_kbps=number * 100, viewers=number))
    db.session.commit()
    samples.thin()
    (row,) = kept(session)
    assert (row.at, row.seconds) == (begin, 300)
    assert (row.bitrate_kbps, row.viewers) == (round(fmean(range(0, 3000, 100))), round(fmean(range(30))))


def test_a_round_does_a_bounded_part_and_the_next_goes_on(streamer: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "BATCH", 100)
    session, other = live("alice", streamer.name), live("other", streamer.name)
    for each in (session, other):
        measured(each, timedelta(hours=3))
    before = len(kept(session)) + len(kept(other))
    assert samples.thin() <= 100
    assert before - 100 < len(kept(session)) + len(kept(other)) < before
    thinned()
    for each in (session, other):
        rows = kept(each)
        assert len(rows) <= 425
        old = [row.at for row in rows if row.seconds == 300]
        assert len(old) == len(set(old)), "a stretch is merged as a whole"


def test_what_is_young_or_over_is_not_merged(streamer: Person) -> None:
    young, over = live("young", streamer.name), live("over", streamer.name)
    measured(young, timedelta(minutes=59))
    measured(over, timedelta(hours=3))
    over.ended_at = now()
    db.session.commit()
    before = len(kept(young)), len(kept(over))
    worker.tidy()
    assert (len(kept(young)), len(kept(over))) == before


def steps(look: Callable[[], Any]) -> int:
    """Return how many steps SQLite takes for *look* (https://www.sqlite.org/c3ref/progress_handler.html), in tens."""
    count = [0]

    def step() -> None:
        count[0] += 1

    def counted(driver: Any, *_: Any) -> None:
        driver.set_progress_handler(step, 10)

    db.session.remove()
    db.engine.dispose()
    event.listen(db.engine, "connect", counted)
    look()
    event.remove(db.engine, "connect", counted)
    db.session.remove()
    db.engine.dispose()
    return count[0]


@pytest.mark.parametrize("thin", [False, True], ids=["as it was", "thinned"])
def test_the_dashboard_does_the_same_after_days_as_after_an_hour(
    browser: Callable[[str, str], Browser], thin: bool
) -> None:
    costs = []
    for name, lasting in (("hour", timedelta(hours=1)), ("days", timedelta(days=2))):
        owner = browser(f"{name}-owner", "streamer")
        measured(live(name, owner.name), lasting)
        if thin:
            thinned()
        pages: list[str] = []
        costs.append(steps(lambda owner=owner, pages=pages: pages.append(owner.get("/dashboard/live").text)))
        curves = re.findall(r'<polyline points="([^"]+)"', pages[0])
        assert [len(curve.split()) for curve in curves] == [POINTS, POINTS], "bitrate and viewers"
    assert costs[0] > 100, "the steps were not counted"
    assert costs[1] <= costs[0] * 1.2, costs


def test_the_api_tells_the_newest_thousand(streamer: Person) -> None:
    session = live("alice", streamer.name)
    measured(session, timedelta(hours=4))
    rows = streamer.get("/streams/alice/samples").json
    assert len(rows) == samples.MOST == 1000
    assert rows == sorted(rows, key=lambda row: row["at"])
    newest = db.session.scalar(select(func.max(Sample.at)))
    assert newest
    assert rows[-1]["at"].startswith(newest.isoformat())
    assert {row["seconds"] for row in rows} == {FINE}
    thinned()
    rows = streamer.get("/streams/alice/samples").json
    assert len(rows) <= 425
    assert [row["seconds"] for row in rows] == sorted((row["seconds"] for row in rows), reverse=True)


def test_a_review_loads_no_history(app: Flask, streamer: Person, pass_time: Callable[[float], None]) -> None:
    session = live("alice", streamer.name)
    sessions.end(session, "done")
    keys.create("unused")
    told = app.test_cli_runner().invoke(args=["streamkeep", "key", "review"]).stdout.splitlines()
    assert ["unused" in line.partition("reasons")[2] for line in told] == [False, True]


def test_an_account_with_many_logins_keeps_the_newest(app: Flask, streamer: Person) -> None:
    user = accounts.known("streamer-one")
    for _ in range(logins.MOST + 4):
        newest = logins.begin(user).id
    assert len(logins.of(user)) == logins.count(user) == logins.MOST
    assert newest in {login.id for login in logins.of(user)}
    logins.revoke_all(user)
    assert (logins.of(user), logins.count(user)) == ([], 0)
