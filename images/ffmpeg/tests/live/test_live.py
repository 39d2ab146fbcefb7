"""The supervisor with a real ffmpeg and a real nginx-rtmp."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import House


def numbers(playlist: str) -> list[int]:
    return [int(n) for n in re.findall(r"-(\d+)\.ts$", playlist, re.M)]


def played(house: House, slug: str, name: str) -> list[str]:
    command = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "json"]
    text = subprocess.run(
        [*command, str(house.hls / "public" / slug / name / "index.m3u8")], capture_output=True, text=True, check=True
    ).stdout
    return sorted(stream["codec_name"] for stream in json.loads(text)["streams"])


def plays(house: House, slug: str, seconds: float = 20) -> None:
    house.eventually(lambda: len(numbers(house.playlist(slug))) >= 2, seconds, f"{slug} has two segments")


@pytest.mark.slow
def test_a_minute_is_complete_and_leaves_nothing(house: House) -> None:
    house.publish("alice")
    house.live = {"alice": "s1"}
    house.supervise()
    plays(house, "alice")
    seen: set[int] = set()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        seen |= set(numbers(house.playlist("alice")))
        time.sleep(1)
    assert played(house, "alice", "source") == played(house, "alice", "240p") == ["aac", "h264"]
    assert all(path.stat().st_mode & 0o004 for path in house.hls.rglob("*"))
    house.live = {}
    house.eventually(lambda: "#EXT-X-ENDLIST" in house.playlist("alice"), 5, "the playlist ends")
    assert "#EXT-X-ENDLIST" in house.playlist("alice", "240p")
    house.eventually(lambda: not house.encoders(), 5, "ffmpeg is gone")
    seen |= set(numbers(house.playlist("alice")))
    assert seen == set(range(min(seen), max(seen) + 1)), "segments are missing"
    assert len(seen) >= 30
    house.eventually(lambda: not (house.hls / "public" / "alice").exists(), 10, "the files are gone")


@pytest.mark.slow
def test_the_master_playlist_tells_the_truth(house: House) -> None:
    house.publish("alice")
    house.live = {"alice": "s1"}
    house.supervise()
    plays(house, "alice")
    master = house.hls / "public" / "alice" / "index.m3u8"
    find = re.compile(r"#EXT-X-STREAM-INF:(.*)\n(.*)").findall
    variants = house.eventually(lambda: len(found := find(master.read_text())) == 2 and found, 10, "both are told")
    assert [path for _, path in variants] == ["source/index.m3u8", "240p/index.m3u8"]
    assert ["RESOLUTION=640x360" in variants[0][0], "RESOLUTION=426x240" in variants[1][0]] == [True, True]
    for told, _ in variants:
        assert 100_000 < int(re.search(r"BANDWIDTH=(\d+)", told)[1]) < 5_000_000


def test_the_master_playlist_names_the_codecs(house: House) -> None:
    version = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    if int(re.search(r"version n?(\d+)", version)[1]) < 7:
        pytest.fail("ffmpeg before 7 names no codecs; the image's does: run tests/live in Debian 13, see README.md")
    house.publish("alice")
    house.live = {"alice": "s1"}
    house.supervise()
    plays(house, "alice")
    master = house.hls / "public" / "alice" / "index.m3u8"
    find = re.compile(r'CODECS="(.*)"').findall
    told = house.eventually(lambda: len(found := find(master.read_text())) == 2 and found, 10, "both are told")
    assert all(re.fullmatch(r"avc1\.[0-9a-f]{6},mp4a\.40\.2", codecs) for codecs in told)


def test_a_silent_stream_plays(house: House) -> None:
    house.publish("mute", sound=False)
    house.live = {"mute": "s1"}
    house.supervise()
    plays(house, "mute")
    assert played(house, "mute", "source") == played(house, "mute", "240p") == ["h264"]


def test_who_stops_is_seen_to_end_before_the_orchestrator_says_so(house: House) -> None:
    publisher = house.publish("alice")
    house.live = {"alice": "s1"}
    house.supervise()
    plays(house, "alice")
    publisher.send_signal(signal.SIGINT)
    publisher.wait(10)
    house.eventually(lambda: "#EXT-X-ENDLIST" in house.playlist("alice"), 5, "the playlist ends")
    last = house.playlist("alice")
    time.sleep(3)
    assert house.playlist("alice") == last, "it stays as it ended"
    house.live = {}
    house.eventually(lambda: not house.packagers(), 5, "nothing runs for it")
    assert house.playlist("alice") == last


@pytest.mark.slow
def test_an_ffmpeg_that_is_killed_comes_back(house: House) -> None:
    house.publish("alice")
    house.live = {"alice": "s1"}
    house.supervise()
    plays(house, "alice")
    house.eventually(lambda: house.playlist("alice", "240p"), 10, "there is something encoded")
    before = numbers(house.playlist("alice", "240p"))
    names = set(re.findall(r"\S+\.ts$", house.playlist("alice", "240p"), re.M))
    source = numbers(house.playlist("alice"))
    (pid,) = house.encoders()
    os.kill(pid, signal.SIGKILL)
    house.eventually(lambda: house.encoders() and house.encoders() != [pid], 15, "another ffmpeg runs")
    house.eventually(lambda: numbers(house.playlist("alice", "240p"))[-1:] > before[-1:], 15, "later segments come")
    new = re.findall(r"\S+\.ts$", house.playlist("alice", "240p"), re.M)
    assert len(new) == len(set(new)) and names <= set(new), "no name is used again"
    assert numbers(house.playlist("alice"))[0] == source[0], "the copy went on"


@pytest.mark.slow
def test_a_packager_that_is_killed_comes_back_and_it_is_told(house: House) -> None:
    house.publish("alice")
    house.supervise()
    house.live = {"alice": "s1"}
    plays(house, "alice")
    last = numbers(house.playlist("alice"))[-1]
    os.kill(house.packagers()[0], signal.SIGKILL)
    house.eventually(lambda: numbers(house.playlist("alice"))[:1] > [last], 15, "later segments come")
    house.eventually(lambda: house.app.problems("alice").get("restarted") == {"count": 1}, 5, "it is told")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_supervisor_that_goes_takes_its_ffmpegs_along_and_the_next_picks_up(
    house: House, number: signal.Signals
) -> None:
    house.publish("alice")
    house.live = {"alice": "s1"}
    first = house.supervise()
    plays(house, "alice")
    last = numbers(house.playlist("alice"))[-1]
    first.send_signal(number)
    first.wait(15)
    house.eventually(lambda: not house.encoders(), 5, "no orphan is left")
    house.supervise()
    house.eventually(lambda: numbers(house.playlist("alice"))[:1] > [last], 20, "the next supervisor's segments come")


@pytest.mark.slow
def test_what_a_killed_supervisor_left_is_removed(house: House) -> None:
    (house.hls / "public" / "ghost" / "source").mkdir(parents=True)
    (house.hls / "public" / "ghost" / "source" / "1.ts").write_text("old", encoding="utf-8")
    house.supervise()
    time.sleep(1.5)
    assert (house.hls / "public" / "ghost").exists()
    house.eventually(lambda: not (house.hls / "public" / "ghost").exists(), 8, "the stale folder is gone")


@pytest.mark.slow
def test_a_new_session_shares_no_segment_with_the_former(house: House) -> None:
    house.publish("alice")
    house.live = {"alice": "s1"}
    house.supervise()
    plays(house, "alice")
    last = numbers(house.playlist("alice"))[-1]
    house.live = {"alice": "s2"}
    house.eventually(lambda: numbers(house.playlist("alice"))[:1] > [last], 20, "the new session's segments come")
    assert len(house.encoders()) == 1


@pytest.mark.slow
def test_without_an_answer_what_runs_goes_on_and_it_is_said_once(house: House) -> None:
    house.publish("alice")
    house.live = {"alice": "s1"}
    house.supervise()
    plays(house, "alice")
    running = house.encoders()
    house.live = None
    time.sleep(5)
    assert house.encoders() == running
    assert [line["result"] for line in house.log() if line["event"] == "orchestrator"] == ["no answer"]
    house.live = {"alice": "s1"}
    house.eventually(lambda: house.log()[-1].get("result") == "answers again", 5, "the return is said, too")
    assert house.encoders() == running


def test_a_hostile_name_becomes_neither_a_folder_nor_a_process(house: House) -> None:
    house.live = {"../../escape": "s", "ab": "s", "a;$(id)": "s", "-y\n": "s", "x" * 65: "s"}
    house.supervise()
    time.sleep(3)
    assert list(house.hls.glob("*/*")) == []
    assert house.encoders() == []


@pytest.mark.slow
def test_a_recording_plays_and_outlives_its_recorder(house: House) -> None:
    house.publish("alice")
    house.live, house.app.recorded = {"alice": "s1"}, {"alice"}
    house.supervise(RECORDINGS_MEGABYTES="2")  # half a megabyte a file: it rolls over within seconds
    plays(house, "alice")
    files = house.eventually(lambda: len(found := sorted(house.recordings.glob("alice/*.mp4"))) >= 3 and found, 30, "3")
    command = ["ffprobe", "-v", "error", "-count_packets", "-show_streams", "-of", "json", str(files[0])]
    streams = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["streams"]
    assert sorted(stream["codec_name"] for stream in streams) == ["aac", "h264"]
    assert all(int(stream["nb_read_packets"]) > 50 for stream in streams)
    assert files[0].stat().st_size < 700_000
    house.app.recorded = set()
    count = len(list(house.recordings.glob("alice/*.mp4")))
    time.sleep(4)
    assert len(list(house.recordings.glob("alice/*.mp4"))) <= count + 1
    assert len(house.encoders()) == 1


@pytest.mark.slow
def test_a_live_stream_has_a_small_picture(house: House) -> None:
    house.publish("alice")
    house.live = {"alice": "s1"}
    house.supervise()
    plays(house, "alice")
    picture = house.hls / "public" / "alice" / "thumbnail.jpg"
    house.eventually(picture.exists, 25, "a thumbnail comes")
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=width,height,codec_name", "-of", "csv=p=0", picture]
    assert subprocess.run(probe, capture_output=True, text=True, check=True).stdout.strip() == "mjpeg,320,180"
    assert picture.stat().st_size < 40_000
