"""The commands that are built, and what is understood of a probe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from supervisor.config import Config, Rendition
from supervisor.ffmpeg import Source, Unplayable, fitting, hls_command, recording_command, understand
from supervisor.retention import Limits

SOURCE = Rendition("source")
SMALL = Rendition("480p", 480, 1000, 96)
NO_LIMITS = Limits(14, 1 << 30, 1 << 30)
URL = "rtmp://192.0.2.2:1937/live/alice"


def command(*, has_audio: bool, height: int = 720) -> list[str]:
    config = Config(
        "http://192.0.2.1/", "rtmp://192.0.2.2/live", Path("/hls"), (SOURCE, SMALL), 2, 10, 1, 30, None, NO_LIMITS
    )
    return hls_command(config, URL, Path("/hls/alice"), 1700000000, Source(height, has_audio))


def value(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def test_the_source_is_copied_and_the_rest_encoded() -> None:
    words = command(has_audio=True)
    assert (value(words, "-c:v:0"), value(words, "-c:a:0")) == ("copy", "copy")
    assert (value(words, "-c:v:1"), value(words, "-c:a:1")) == ("libx264", "aac")
    assert value(words, "-filter:v:1") == "scale=-2:480"
    assert value(words, "-force_key_frames:v:1") == "expr:gte(t,n_forced*2)"
    assert value(words, "-var_stream_map") == "v:0,a:0,name:source v:1,a:1,name:480p"
    assert value(words, "-hls_segment_filename") == "/hls/alice/%v/1700000000-%06d.ts"
    flags = set(value(words, "-hls_flags").split("+"))
    assert flags == {"delete_segments", "independent_segments", "program_date_time", "temp_file"}


def test_without_sound_no_word_is_about_sound() -> None:
    words = command(has_audio=False)
    assert value(words, "-var_stream_map") == "v:0,name:source v:1,name:480p"
    assert not any(":a:" in word for word in words)


@pytest.mark.parametrize(
    ("height", "names"), [(1080, ["source", "480p"]), (481, ["source", "480p"]), (480, ["source"]), (240, ["source"])]
)
def test_nothing_is_enlarged(height: int, names: list[str]) -> None:
    assert [r.name for r in fitting((SOURCE, SMALL), Source(height, True))] == names


def test_a_ladder_without_a_copy_keeps_one_rendition() -> None:
    assert fitting((SMALL,), Source(240, True)) == [SMALL]


def probed(*streams: dict[str, object]) -> str:
    return json.dumps({"streams": streams})


PICTURE: dict[str, object] = {"codec_type": "video", "codec_name": "h264", "height": 720}
SOUND: dict[str, object] = {"codec_type": "audio", "codec_name": "aac"}


def test_a_probe_is_understood() -> None:
    assert understand(probed(PICTURE, SOUND)) == Source(720, True)
    assert understand(probed(PICTURE)) == Source(720, False)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "can't be read"),
        ("{}", "can't be read"),
        (probed(), "no H.264"),
        (probed(SOUND), "no H.264"),
        (probed(PICTURE | {"codec_name": "vp6f"}), "no H.264"),
        (probed(PICTURE | {"height": 0}), "no H.264"),
        (probed(PICTURE, SOUND | {"codec_name": "mp3"}), "not AAC"),
    ],
)
def test_what_cannot_play_is_said(answer: str, why: str) -> None:
    with pytest.raises(Unplayable, match=why):
        understand(answer)


def test_a_recording_copies_and_plays_as_far_as_it_got() -> None:
    words = recording_command(URL, Path("/disk/alice/x.mp4"), 1000)
    assert value(words, "-c") == "copy"
    assert "frag_keyframe" in value(words, "-movflags")
    assert value(words, "-fs") == "1000"
    assert words[-2:] == ["-n", "/disk/alice/x.mp4"], "a file that exists is not written over"
