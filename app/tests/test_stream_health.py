"""What the supervisor reports of streams: judged, kept, told, and acted on."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from api_clients import Person
from browsers import Browser
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from orchestrator.models import Session
from orchestrator.site import events
from orchestrator.site.database import db
from orchestrator.streams import health, keys, sessions
from orchestrator.streams.health import problems_of
from orchestrator.streams.problems import KINDS, SEVERITIES
from peers import MEDIA, NOTHING, PROXY, STRANGER, reported

Call = Callable[..., int]
Later = Callable[[float], None]
SCRAPER = {"REMOTE_ADDR": "10.9.1.8"}
# One of each code with what comes with it, and a part of the sentence that people read.
PROBLEMS = [
    ({"code": "keyframes_far", "seconds": 8.33}, "Keyframes come every 8.3 s."),
    ({"code": "keyframes_missing", "seconds": 20}, "No second keyframe came in 20 s"),
    ({"code": "pixel_format", "format": "yuv444p"}, "The picture is yuv444p"),
    ({"code": "interlaced"}, "interlaced"),
    ({"code": "video_codec", "codec": "HEVC"}, "HEVC can't be played here."),
    ({"code": "video_codec", "codec": None}, "An unknown codec can't be played here."),
    ({"code": "audio_codec", "codec": "Speex"}, "Sound in Speex can't be played"),
    ({"code": "audio_converted", "codec": "MP3"}, "The sound is MP3"),
    ({"code": "audio_channels", "channels": 6}, "The sound has 6 channels"),
    ({"code": "no_picture"}, "sound only"),
    ({"code": "no_sound"}, "no sound"),
    ({"code": "timestamps_jumped", "seconds": -600, "count": 2}, "leapt by 600 s in the stream (2 so far)"),
    ({"code": "audio_offset", "seconds": -50.2}, "50.2 s apart"),
    ({"code": "size_changed", "width": 640, "height": 360}, "changed to 640 x 360"),
    ({"code": "no_data", "seconds": 7}, "Nothing has come for 7 s."),
    ({"code": "renditions_shed", "names": ["480p", "240p"]}, "too busy to encode 480p, 240p"),
    ({"code": "segments_late", "seconds": 3.2}, "3.2 s late"),
    ({"code": "unreadable"}, "Nothing in this stream can be understood."),
    ({"code": "restarted", "count": 1}, "started again (1 so far)"),
]


@pytest.fixture
def live(rtmp_callback: Call, alice_secret: str) -> Callable[[], Session]:
    """`alice` is live; ask for her session as the database has it now."""
    assert rtmp_callback("publish", name="alice", key=alice_secret) == 204
    number = sessions.live()[0].id

    def session() -> Session:
        db.session.expire_all()
        return db.session.get_one(Session, number)

    return session


def report(client: FlaskClient, session: Session, *problems: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return reported(client, {"session": session.id, "facts": facts, "problems": list(problems)})


def test_every_code_has_a_sentence_and_a_cure() -> None:
    assert {said["code"] for said, _ in PROBLEMS} == set(KINDS)
    assert {kind.severity for kind in KINDS.values()} == set(SEVERITIES)


@pytest.mark.parametrize(("said", "sentence"), PROBLEMS)
def test_a_problem_is_told_with_what_to_do(
    client: FlaskClient, live: Callable[[], Session], said: dict[str, Any], sentence: str
) -> None:
    report(client, live(), said)
    (told,) = problems_of(live().health)
    assert sentence in told.sentence
    assert told.cure.endswith(".")
    assert (told.code, told.severity) == (said["code"], KINDS[said["code"]].severity)
    report(client, live())
    assert problems_of(live().health) == []


@pytest.mark.parametrize(
    "said",
    [
        {"code": "made_up"},
        {"code": ["keyframes_far"]},
        {},
        "keyframes_far",
        None,
        {"code": "keyframes_far"},
        {"code": "keyframes_far", "seconds": "8"},
        {"code": "size_changed", "width": 640},
        {"code": "audio_channels", "channels": True},
    ],
)
def test_a_problem_that_nobody_understands_is_dropped_and_counted(
    client: FlaskClient, live: Callable[[], Session], said: Any
) -> None:
    before = health.dropped._value.get()
    report(client, live(), said, {"code": "interlaced"})
    assert [told.code for told in problems_of(live().health)] == ["interlaced"]
    assert health.dropped._value.get() == before + 1


@pytest.mark.parametrize(
    ("name", "said", "kept"),
    [
        ("width", 1280, 1280),
        ("width", -1, 0),
        ("width", 18446744073709551615, 65535),
        ("width", "1280", None),
        ("width", True, None),
        ("width", None, None),
        ("frame_rate", 29.97, 29.97),
        ("frame_rate", float("nan"), None),
        ("frame_rate", float("inf"), None),
        ("frame_rate", 10**400, 1000.0),
        ("audio_offset_seconds", -0.25, -0.25),
        ("audio_offset_seconds", -1e9, -86400.0),
        ("keyframe_seconds", -2, 0.0),
        ("video_codec", "H.264", "H.264"),
        ("video_codec", "x" * 100, "x" * 40),
        ("video_codec", "a\x00\x1b[31m\n", "a[31m"),
        ("video_codec", 7, None),
        ("video_codec", "", None),
        ("playing", True, True),
        ("playing", "yes", None),
        (
            "renditions",
            [{"name": "source", "kbps": 1480, "colour": "red"}, {"kbps": 1}, 7],
            [{"name": "source", "kbps": 1480}],
        ),
        ("renditions", [{"name": str(n)} for n in range(99)], [{"name": str(n)} for n in range(10)]),
        ("renditions", {}, None),
        ("colour", "red", None),
    ],
)
def test_a_fact_is_judged_where_it_enters(
    client: FlaskClient, live: Callable[[], Session], name: str, said: Any, kept: Any
) -> None:
    report(client, live(), **{name: said})
    health = live().health
    assert health
    assert health.facts.get(name) == kept
    assert (name in health.facts) == (kept is not None)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=20), inner, max_size=20),
    max_leaves=30,
)
FIELDS = st.dictionaries(st.sampled_from([*health.FACTS, *health.VALUES, "code"]), ANYTHING | st.sampled_from([*KINDS]))


@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    body=ANYTHING, facts=FIELDS | ANYTHING, problems=st.lists(FIELDS, max_size=30) | ANYTHING, host=FIELDS | ANYTHING
)
def test_whatever_is_reported_breaks_nothing(
    client: FlaskClient, live: Callable[[], Session], body: Any, facts: Any, problems: Any, host: Any
) -> None:
    one = {"session": live().id, "facts": facts, "problems": problems}
    for said in (body, {"reports": body, "host": host}, {"reports": [body, one], "host": host}):
        answer = client.post(
            "/internal/streams",
            data=json.dumps(said),
            content_type="application/json",
            environ_base={"REMOTE_ADDR": MEDIA},
        )
        assert answer.status_code in (200, 400)
    health = live().health
    assert health
    assert len(json.dumps(health.facts)) + len(json.dumps(health.problems)) < 16_000


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"reports": 1}', b"\xff", b"[" * 50_000])
def test_what_is_no_report_is_refused(client: FlaskClient, body: bytes) -> None:
    answer = client.post(
        "/internal/streams", data=body, content_type="application/json", environ_base={"REMOTE_ADDR": MEDIA}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("peer", [PROXY, STRANGER, "127.0.0.1"])
def test_nobody_else_reports(client: FlaskClient, peer: str) -> None:
    assert client.post("/internal/streams", json=NOTHING, environ_base={"REMOTE_ADDR": peer}).status_code == 404


def test_a_report_is_answered_with_what_is_live(client: FlaskClient, live: Callable[[], Session]) -> None:
    (stream,) = report(client, live())["streams"]
    assert stream == {"slug": "alice", "session": live().id, "private": False, "record": False, "application": "live"}
    reported(client, {"session": "another", "facts": {"width": 1}}, {"session": ["x"]}, 7)  # type: ignore[arg-type]
    assert live().health.facts == {}  # type: ignore[union-attr]  # there was a report


def test_a_report_of_two_hundred_streams_is_taken(client: FlaskClient, live: Callable[[], Session]) -> None:
    renditions = [{"name": f"{n}p", "kbps": 1, "width": 1, "height": 1} for n in range(10)]
    one = {"session": live().id, "facts": {"renditions": renditions}, "problems": [said for said, _ in PROBLEMS]}
    padding = [one | {"session": f"{n:036}"} for n in range(199)]
    assert len(json.dumps(padding)) > 200_000
    reported(client, *padding, one)
    assert live().health.facts  # type: ignore[union-attr]  # there was a report


def test_a_problem_keeps_its_beginning_and_its_change_is_logged_once(
    client: FlaskClient, live: Callable[[], Session], capsys: pytest.CaptureFixture[str], pass_time: Later
) -> None:
    events.configure("INFO")
    report(client, live(), {"code": "no_sound"})
    (first,) = problems_of(live().health)
    for seconds in (8, 9):
        report(client, live(), {"code": "no_data", "seconds": seconds}, {"code": "no_sound"})
    pass_time(2)
    report(client, live(), {"code": "no_data", "seconds": 11}, {"code": "no_sound"})
    worst, second = problems_of(live().health)
    assert (worst.severity, second.since) == ("warning", first.since)
    report(client, live())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["problems"] for line in lines if line["event"] == "health"] == [
        ["no_sound"],
        ["no_data", "no_sound"],
        [],
    ]


HEVC = {"code": "video_codec", "codec": "HEVC"}


def test_what_can_not_be_played_is_told_and_sent_away(
    client: FlaskClient,
    live: Callable[[], Session],
    rtmp_callback: Call,
    alice_secret: str,
    pass_time: Later,
    browser: Callable[[str, str], Browser],
) -> None:
    admin = browser("ada", "admin")
    report(client, live(), HEVC)
    leaves = live().health.leaves_at  # type: ignore[union-attr]  # there was a report
    assert leaves
    page = admin.get("/streams/alice/health").text
    assert f"This stream will be disconnected at {leaves:%H:%M:%S} UTC" in page
    assert "HEVC can&#39;t be played here. Choose H.264" in page
    for _ in range(3):
        pass_time(6)
        assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret) == 204
        report(client, live(), HEVC)
        assert live().ending is None
    pass_time(3)
    report(client, live(), HEVC)
    assert live().ending == "unplayable"
    assert "ends within seconds" in admin.get("/streams/alice/health").text
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret) == 403
    assert rtmp_callback("publish", name="alice", key=alice_secret, clientid="2") == 403, "it is held for a minute"
    for path in ("/streams/alice/health", "/streams/alice"):
        page = admin.get(path).text
        assert "It could not be played." in page
        assert "HEVC can&#39;t be played here.</strong> Choose H.264" in page
    pass_time(61)
    assert rtmp_callback("publish", name="alice", key=alice_secret, clientid="3") == 204
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret, clientid="3") == 204
    assert "HEVC" not in admin.get("/streams/alice/health").text


def test_what_can_be_played_again_stays(
    client: FlaskClient, live: Callable[[], Session], rtmp_callback: Call, alice_secret: str, pass_time: Later
) -> None:
    report(client, live(), HEVC)
    pass_time(9)
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret) == 204
    report(client, live(), {"code": "interlaced"})
    assert live().health.leaves_at is None  # type: ignore[union-attr]  # there was a report
    pass_time(9)
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret) == 204
    pass_time(9)
    report(client, live(), HEVC)
    assert live().ending is None


def test_the_page_says_what_is_known(
    client: FlaskClient, live: Callable[[], Session], browser: Callable[[str, str], Browser]
) -> None:
    admin = browser("ada", "admin")
    assert "has just begun" in admin.get("/streams/alice").text
    report(client, live())
    assert "Nothing is wrong" in admin.get("/streams/alice").text
    renditions = [{"name": "source", "kbps": 1480}, {"name": "480p"}]
    facts = {
        "video_codec": "H.264",
        "profile": "High",
        "width": 1280,
        "height": 720,
        "frame_rate": 30.0,
        "channels": 2,
        "audio_codec": "AAC",
        "sample_rate": 48000,
        "behind_seconds": 4.1,
        "renditions": renditions,
    }
    report(client, live(), {"code": "keyframes_far", "seconds": 8.3}, **facts)
    page = admin.get("/streams/alice/health").text
    for said in (
        "Keyframes come every 8.3 s.",
        "keyframe interval to 2 s",
        "H.264, High, 1280",
        "720, 30 fps",
        "AAC, 48 kHz, stereo",
        "source (1.5 Mbit/s), 480p",
        "4.1 s",
    ):
        assert said in page
    dashboard = admin.get("/dashboard").text
    assert "Keyframes come every 8.3 s." in dashboard
    assert "keyframe interval" not in dashboard


def test_whose_stream_it_is_sees_how_it_is_and_nobody_else(
    client: FlaskClient,
    browser: Callable[[str, str], Browser],
    visitor: Browser,
    rtmp_callback: Call,
    alice_secret: str,
) -> None:
    rtmp_callback("publish", name="alice", key=alice_secret)
    assert browser("audrey", "auditor").get("/streams/alice/health").status_code == 200
    assert browser("eve", "streamer").get("/streams/alice/health").status_code == 404
    assert visitor.get("/streams/alice/health").status_code == 307


def test_the_dashboard_says_how_much_more_the_host_can_take(
    client: FlaskClient, browser: Callable[[str, str], Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = browser("ada", "admin")
    assert "This host can" not in admin.get("/dashboard").text
    reported(client, host={"encode_more": 3, "carry_more": 40, "load_percent": 41, "failures": 2})
    assert (
        "This host can encode 3 more and carry 40 more. Its processors are 41 % busy."
        in admin.get("/dashboard/live").text
    )
    series = client.get("/metrics", environ_base=SCRAPER).text
    assert "host_encode_more 3.0" in series
    assert "supervisor_failures 2.0" in series
    reported(client, host={"encode_more": -1, "carry_more": float("nan")})
    assert "This host can encode 0 more." in admin.get("/dashboard").text
    reported(client, host=None)
    real = health.now
    monkeypatch.setattr(health, "now", lambda: real() + health.FRESH * 2)
    assert "This host can" not in admin.get("/dashboard").text
    assert "host_encode_more" not in client.get("/metrics", environ_base=SCRAPER).text


def test_the_api_tells_it(client: FlaskClient, live: Callable[[], Session], admin: Person) -> None:
    assert admin.get("/streams/alice").json["health"] is None
    report(client, live(), {"code": "keyframes_far", "seconds": 8.3}, HEVC, width=1280, renditions=[{"name": "source"}])
    health = admin.get("/streams/alice").json["health"]
    assert health["facts"] == {"width": 1280, "renditions": [{"name": "source"}]}
    assert [(one["code"], one["severity"]) for one in health["problems"]] == [
        ("video_codec", "unplayable"),
        ("keyframes_far", "warning"),
    ]
    assert health["problems"][1]["sentence"] == "Keyframes come every 8.3 s."
    assert datetime.fromisoformat(health["problems"][1]["since"]).tzinfo
    assert datetime.fromisoformat(health["disconnects_at"]) > datetime.fromisoformat(health["reported_at"])


def test_metrics_name_what_is_wrong_while_it_is(
    client: FlaskClient, live: Callable[[], Session], rtmp_callback: Call, alice_secret: str
) -> None:
    series = 'stream_problems{code="interlaced",slug="alice"} 1.0'
    assert series not in client.get("/metrics", environ_base=SCRAPER).text
    report(client, live(), {"code": "interlaced"})
    assert series in client.get("/metrics", environ_base=SCRAPER).text
    rtmp_callback("done", name="alice", key=alice_secret)
    assert "stream_problems{" not in client.get("/metrics", environ_base=SCRAPER).text


def test_deleting_a_key_forgets_how_its_streams_were(client: FlaskClient, live: Callable[[], Session]) -> None:
    report(client, live(), HEVC)
    keys.delete(keys.known("alice"))
    assert db.session.execute(db.text("SELECT count(*) FROM health")).scalar() == 0
