"""Settings of the supervisor, from its environment."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .retention import MEGABYTE, Limits

LARGEST_RECORDING = 1024  # MiB; a file that is being written can't be removed, so that it stays small beside them all
FREE_MEGABYTES = 1024  # what recordings leave of the disk, whatever they may have
NAME = re.compile(r"[a-z0-9_-]{1,20}")


class RefusedSetting(ValueError):
    """A setting with which the supervisor will not start; the message is one sentence for the operator."""


@dataclass(frozen=True)
class Rendition:
    """One quality a viewer can choose. Without *height* the source is copied. Bitrates are kbit/s, height is lines."""

    name: str
    height: int | None = None
    video_kbps: int = 0
    audio_kbps: int = 0


@dataclass(frozen=True)
class Config:
    """What the supervisor was told. Times are seconds."""

    streams_url: str
    rtmp_source: str
    play_socket: Path | None
    hls_root: Path
    ladder: tuple[Rendition, ...]
    segment_seconds: int
    playlist_segments: int
    poll_seconds: float
    ended_retention_seconds: float
    recordings_root: Path | None
    recording_limits: Limits
    push_port: int
    sheds: bool

    def source(self, application: str) -> str:
        """Return where the streams of *application* are played."""
        return f"{self.rtmp_source.rpartition('/')[0]}/{application}"

    @property
    def recording_file_bytes(self) -> int:
        """How large one file of a recording may become."""
        return min(LARGEST_RECORDING * MEGABYTE, self.recording_limits.total // 4)


def _rendition(entry: Any) -> Rendition:
    """Return one entry of the ladder."""
    if not isinstance(entry, dict) or not NAME.fullmatch(str(entry.get("name", ""))):
        raise RefusedSetting("LADDER has an entry without a name of lower case letters, digits, - or _.")
    numbers = {}
    for field in ("height", "video_kbps", "audio_kbps"):
        value = entry.get(field)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 100_000:
            raise RefusedSetting(f"LADDER's {entry['name']} has a {field} that is not a positive number.")
        numbers[field] = value
    if set(entry) - {"name", "height", "video_kbps", "audio_kbps"}:
        raise RefusedSetting(f"LADDER's {entry['name']} has a field that nobody knows.")
    if numbers and set(numbers) != {"height", "video_kbps", "audio_kbps"}:
        raise RefusedSetting(f"LADDER's {entry['name']} needs height, video_kbps and audio_kbps, or none of them.")
    return Rendition(entry["name"], **numbers)


def _ladder(text: str) -> tuple[Rendition, ...]:
    """Return the renditions in the JSON list *text*."""
    try:
        entries = json.loads(text)
    except ValueError:
        raise RefusedSetting("LADDER is not JSON: write a list of renditions.") from None
    if not isinstance(entries, list) or not entries:
        raise RefusedSetting("LADDER is not a list with at least one rendition.")
    ladder = tuple(_rendition(entry) for entry in entries)
    if len({rendition.name for rendition in ladder}) != len(ladder):
        raise RefusedSetting("LADDER has two renditions of the same name.")
    return ladder


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    """Return the positive whole number *name*."""
    text = environment.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise RefusedSetting(f"{name} is not a positive whole number.")
    return int(text)


def _writable(name: str, text: str) -> Path:
    """Return the folder *text* of the setting *name*, in which files can be made."""
    folder = Path(text)
    if not folder.is_absolute() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise RefusedSetting(f"{name} is not a folder in which the supervisor may write.")
    return folder


def _limits(environment: Mapping[str, str]) -> Limits:
    """Return how much may be recorded."""
    return Limits(
        days=_number(environment, "RECORDING_DAYS", 14),
        total=_number(environment, "RECORDINGS_MEGABYTES", 10_240) * MEGABYTE,
        free=FREE_MEGABYTES * MEGABYTE,
    )


def from_environment(environment: Mapping[str, str]) -> Config:
    """Return the settings in *environment*.

    Raises:
        RefusedSetting: the first setting that is missing or malformed.
    """
    for name in ("STREAMS_URL", "RTMP_SOURCE"):
        if not environment.get(name):
            raise RefusedSetting(f"{name} is not set: say where the orchestrator and nginx-rtmp are.")
    if not environment["STREAMS_URL"].startswith(("http://", "https://")):
        raise RefusedSetting("STREAMS_URL is not an http:// or https:// address.")
    if not environment["RTMP_SOURCE"].startswith("rtmp://") or environment["RTMP_SOURCE"].endswith("/"):
        raise RefusedSetting("RTMP_SOURCE is not rtmp://HOST[:PORT]/APPLICATION without a slash at its end.")
    play_socket = environment.get("PLAY_SOCKET", "")
    if play_socket and not Path(play_socket).is_absolute():
        raise RefusedSetting("PLAY_SOCKET is not the absolute path of nginx-rtmp's socket.")
    recordings = environment.get("RECORDINGS_ROOT", "")
    return Config(
        streams_url=environment["STREAMS_URL"],
        rtmp_source=environment["RTMP_SOURCE"],
        play_socket=Path(play_socket) if play_socket else None,
        ladder=_ladder(environment.get("LADDER", '[{"name": "source"}]')),
        segment_seconds=_number(environment, "SEGMENT_SECONDS", 2),
        playlist_segments=_number(environment, "PLAYLIST_SEGMENTS", 10),
        poll_seconds=_number(environment, "POLL_SECONDS", 2),
        ended_retention_seconds=_number(environment, "ENDED_RETENTION_SECONDS", 30),
        hls_root=_writable("HLS_ROOT", environment.get("HLS_ROOT", "/var/hls")),
        recordings_root=_writable("RECORDINGS_ROOT", recordings) if recordings else None,
        recording_limits=_limits(environment),
        push_port=_number(environment, "MEDIA_PORT", 8090),
        sheds=environment.get("SHED_RENDITIONS", "true") == "true",
    )
