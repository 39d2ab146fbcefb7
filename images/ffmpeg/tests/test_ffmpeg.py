"""The command that records."""

from __future__ import annotations

from pathlib import Path

from supervisor.ffmpeg import recording_command


def test_a_recording_is_a_copy_that_plays_however_it_ends_and_overwrites_nothing() -> None:
    words = recording_command("rtmp://192.0.2.2:1937/live/alice", Path("/disk/alice/x.mp4"), 1000)
    assert words[words.index("-c") + 1] == "copy"
    assert "empty_moov" in words[words.index("-movflags") + 1]
    assert words[words.index("-fs") + 1] == "1000"
    assert words[-2:] == ["-n", "/disk/alice/x.mp4"]
