"""Streams, keys, the dashboard and what belongs to a stream, by page."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from browsers import Browser
from flask import Flask
from orchestrator.models import Sample, Session, StreamKey
from orchestrator.pages.formatting import curve, rate, span
from orchestrator.site.clock import now
from orchestrator.site.database import db
from orchestrator.site.settings import Settings, from_environment
from orchestrator.streams import keys, recordings, sessions

Make = Callable[[str, str], Browser]
Call = Callable[..., int]


@pytest.fixture
def ingrid(browser: Make) -> Browser:
    return browser("ingrid", "streamer")


def secret_in(page: str) -> str:
    found = re.search(r'value="[\w-]+\?key=([\w-]{32})"', page)
    assert found
    return found[1]


def test_a_key_is_shown_once_with_what_obs_needs(ingrid: Browser) -> None:
    made = ingrid.post("/streams", slug="evening", title="Evening", visibility="unlisted", max_bitrate_kbps="6000")
    assert made.status_code == 201
    secret = secret_in(made.text)
    assert 'value="rtmps://streams.test:1936/live"' in made.text
    assert "6000 kbit/s" in made.text
    assert made.headers["Cache-Control"] == "no-store"
    key = keys.admits("evening", secret, "198.51.100.7")
    assert (key.title, key.visibility, key.max_bitrate_kbps, key.owner.name) == ("Evening", "unlisted", 6000, "ingrid")
    for path in ("/streams", "/streams/evening", "/dashboard", "/watch/evening", "/streams/evening/rotate"):
        assert secret not in ingrid.get(path).text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"slug": "ab"}, "3 to 64"),
        ({"slug": "../etc"}, "3 to 64"),
        ({"slug": "okay", "title": "two\nlines"}, "printable"),
        ({"slug": "okay", "visibility": "secret"}, "one of public"),
        ({"slug": "okay", "max_height": "many"}, "whole number"),
        ({"slug": "okay", "max_height": "0"}, "from 1 to 1000000"),
        ({"slug": "okay", "max_minutes": "-5"}, "whole number"),
        ({"slug": "okay", "max_minutes": "²"}, "whole number"),
        ({"slug": "okay", "expires_at": "tomorrow"}, "date and time"),
        ({"slug": "okay", "sources": "everywhere"}, "CIDR"),
        ({"slug": "taken"}, "exists already"),
    ],
)
def test_a_wrong_field_is_told_and_nothing_lost(ingrid: Browser, fields: dict[str, str], said: str) -> None:
    keys.create("taken")
    answer = ingrid.post("/streams", **({"title": "What I wrote"} | fields))
    assert answer.status_code == 422
    assert said in answer.text
    assert 'role="alert"' in answer.text
    assert f'value="{fields["slug"]}"' in answer.text
    assert keys.find("okay") is None


def test_settings_are_changed_and_emptied(ingrid: Browser) -> None:
    ingrid.post("/streams", slug="evening", max_height="1080", sources="198.51.100.0/24\n203.0.113.7/32", record="yes")
    key = keys.known("evening")
    assert (key.max_height, key.sources, key.record) == (1080, ["198.51.100.0/24", "203.0.113.7/32"], True)
    emptied = {"max_height": "", "sources": ""}
    answer = ingrid.post(
        "/streams/evening", title="New", visibility="private", expires_at="2030-01-31T18:00", **emptied
    )
    assert answer.location == "/streams/evening?said=changed"
    page = ingrid.get(answer.location).text
    assert 'role="status">Saved.' in page
    assert 'value="2030-01-31T18:00"' in page
    db.session.refresh(key)
    assert (key.title, key.visibility, key.max_height, key.sources, key.record) == ("New", "private", None, [], False)
    assert key.expires_at == datetime(2030, 1, 31, 18)
    refused = ingrid.post("/streams/evening", title="x" * 121)
    assert refused.status_code == 422
    assert keys.known("evening").title == "New"


def test_nothing_is_done_before_it_was_asked(ingrid: Browser) -> None:
    secret = secret_in(ingrid.post("/streams", slug="evening").text)
    for action in ("rotate", "revoke", "delete"):
        page = ingrid.get(f"/streams/evening/{action}")
        assert page.status_code == 200
        assert f'action="/streams/evening/{action}"' in page.text
        assert keys.admits("evening", secret, "198.51.100.7")
    assert ingrid.get("/streams/evening/explode").status_code == 404
    assert ingrid.post("/streams/evening/explode").status_code == 404


def test_a_key_is_rotated_revoked_and_deleted(ingrid: Browser) -> None:
    first = secret_in(ingrid.post("/streams", slug="evening").text)
    second = secret_in(ingrid.post("/streams/evening/rotate").text)
    with pytest.raises(keys.Refused):
        keys.admits("evening", first, "198.51.100.7")
    assert keys.admits("evening", second, "198.51.100.7")
    assert "revoked" in ingrid.get(ingrid.post("/streams/evening/revoke").location).text
    with pytest.raises(keys.Refused):
        keys.admits("evening", second, "198.51.100.7")
    assert ingrid.post("/streams/evening/delete").location == "/streams?said=deleted"
    assert keys.find("evening") is None
    assert ingrid.get("/streams/evening").status_code == 404


def test_a_stream_named_new_has_a_page(ingrid: Browser) -> None:
    ingrid.post("/streams", slug="new")
    assert "<h1>new" in ingrid.get("/streams/new").text


def test_a_live_stream_is_seen_and_ended(ingrid: Browser, rtmp_callback: Call, browser: Make) -> None:
    secret = secret_in(ingrid.post("/streams", slug="evening", title="The evening").text)
    assert "Nothing is live" in ingrid.get("/dashboard").text
    assert ingrid.post("/streams/evening/kick").status_code == 404
    assert rtmp_callback("publish", name="evening", key=secret) == 204
    session = sessions.live()[0]
    session.bitrate_kbps, session.width, session.height, session.viewers = 2480, 1280, 720, 7
    session.video_codec = "H.264"
    for i in range(3):
        db.session.add(Sample(session_id=session.id, bitrate_kbps=2000 + i, viewers=i))
    db.session.commit()
    part = ingrid.get("/dashboard/live").text
    assert not part.startswith("<!doctype")
    for text in (
        "The evening",
        "2.5 Mbit/s",
        "1280 \u00d7 720",
        "H.264",
        "/hls/evening/thumbnail.jpg",
        "<polyline points=",
    ):
        assert text in part
    assert "1 live: The evening" in part
    assert "evening" not in browser("other", "streamer").get("/dashboard/live").text
    assert "/kick" not in browser("anton", "auditor").get("/dashboard/live").text
    assert ingrid.post("/streams/evening/kick").location == "/streams/evening?said=kicked"
    assert rtmp_callback("update", name="evening", key=secret) == 403
    assert rtmp_callback("publish", name="evening", key=secret) == 403, "for a minute the publisher is refused"
    assert "ended: kicked" in ingrid.get("/streams/evening").text


def test_home_lists_public_streams_alone(visitor: Browser, rtmp_callback: Call) -> None:
    for visibility in ("public", "unlisted", "private"):
        secret = keys.create(f"is-{visibility}", visibility=visibility)[1]
        rtmp_callback("publish", name=f"is-{visibility}", key=secret, clientid=visibility)
    for path in ("/", "/live"):
        page = visitor.get(path).text
        assert "is-public" in page
        assert "is-unlisted" not in page
        assert "is-private" not in page
    assert 'data-playlist="/hls/is-unlisted/index.m3u8"' in visitor.get("/watch/is-unlisted").text
    private = visitor.get("/watch/is-private").text
    assert 'data-playlist="/private/is-private/index.m3u8"' in private
    assert 'data-access="/session/viewing/is-private"' in private
    assert "data-access" not in visitor.get("/watch/is-public").text


def test_pages_that_update_themselves_do_not_count_for_the_api(environment: dict[str, str]) -> None:
    from flask_migrate import upgrade
    from orchestrator import create_app

    app = create_app(from_environment(environment | {"API_RATE_LIMIT_PER_MINUTE": "2"}))
    with app.app_context():
        upgrade()
        browser = Browser(app.test_client())
        assert {browser.get("/live").status_code for _ in range(20)} == {200}
        assert browser.client.get("/api/v1/auth/me").status_code == 401
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def recorded(app: Flask, ingrid: Browser, settings: Settings) -> str:
    """A recording of ingrid's stream."""
    ingrid.post("/streams", slug="evening", record="yes")
    folder = settings.recordings_path / "evening"
    folder.mkdir(parents=True)
    (folder / "2026-01-31T18-00-00Z.mp4").write_bytes(b"x" * 2048)
    return "/streams/evening/recordings/2026-01-31T18-00-00Z.mp4"


def test_a_recording_is_listed_fetched_and_deleted(
    ingrid: Browser, recorded: str, settings: Settings, browser: Make
) -> None:
    assert f'href="{recorded}"' in ingrid.get("/streams/evening").text
    answer = ingrid.get(recorded)
    assert answer.headers["X-Accel-Redirect"] == "/recordings/evening/2026-01-31T18-00-00Z.mp4"
    other = browser("other", "streamer")
    assert other.get(recorded).status_code == 404
    assert other.post(f"{recorded}/delete").status_code == 404
    auditor = browser("anton", "auditor")
    assert auditor.get(recorded).status_code == 200
    assert auditor.post(f"{recorded}/delete").status_code == 403
    assert ingrid.get(f"{recorded}/delete").status_code == 200
    assert ingrid.get(recorded).status_code == 200
    assert ingrid.post(f"{recorded}/delete").location == "/streams/evening?said=discarded"
    assert ingrid.get(recorded).status_code == 404
    assert recordings.of([keys.known("evening")], settings.recordings_path) == ([], 0)


@pytest.mark.parametrize("file", ["..%2f..%2fdatabase.db", "2026-01-31T18-00-00Z.mp4x", "x"])
def test_a_file_that_is_no_recording_is_not_there(ingrid: Browser, recorded: str, file: str) -> None:
    assert ingrid.get(f"/streams/evening/recordings/{file}").status_code == 404


def test_an_invitation_is_shown_once_and_withdrawn(ingrid: Browser, visitor: Browser) -> None:
    ingrid.post("/streams", slug="evening", visibility="private")
    made = ingrid.post("/streams/evening/invitations", minutes="60")
    assert made.status_code == 201
    found = re.search(r'value="https://streams.test/watch/evening#invitation=([^"]+)"', made.text)
    assert found
    invitation = {"invitation": found[1]}
    assert visitor.send("/session/viewing/evening").status_code == 403
    assert visitor.send("/session/viewing/evening", invitation).status_code == 204
    assert found[1] not in ingrid.get("/streams/evening/invitations").text
    assert ingrid.post("/streams/evening/invitations/withdraw").location == "/streams/evening?said=withdrawn"
    assert visitor.send("/session/viewing/evening", invitation).status_code == 403
    assert ingrid.post("/streams/evening/invitations", minutes="999999").status_code == 422


@pytest.mark.parametrize(
    ("changes", "live", "expected"),
    [
        ({}, False, "ready"),
        ({"revoked_at": datetime(2026, 1, 1)}, True, "live"),
        ({"revoked_at": datetime(2026, 1, 1)}, False, "revoked"),
        ({"expires_at": datetime(2020, 1, 1)}, False, "expired"),
        ({"expires_at": datetime(2120, 1, 1)}, False, "ready"),
        ({"held_until": datetime(2120, 1, 1)}, False, "held"),
        ({"held_until": datetime(2020, 1, 1)}, False, "ready"),
    ],
)
def test_the_state_of_a_key_in_a_word(changes: dict[str, datetime], live: bool, expected: str) -> None:
    assert keys.state(StreamKey(slug="x", **changes), live) == expected


def test_figures_for_people() -> None:
    assert [rate(kbps) for kbps in (0, 900, 1000, 2480)] == ["\u2013", "900 kbit/s", "1.0 Mbit/s", "2.5 Mbit/s"]
    spans = [span(timedelta(seconds=s)) for s in (-5, 59, 61, 3661, 90_000)]
    assert spans == ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]


def test_a_curve_stays_in_its_frame() -> None:
    assert curve([]) == curve([1]) == ""
    points = [tuple(map(float, point.split(","))) for point in curve([0, 10, 5, 10_000_000]).split()]
    assert points[0] == (0, 46)
    assert points[-1] == (240, 2)
    assert all(0 <= x <= 240 and 0 <= y <= 48 for x, y in points)
    assert len(curve(list(range(1000))).split()) == 120
    assert curve([0, 0])


def test_a_stream_that_is_going_says_so(ingrid: Browser, rtmp_callback: Call) -> None:
    secret = secret_in(ingrid.post("/streams", slug="evening").text)
    rtmp_callback("publish", name="evening", key=secret)
    live: Session = sessions.live()[0]
    live.started_at = now() - timedelta(hours=2)
    db.session.commit()
    assert "2 h 0 min" in ingrid.get("/dashboard/live").text
    sessions.send_away(live, "kicked")
    assert "Ending" in ingrid.get("/dashboard/live").text
