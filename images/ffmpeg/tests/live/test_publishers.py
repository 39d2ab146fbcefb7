"""The publishers and the house themselves: each row is what it says, and a plain nginx-rtmp takes it."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import threading
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from publishers import TABLE, Clip, Row, publish

if TYPE_CHECKING:
    from conftest import House

# What ffprobe calls what people call by another name.
CODECS = {
    **{"H.264": "h264", "HEVC": "hevc", "AV1": "av1", "VP9": "vp9", "Sorenson H.263": "flv1"},
    **{"AAC": "aac", "MP3": "mp3", "Speex": "speex", "Nellymoser": "nellymoser", "G.711": "pcm_alaw"},
}
# Taken by a plain nginx-rtmp and by our sample alike; the others are slow.
SAMPLE = ("plain", "leap_10_min")
EACH_ROW = [pytest.param(row, id=row.name, marks=[] if row.name in SAMPLE else pytest.mark.slow) for row in TABLE]


def probed(file: Path) -> dict[str, Any]:
    """Return the facts that ffprobe finds in *file*, named as in rows."""
    command = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(file)]
    shown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    facts: dict[str, Any] = {}
    for stream in shown["streams"]:
        if stream["codec_type"] == "video":
            facts |= {"video_codec": stream["codec_name"], "pixel_format": stream["pix_fmt"]}
            facts |= {"width": stream["width"], "height": stream["height"]}
        else:
            facts |= {"audio_codec": stream["codec_name"], "sample_rate": int(stream["sample_rate"])}
            facts |= {"channels": stream["channels"]}
    return facts


def status(house: House, name: str) -> str:
    """Return what nginx-rtmp's /stat says of one stream."""
    with urllib.request.urlopen(f"http://127.0.0.1:{house.http_port}/stat", timeout=3) as answer:  # our own
        text = answer.read().decode()
    return next((each for each in re.findall(r"<stream>.*?</stream>", text, re.S) if f"<name>{name}<" in each), "")


def bytes_in(house: House, name: str) -> int:
    found = re.search(r"<bytes_in>(\d+)", status(house, name))
    return int(found[1]) if found else 0


def last(row: Row) -> Clip:
    """Return the clip that is on at the end."""
    return row.other or row.clip


@pytest.mark.parametrize("row", EACH_ROW)
def test_a_row_is_what_it_says_and_is_taken(house: House, row: Row) -> None:
    found = probed(last(row).file(house.clips))
    expected = {name: CODECS.get(str(value), value) for name, value in row.expect.items() if name in found}
    assert {name: found[name] for name in expected} == expected
    publisher = house.send(row.name)
    name = row.playpath.format(slug=row.name)
    house.eventually(lambda: bytes_in(house, name) > 15_000, 10, "data comes")
    before = bytes_in(house, name)
    time.sleep(1)
    assert bytes_in(house, name) > before, "and goes on to come"
    assert house.live == {row.name: f"client-{house.app.publishing[row.name]['clientid']}"}
    assert publisher.stop() == ""
    house.eventually(lambda: not house.live, 5, "its end is told")


def arrived(house: House, slug: str, seconds: float) -> list[dict[str, Any]]:
    """Return the packets of *slug* that come to a player within *seconds*: kind, time in seconds, whether key."""
    command = [
        *("ffprobe", "-v", "error", "-analyzeduration", "500000", "-probesize", "50000"),
        *("-show_entries", "packet=codec_type,dts_time,flags", "-of", "compact=p=0:nk=1", f"{house.rtmp}/{slug}"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.terminate()
    lines = process.communicate(timeout=10)[0].splitlines()[:-1]  # the last may be half a line
    fields = [line.split("|") for line in lines if line.count("|") == 2]
    return [{"kind": kind, "time": float(when), "key": flags.startswith("K")} for kind, when, flags in fields]


def leaps(packets: list[dict[str, Any]], kind: str) -> list[int]:
    """Return by how many seconds the time of one kind moved on where that was not at most one."""
    times = [packet["time"] for packet in packets if packet["kind"] == kind]
    # ffprobe takes a time that goes back for one that had no room in 32 bits of milliseconds.
    wrap = (1 << 32) / 1000
    steps = [(after - before + wrap / 2) % wrap - wrap / 2 for before, after in pairwise(times)]
    return [round(step) for step in steps if not 0 <= step <= 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "seconds"), [("plain", []), ("leap_10_min", [600]), ("leap_hour_back", [-3600]), ("wrap_24_bit", [])]
)
def test_what_was_bent_arrives_bent(house: House, row: str, seconds: list[int]) -> None:
    house.send(row)
    house.eventually(lambda: house.live, 10, "it is published")
    packets = arrived(house, row, 20)
    assert leaps(packets, "video") == leaps(packets, "audio") == seconds
    assert len(packets) > 800


def test_a_newcomer_takes_over(house: House) -> None:
    first = house.send("plain", "alice")
    house.eventually(lambda: house.live, 15, "the first is live")
    former = dict(house.live or {})
    second = house.send("leap_10_min", "alice")
    house.eventually(lambda: house.live not in ({}, former), 5, "the second is live")
    house.eventually(lambda: not first.running, 5, "the first is ended")
    before = bytes_in(house, "alice")
    house.eventually(lambda: bytes_in(house, "alice") > before, 5, "the second's data comes")
    assert second.running
    assert list(house.live or {}) == ["alice"], "the end of the first ends nothing"


@pytest.mark.parametrize("listens", [True, False])
def test_the_supervisor_is_told_before_a_publisher_begins(house: House, *, listens: bool) -> None:
    pushed: list[dict[str, Any]] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            pushed.append(
                json.loads(self.rfile.read(int(self.headers["Content-Length"]))) | {"bytes": bytes_in(house, "plain")}
            )
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    house.app.media_url = f"http://127.0.0.1:{house.media_port}"
    server = http.server.HTTPServer(("127.0.0.1", house.media_port), Listener) if listens else None
    if server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    house.send("plain")
    house.eventually(lambda: bytes_in(house, "plain") > 15_000, 15, "it is published, whoever was told")
    assert house.app.pushes == [("plain", "204" if listens else "URLError")]
    if server:
        server.shutdown()
        server.server_close()
        session = (house.live or {})["plain"]
        told = {"slug": "plain", "session": session, "private": False, "record": False, "application": "live"}
        assert pushed == [told | {"bytes": 0}]


def test_what_is_reported_is_kept_and_answered(house: House) -> None:
    house.live = {"alice": "s1"}
    problem = {"code": "keyframes_far", "seconds": 8.3}
    for problems in ([problem], []):
        told = {
            "reports": [{"session": "s1", "facts": {"width": 640}, "problems": problems}],
            "host": {"carry_more": 3},
        }
        request = urllib.request.Request(f"{house.app.url}/streams", json.dumps(told).encode())  # noqa: S310  # our own
        with urllib.request.urlopen(request, timeout=3) as answer:  # noqa: S310  # likewise
            assert json.loads(answer.read())["streams"][0]["application"] == "live"
        assert house.app.problems("alice") == ({"keyframes_far": {"seconds": 8.3}} if problems else {})
    assert house.app.facts("alice") == {"width": 640}
    assert list(house.app.ever("alice")) == ["keyframes_far"]
    assert house.app.facts("bob") == house.app.problems("bob") == house.app.ever("bob") == {}
    assert house.app.host == {"carry_more": 3}


# What people put into the two fields of their encoder, and with which name and key nginx-rtmp asks the app; it hangs up
# by itself on an application that it doesn't know. A key after the application is in the callback's `tcurl` alone.
@pytest.mark.parametrize(
    ("application", "playpath", "comes"),
    [
        ("live", "alice?key=secret", ("alice", "secret")),
        ("live/", "alice?key=secret", ("alice", "secret")),
        ("live", "alice?key=secret\n", ("alice", "secret\n")),
        ("live", " alice?key=secret  ", (" alice", "secret  ")),
        ("live", "/alice?key=secret", ("/alice", "secret")),
        ("live", "alice%3Fkey=secret", ("alice%3Fkey=secret", None)),
        ("live", "secret", ("secret", None)),
        ("live?key=secret", "alice", ("alice", None)),
        ("live/alice?key=secret", "", None),
        ("Live", "alice?key=secret", None),
    ],
)
def test_what_is_in_an_encoders_fields_comes_to_the_app(
    house: House, application: str, playpath: str, comes: tuple[str, str | None] | None
) -> None:
    row = Row("typed", application=application, playpath=playpath)
    publisher = publish(row, house.rtmp.removesuffix("/live"), "alice", house.clips)
    house.publishers.append(publisher)
    house.eventually(lambda: house.app.called_with or not publisher.running, 10, "it is asked about, or refused")
    called = [(form["name"], form.get("key")) for form in house.app.called_with]
    assert called == ([comes] if comes else [])
    assert publisher.running == bool(comes)
    assert comes != ("alice", None) or house.app.called_with[0]["tcurl"].endswith("/live?key=secret")


def test_nobody_begins_without_an_answer(house: House) -> None:
    house.live = None
    publisher = house.send("leap_10_min")
    house.eventually(lambda: not publisher.running, 10, "the publisher is refused")
    assert re.match("the server (hung up|said)", publisher.stop())
    assert status(house, "leap_10_min") == ""
    assert house.app.publishing == {}
