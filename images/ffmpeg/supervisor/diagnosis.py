"""What is measured of a stream, and what is wrong with it, in the words that the orchestrator knows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from . import flv, media

if TYPE_CHECKING:
    from .packager import Packager

FAR_KEYFRAMES = 4.5  # seconds; from here on viewers notice
MISSING_KEYFRAMES = 10.0
CLEAR_WITHIN = 4.0  # seconds in which something that can be read begins
PATIENCE = 40.0  # seconds, for the first keyframe of a stream that was live before us
TOLD_FOR = 60.0  # seconds for which an event is told as a problem


def problem(code: str, **values: Any) -> dict[str, Any]:
    """Return a problem as the orchestrator takes it."""
    return {"code": code, **values}


def _aac(packager: Packager) -> flv.AacConfig | None:
    """Return what is said of the sound that comes, where it is AAC."""
    known = packager.sound_header
    return flv.aac_config(known[1]) if known and known[0] == "AAC" else None


def facts(packager: Packager) -> dict[str, Any]:
    """Return what is measured."""
    picture, offered = packager.picture, packager.package.offered()
    aac = _aac(packager)
    newest = max((r.segments[-1].wall + r.segments[-1].duration for r in offered), default=None)
    return {
        "video_codec": packager.video_codec or None,
        "profile": picture.profile if picture else None,
        "pixel_format": picture.pixel_format if picture else None,
        "width": picture.width if picture else None,
        "height": picture.height if picture else None,
        "frame_rate": packager.rates.frames if picture else None,
        "keyframe_seconds": packager.rates.keyframe_seconds,
        "bitrate_kbps": packager.rates.kbps,
        "audio_codec": packager.audio_codec or None,
        "sample_rate": aac.sample_rate if aac else (packager.sound.heard[0] if packager.sound else None),
        "channels": aac.channels if aac else (packager.sound.heard[1] if packager.sound else None),
        "audio_offset_seconds": round(packager.timeline.apart / 1000, 2),
        "jumps": packager.timeline.leaps,
        "last_data_seconds": round(packager.now - packager.last_data, 1),
        "behind_seconds": round(time.time() - newest, 1) if newest else None,
        "segments": max((r.count for r in offered), default=0),
        "renditions": [
            {"name": r.name, "kbps": r.average // 1000, "width": r.width, "height": r.height} for r in offered
        ],
        "playing": bool(offered),
    }


def problems(packager: Packager) -> list[dict[str, Any]]:
    """Return what is wrong."""
    found = [*_codec_problems(packager), *_picture_problems(packager), *_sound_problems(packager)]
    for code, (when, values) in packager.events.items():
        if packager.now - when < TOLD_FOR:
            found.append(problem(code, **values))
    silent = packager.now - packager.last_data
    if silent > 3:
        found.append(problem("no_data", seconds=round(silent)))
    elif _nothing_written_for(packager) > 3 * packager.job.segment_seconds + 4:
        found.append(problem("segments_late", seconds=round(_nothing_written_for(packager))))
    if not packager.encode and packager.rungs():
        found.append(problem("renditions_shed", names=[r.name for r in packager.rungs()]))
    return found


def _nothing_written_for(packager: Packager) -> float:
    """Return how many seconds the newest segment lies behind."""
    newest = [r.segments[-1].wall + r.segments[-1].duration for r in packager.package.offered()]
    return time.time() - max(newest) if newest else 0.0


def _codec_problems(packager: Packager) -> list[dict[str, Any]]:
    """Return what can't be played at all."""
    found = []
    if packager.video_codec not in ("", "H.264"):
        found.append(problem("video_codec", codec=packager.video_codec))
    if packager.audio_codec and packager.audio_codec not in media.LIBAV:
        found.append(problem("audio_codec", codec=packager.audio_codec))
    waited = packager.now - packager.began
    # Who comes to a stream that runs already waits for its next keyframe, which is no fault of what is sent.
    awaits_keyframe = packager.picture_header is not None and packager.first_key is None
    begins = packager.format is not None or waited < (PATIENCE if awaits_keyframe else CLEAR_WITHIN)
    if packager.unreadable or not (found or begins or packager.now - packager.last_data > 2):
        found.append(problem("unreadable"))
    elif awaits_keyframe and waited > MISSING_KEYFRAMES:
        found.append(problem("keyframes_missing", seconds=round(waited, 1)))
    return found


def _picture_problems(packager: Packager) -> list[dict[str, Any]]:
    """Return what is odd about the picture."""
    found = []
    picture, interval = packager.picture, packager.rates.keyframe_seconds
    if picture and picture.pixel_format not in media.SHOWN_BY_BROWSERS:
        found.append(problem("pixel_format", format=picture.pixel_format))
    if picture and picture.interlaced:
        found.append(problem("interlaced"))
    since = (packager.last_picture - packager.copy.last_key) / 1000 if packager.copy and picture else 0.0
    if (packager.copy and packager.copy.uncut) or since > MISSING_KEYFRAMES:
        found.append(problem("keyframes_missing", seconds=round(max(since, interval or 0.0), 1)))
    elif max(interval or 0.0, since) > FAR_KEYFRAMES:
        found.append(problem("keyframes_far", seconds=round(max(interval or 0.0, since), 1)))
    if packager.format and packager.format.picture is None and not packager.video_codec:
        found.append(problem("no_picture"))
    return found


def _sound_problems(packager: Packager) -> list[dict[str, Any]]:
    """Return what is odd about the sound."""
    found = []
    aac = _aac(packager)
    if packager.sound and aac:
        found.append(problem("audio_channels", channels=aac.channels))
    elif packager.sound:
        found.append(problem("audio_converted", codec=packager.audio_codec))
    if packager.picture and not packager.audio_codec and packager.now - packager.began > 5:
        found.append(problem("no_sound"))
    if abs(packager.timeline.apart) > 3000:
        found.append(problem("audio_offset", seconds=round(packager.timeline.apart / 1000, 1)))
    return found
