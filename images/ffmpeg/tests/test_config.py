"""Settings: what is wrong is refused in one sentence that names the setting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from supervisor.config import Config, RefusedSetting, Rendition, from_environment
from supervisor.retention import MEGABYTE, Limits


@pytest.fixture
def good(tmp_path: Path) -> dict[str, str]:
    return {
        "STREAMS_URL": "http://192.0.2.1:8000/internal/streams",
        "RTMP_SOURCE": "rtmp://192.0.2.2:1937/live",
        "HLS_ROOT": str(tmp_path),
    }


def test_defaults(good: dict[str, str], tmp_path: Path) -> None:
    assert from_environment(good) == Config(
        streams_url=good["STREAMS_URL"],
        rtmp_source=good["RTMP_SOURCE"],
        play_socket=None,
        hls_root=tmp_path,
        ladder=(Rendition("source"),),
        segment_seconds=2,
        playlist_segments=10,
        poll_seconds=2,
        ended_retention_seconds=30,
        recordings_root=None,
        recording_limits=Limits(days=14, total=10_240 * MEGABYTE, free=1024 * MEGABYTE),
        push_port=8090,
        sheds=True,
    )


def test_a_ladder_is_read(good: dict[str, str]) -> None:
    entries = [{"name": "source"}, {"name": "480p", "height": 480, "video_kbps": 1000, "audio_kbps": 96}]
    ladder = from_environment(good | {"LADDER": json.dumps(entries)}).ladder
    assert ladder == (Rendition("source"), Rendition("480p", 480, 1000, 96))


def test_a_file_is_small_beside_all_recordings(good: dict[str, str]) -> None:
    assert from_environment(good).recording_file_bytes == 1024 * MEGABYTE
    assert from_environment(good | {"RECORDINGS_MEGABYTES": "400"}).recording_file_bytes == 100 * MEGABYTE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STREAMS_URL", ""),
        ("STREAMS_URL", "file:///etc/passwd"),
        ("RTMP_SOURCE", ""),
        ("RTMP_SOURCE", "http://192.0.2.2/live"),
        ("RTMP_SOURCE", "rtmp://192.0.2.2/live/"),
        ("PLAY_SOCKET", "run/rtmp/play.sock"),
        ("HLS_ROOT", "/does/not/exist"),
        ("HLS_ROOT", "relative"),
        ("LADDER", ""),
        ("LADDER", "{}"),
        ("LADDER", "[]"),
        ("LADDER", '["source"]'),
        ("LADDER", '[{"name": "../x"}]'),
        ("LADDER", '[{"name": "a,b"}]'),
        ("LADDER", '[{"name": "a"}, {"name": "a"}]'),
        ("LADDER", '[{"name": "a", "height": 480}]'),
        ("LADDER", '[{"name": "a", "height": -2, "video_kbps": 1, "audio_kbps": 1}]'),
        ("LADDER", '[{"name": "a", "height": true, "video_kbps": 1, "audio_kbps": 1}]'),
        ("LADDER", '[{"name": "a", "codec": "av1"}]'),
        *((n, v) for n in ("SEGMENT_SECONDS", "PLAYLIST_SEGMENTS", "POLL_SECONDS") for v in ("", "0", "-1", "x", "²")),
        ("ENDED_RETENTION_SECONDS", "1.5"),
        ("RECORDINGS_ROOT", "/does/not/exist"),
        ("RECORDING_DAYS", "0"),
        ("RECORDINGS_MEGABYTES", "-1"),
    ],
)
def test_what_is_wrong_is_refused_by_name(good: dict[str, str], name: str, value: str) -> None:
    with pytest.raises(RefusedSetting, match=name):
        from_environment(good | {name: value})
