"""The packager without its network: what tags become, by the clock of the stream itself. libav is the real one."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import sender
from sender import AUDIO, VIDEO, Tag
from supervisor import diagnosis, flv, package, packager
from supervisor.config import Rendition
from supervisor.packager import Job, Packager
from supervisor.rtmp import Message

SOURCE = (Rendition("source"),)
LADDER = (*SOURCE, Rendition("240p", 240, 300, 64))
WALL = 1_800_000_000.0  # seconds since 1970, when the stream begins


def clip(file: Path, *, pixels: str = "yuv420p", sound: str = "aac", channels: str = "mono", size: int = 360) -> Path:
    """Make eight seconds of FLV with a keyframe each two seconds."""
    with av.open(str(file), "w", format="flv") as container:
        picture: Any = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "sc_threshold": "0"})
        picture.width, picture.height, picture.pix_fmt, picture.gop_size = 640, size, pixels, 60
        picture.max_b_frames = 0
        if sound:
            noise: Any = container.add_stream(sound, rate=44100, layout=channels)
        for number in range(240):
            frame = av.VideoFrame(640, size, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([number % 250]) * plane.buffer_size)
            container.mux(picture.encode(frame.reformat(format=pixels)))
            for piece in range(number * 1470, number * 1470 + 1470, 735) if sound else ():
                quiet = av.AudioFrame(noise.format.name, channels, 735)
                for plane in quiet.planes:
                    plane.update(bytes(plane.buffer_size))
                quiet.sample_rate, quiet.pts, quiet.time_base = 44100, piece, Fraction(1, 44100)
                container.mux(noise.encode(quiet))
        container.mux(picture.encode(None))
    return file


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[Tag]:
    return sender.read_flv(clip(tmp_path_factory.mktemp("clip") / "plain.flv"))


class Run:
    """A packager whose clock is the stream's."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, ladder: tuple[Rendition, ...] = SOURCE) -> None:
        self.folder = root / "alice"
        self.clock = 0.0
        run = self

        class Clock:
            @staticmethod
            def time() -> float:
                return WALL + run.clock

            @staticmethod
            def monotonic() -> float:
                return 1000 + run.clock

            @staticmethod
            def sleep(seconds: float) -> None:
                run.clock += seconds

        for module in (packager, package, diagnosis):
            monkeypatch.setattr(module, "time", Clock)
        job = Job("alice", "1", "rtmp://192.0.2.1/live", None, self.folder, ladder, 2, 10, encode=True)
        assert pickle.loads(pickle.dumps(job)) == job  # noqa: S301  # our own, as it comes to its process
        self.packager = Packager(job, lambda _: None)

    def send(self, tags: Iterable[Tag], seconds: float = 60.0) -> Run:
        """Send *tags* as they are due, for so long at most."""
        for tag in itertools.takewhile(lambda tag: tag.due <= seconds, tags):
            self.clock = max(self.clock, tag.due)
            self.packager.now = 1000 + self.clock
            self.packager.take(Message(tag.kind, tag.time & 0xFFFFFFFF, tag.data))
            self.packager.clear_up()
            self.packager.turn_encoders()
            self.packager.thumbnail()
        self.packager.rates.mark(self.packager.now)
        return self

    def playlist(self, name: str = "source") -> str:
        return (self.folder / name / "index.m3u8").read_text()

    def durations(self) -> list[float]:
        return [float(each) for each in re.findall(r"#EXTINF:([\d.]+)", self.playlist())]

    def codes(self) -> set[str]:
        return {problem["code"] for problem in diagnosis.problems(self.packager)}

    def decoded(self) -> Iterator[Any]:
        """Yield what a decoder makes of all segments in a row."""
        names = re.findall(r"^\S+\.ts$", self.playlist(), re.M)
        data = b"".join((self.folder / "source" / name).read_bytes() for name in names)
        with av.open(io.BytesIO(data), format="mpegts") as container:
            yield from container.decode()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch)


def test_a_stream_is_cut_at_keyframes_described_and_ended(run: Run, plain: list[Tag]) -> None:
    run.send(sender.looped(plain), 20.5)
    assert run.durations() == pytest.approx([2.0] * 10, abs=0.03)
    assert "#EXT-X-TARGETDURATION:2\n" in run.playlist()
    assert "DISCONTINUITY" not in run.playlist()
    assert "PROGRAM-DATE-TIME:2027-01-15T08:00:00.0" in run.playlist()
    facts = diagnosis.facts(run.packager)
    expected = {"video_codec": "H.264", "width": 640, "height": 360, "audio_codec": "AAC", "channels": 1, "jumps": 0}
    assert {name: facts[name] for name in expected} == expected
    assert facts["keyframe_seconds"] == pytest.approx(2.0, abs=0.03)
    assert run.codes() == set()
    run.packager.finish()
    assert run.playlist().endswith("#EXT-X-ENDLIST\n")
    assert (run.folder / "thumbnail.jpg").read_bytes()[:2] == b"\xff\xd8"
    frames = [frame for frame in run.decoded() if isinstance(frame, av.VideoFrame)]
    assert len(frames) >= 270
    assert all(0 < b.pts - a.pts <= 5200 for a, b in itertools.pairwise(frames)), "every 33 ms or so"


def test_the_master_tells_what_was_measured(run: Run, plain: list[Tag]) -> None:
    run.send(sender.described(videodatarate=75.0)(sender.looped(plain)), 10)
    told = re.search(
        r"BANDWIDTH=(\d+),AVERAGE-BANDWIDTH=(\d+),RESOLUTION=640x360", (run.folder / "index.m3u8").read_text()
    )
    assert told is not None
    sizes = [8 * file.stat().st_size / 2.0 for file in (run.folder / "source").glob("*.ts")]
    assert int(told[1]) == pytest.approx(max(sizes), rel=0.12)
    assert int(told[2]) == pytest.approx(sum(sizes) / len(sizes), rel=0.12)


def test_a_frame_rate_is_the_stream_s_however_it_arrives(run: Run, plain: list[Tag]) -> None:
    run.send([replace(tag, due=max(0.0, tag.due - 1.0)) for tag in plain], 5)
    assert diagnosis.facts(run.packager)["frame_rate"] == pytest.approx(30.0, abs=0.1)
    assert "FRAME-RATE=30.0" in (run.folder / "index.m3u8").read_text()


def test_a_folder_of_ten_segments_keeps_thirteen_files(run: Run, plain: list[Tag]) -> None:
    run.send(sender.looped(plain), 61)
    assert len(list((run.folder / "source").glob("*.ts"))) == 13
    number = int(re.search(r"MEDIA-SEQUENCE:(\d+)", run.playlist())[1])  # type: ignore[index]
    assert number == int(WALL) + 20


@pytest.mark.parametrize("seconds", [600, -600, 3600])
def test_a_leap_is_a_discontinuity_and_nothing_else(run: Run, plain: list[Tag], seconds: int) -> None:
    start = sender.begin_with(3600_000)(sender.looped(plain))
    run.send(sender.leap(5, seconds)(start), 14.5)
    assert run.playlist().count("#EXT-X-DISCONTINUITY\n") == 1
    assert run.durations() == pytest.approx([2.0] * 7, abs=0.05)
    assert "timestamps_jumped" in run.codes()
    assert diagnosis.facts(run.packager)["jumps"] == 1


@pytest.mark.parametrize("kind", [AUDIO, VIDEO])
@pytest.mark.parametrize("milliseconds", [23, 400])
def test_timestamps_that_step_back_end_nothing(run: Run, plain: list[Tag], kind: int, milliseconds: int) -> None:
    """Encoders do it, and so does nginx-rtmp, which counts by distances, after it has dropped what nobody took."""
    run.send(sender.jittered(kind, milliseconds)(sender.looped(plain)), 12.5)
    assert len(run.durations()) == 6
    assert run.codes() == set()
    heard = [frame for frame in run.decoded() if isinstance(frame, av.AudioFrame)]
    assert len(heard) >= 12 * 43 - 5


def test_whoever_leaps_all_the_time_gets_one_discontinuity_a_segment(run: Run, plain: list[Tag]) -> None:
    def mad(tags: Iterator[Tag]) -> Iterator[Tag]:
        for number, tag in enumerate(tags):
            yield sender.replace(tag, time=tag.time + number % 7 * 1_000_000)

    run.send(mad(sender.looped(plain)), 30)
    assert len(re.findall("#EXT-X-DISCONTINUITY\n", run.playlist())) <= len(run.durations()) * 120
    assert len(list((run.folder / "source").glob("*.ts"))) <= 13


def test_another_size_begins_another_stretch(run: Run, plain: list[Tag], tmp_path: Path) -> None:
    other = sender.read_flv(clip(tmp_path / "other.flv", size=240))
    run.send(sender.then(5, other)(sender.looped(plain)), 14.5)
    assert run.playlist().count("#EXT-X-DISCONTINUITY\n") == 1
    assert "RESOLUTION=640x240" in (run.folder / "index.m3u8").read_text()
    assert "size_changed" in run.codes()


def test_who_changes_all_the_time_begins_a_stretch_a_second_at_most(run: Run, plain: list[Tag], tmp_path: Path) -> None:
    other = sender.read_flv(clip(tmp_path / "other.flv", size=240))
    headers = [next(tag for tag in tags if tag.kind == VIDEO and tag.is_header) for tags in (plain, other)]
    key = [next(tag for tag in tags if tag.is_keyframe) for tags in (plain, other)]

    def mad() -> Iterator[Tag]:
        for frame in range(300):
            for tag in (headers[frame % 2], key[frame % 2]):
                yield sender.replace(tag, time=frame * 33, due=frame / 30)

    run.send(mad(), 9)
    assert 5 <= run.packager.stretches <= 10


def test_a_silence_longer_than_ten_seconds_takes_no_source_away(run: Run, plain: list[Tag]) -> None:
    run.send(sender.gap(5, 14)(sender.looped(plain)), 26)
    assert "source/index.m3u8" in (run.folder / "index.m3u8").read_text()
    assert run.packager.copy is not None
    assert not run.packager.copy.uncut


def test_headers_that_say_the_same_again_change_nothing(run: Run, plain: list[Tag]) -> None:
    run.send(sender.headers_repeated(sender.looped(plain)), 12.5)
    assert "DISCONTINUITY" not in run.playlist()


def test_sound_alone_plays(run: Run, plain: list[Tag]) -> None:
    run.send((tag for tag in sender.looped(plain) if tag.kind == AUDIO), 12)
    assert len(run.durations()) >= 4
    assert "no_picture" in run.codes()
    assert "RESOLUTION" not in (run.folder / "index.m3u8").read_text()
    assert 'CODECS="mp4a.40.2"' in (run.folder / "index.m3u8").read_text()


def test_a_picture_that_comes_later_is_shown(run: Run, plain: list[Tag]) -> None:
    tags = sender.looped(plain)
    run.send((tag for tag in tags if tag.kind == AUDIO or tag.is_header or tag.due >= 3), 12)
    assert "RESOLUTION=640x360" in (run.folder / "index.m3u8").read_text()
    assert run.codes() == set()


def test_sound_that_comes_later_is_heard(run: Run, plain: list[Tag]) -> None:
    tags = sender.undescribed(sender.gap(0, 5, AUDIO)(sender.looped(plain)))
    run.send(tags, 14)
    assert "mp4a.40.2" in (run.folder / "index.m3u8").read_text()
    assert run.playlist().count("#EXT-X-DISCONTINUITY\n") == 1


def test_a_picture_alone_plays_and_it_is_told(run: Run, plain: list[Tag]) -> None:
    run.send((tag for tag in sender.looped(plain) if tag.kind != AUDIO), 12)
    assert run.durations() == pytest.approx([2.0] * 5, abs=0.03)
    assert run.codes() == {"no_sound"}


@pytest.mark.parametrize(
    ("made", "code"),
    [({"sound": "libmp3lame"}, "audio_converted"), ({"channels": "5.1"}, "audio_channels")],
)
def test_sound_that_not_all_browsers_play_becomes_stereo(
    run: Run, tmp_path: Path, made: dict[str, str], code: str
) -> None:
    run.send(sender.looped(sender.read_flv(clip(tmp_path / "odd.flv", **made))), 10.5)  # type: ignore[arg-type]
    assert run.codes() == {code}
    heard = [frame for frame in run.decoded() if isinstance(frame, av.AudioFrame)]
    assert {(frame.layout.name, frame.sample_rate) for frame in heard} == {("stereo", 48000)}
    assert all(b.pts - a.pts == pytest.approx(1920, abs=100) for a, b in itertools.pairwise(heard)), "without a gap"


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ffmpeg that notes how it was called; what the real one does is the live tests' business."""
    tool = tmp_path / "tools" / "ffmpeg"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\nexec cat >/dev/null\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    return tmp_path / "calls"


def test_a_picture_that_browsers_do_not_show_is_encoded_and_not_offered(
    run: Run, tmp_path: Path, encoder: Path
) -> None:
    run.send(sender.looped(sender.read_flv(clip(tmp_path / "odd.flv", pixels="yuv444p"))), 8.5)
    assert run.codes() == {"pixel_format"}
    assert not (run.folder / "index.m3u8").exists()
    assert list((run.folder / "source").glob("*.ts")) == [], "what nobody may see is not kept"
    run.packager.finish()
    assert "scale=640:360" in encoder.read_text(), "the ladder has nothing, so it is encoded as it is"


def test_a_source_that_cannot_be_cut_is_not_offered_and_takes_no_memory(
    run: Run, plain: list[Tag], encoder: Path
) -> None:
    def once(tags: Iterator[Tag]) -> Iterator[Tag]:
        first = True
        for tag in tags:
            if not tag.is_keyframe or first:
                yield tag
                first = first and not tag.is_keyframe

    run.send(once(sender.looped(plain)), 40)
    assert "keyframes_missing" in run.codes()
    assert run.packager.copy is not None
    assert len(run.packager.copy._packets) == 0
    assert not (run.folder / "index.m3u8").exists()
    run.packager.shed()


def test_rungs_count_the_shorter_side_and_enlarge_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: Path, plain: list[Tag]
) -> None:
    run = Run(tmp_path, monkeypatch, LADDER).send(plain, 3)
    picture = run.packager.picture
    assert picture is not None
    sizes = {}
    for width, height in ((1280, 720), (720, 1280), (1280, 358), (320, 240)):
        run.packager.picture = picture._replace(width=width, height=height)
        sizes[width, height] = [(rung.width, rung.height) for rung in run.packager.rungs()]
    assert sizes == {
        (1280, 720): [(426, 240)],
        (720, 1280): [(240, 426)],
        (1280, 358): [(858, 240)],
        (320, 240): [],
    }
    run.packager.shed()


def test_what_is_no_picture_is_unreadable_and_what_is_another_codec_is_told_by_name(run: Run, plain: list[Tag]) -> None:
    run.send(sender.garbled(sender.looped(plain)), 8)
    assert run.codes() == {"unreadable"}


def test_who_comes_late_waits_for_a_keyframe_and_blames_nobody(run: Run, plain: list[Tag]) -> None:
    tags = (tag for tag in sender.looped(plain) if tag.kind != AUDIO and not tag.is_keyframe)
    assert run.send(tags, 9).codes() == set()
    assert "keyframes_missing" in run.send(tags, 20).codes()
    assert run.send(tags, 45).codes() == {"unreadable"}


@pytest.mark.parametrize(
    ("data", "codec"), [(b"\x90hvc1xxxx", "HEVC"), (b"\x12xxxxxxxx", "Sorenson H.263"), (b"\x90av01xxx", "AV1")]
)
def test_another_codec_is_told_by_name(run: Run, plain: list[Tag], data: bytes, codec: str) -> None:
    run.send((sender.replace(tag, data=data) if tag.kind != AUDIO else tag for tag in plain), 6)
    assert {"code": "video_codec", "codec": codec} in diagnosis.problems(run.packager)
    assert not (run.folder / "index.m3u8").exists()


def test_a_silence_is_no_keyframe_interval(run: Run, plain: list[Tag]) -> None:
    run.send(sender.gap(5, 7)(sender.looped(plain)), 13.9)
    assert run.codes() == set()
    assert diagnosis.facts(run.packager)["keyframe_seconds"] == pytest.approx(2.0, abs=0.1)


def test_silence_is_told(run: Run, plain: list[Tag]) -> None:
    run.send(plain, 5)
    run.packager.now += 7
    assert {"code": "no_data", "seconds": 7} in diagnosis.problems(run.packager)


def test_only_a_picture_that_stands_by_itself_ends_a_segment() -> None:
    box = bytes.fromhex("0164001fff")
    refresh = b"\0\0\0\2\x06\x05" + b"\0\0\0\3\x41\x9a\x00"
    assert not flv.begins_decoding(box, refresh)
    assert flv.begins_decoding(box, b"\0\0\0\2\x06\x05" + b"\0\0\0\3\x65\x88\x00")
    assert not flv.begins_decoding(box, b"\xff\xff\xff\xff\x41")
    assert not flv.begins_decoding(b"", b"")
