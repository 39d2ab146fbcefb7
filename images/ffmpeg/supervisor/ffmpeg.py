"""The commands: ask what a stream holds, and turn it into HLS (RFC 8216)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .config import Config, Rendition

READ_TIMEOUT = 8_000_000  # microseconds without data after which a source counts as gone


class Unplayable(Exception):
    """A stream that can't be turned into HLS; the message says why."""


@dataclass(frozen=True)
class Source:
    """What a stream holds. *height* is lines."""

    height: int
    has_audio: bool


def probe_command(url: str) -> list[str]:
    """Return the ffprobe call that describes the stream at *url* as JSON."""
    return [
        *("ffprobe", "-v", "error", "-rw_timeout", str(READ_TIMEOUT)),
        *("-analyzeduration", "2000000", "-probesize", "2000000"),
        *("-show_entries", "stream=codec_type,codec_name,height", "-of", "json", url),
    ]


def understand(answer: str) -> Source:
    """Return what ffprobe's JSON *answer* describes.

    Raises:
        Unplayable: no H.264 picture, or sound that is not AAC.
    """
    try:
        streams = json.loads(answer)["streams"]
    except (ValueError, KeyError):
        raise Unplayable("the stream can't be read") from None
    video = [s for s in streams if s.get("codec_type") == "video"]
    audio = [s for s in streams if s.get("codec_type") == "audio"]
    if not video or video[0].get("codec_name") != "h264" or not video[0].get("height"):
        raise Unplayable("the stream has no H.264 picture")
    if audio and audio[0].get("codec_name") != "aac":
        raise Unplayable("the stream's sound is not AAC")
    return Source(height=int(video[0]["height"]), has_audio=bool(audio))


def fitting(ladder: Sequence[Rendition], source: Source) -> list[Rendition]:
    """Return the renditions that do not enlarge *source*; at least the first."""
    fits = [r for r in ladder if r.height is None or r.height < source.height]
    return fits or [ladder[0]]


def _encode(index: int, rendition: Rendition, segment_seconds: int) -> list[str]:
    """Return the options of output *index*: a copy, or H.264 and AAC with a keyframe where each segment begins."""
    if rendition.height is None:
        return [f"-c:v:{index}", "copy", f"-c:a:{index}", "copy"]
    rate = rendition.video_kbps
    return [
        *(f"-c:v:{index}", "libx264", f"-preset:v:{index}", "veryfast", f"-pix_fmt:v:{index}", "yuv420p"),
        *(f"-filter:v:{index}", f"scale=-2:{rendition.height}"),
        *(f"-b:v:{index}", f"{rate}k", f"-maxrate:v:{index}", f"{rate * 107 // 100}k"),
        *(f"-bufsize:v:{index}", f"{rate * 3 // 2}k", f"-sc_threshold:v:{index}", "0"),
        *(f"-force_key_frames:v:{index}", f"expr:gte(t,n_forced*{segment_seconds})"),
        *(f"-c:a:{index}", "aac", f"-b:a:{index}", f"{rendition.audio_kbps}k", f"-ac:a:{index}", "2"),
    ]


def hls_command(config: Config, url: str, folder: Path, start: int, source: Source) -> list[str]:
    """Return the ffmpeg call that turns *url* into HLS under *folder*.

    *start* (seconds since 1970) numbers the first segment and is part of every segment's name, so that neither a player
    nor a cache takes a former session's segments for this one's.
    """
    renditions = fitting(config.ladder, source)
    maps, options, variants = [], [], []
    for index, rendition in enumerate(renditions):
        maps += ["-map", "0:v:0"] + (["-map", "0:a:0"] if source.has_audio else [])
        options += _encode(index, rendition, config.segment_seconds)
        variants.append(f"v:{index}" + (f",a:{index}" if source.has_audio else "") + f",name:{rendition.name}")
    if not source.has_audio:
        options = [o for pair in zip(options[::2], options[1::2], strict=True) if ":a:" not in pair[0] for o in pair]
    return [
        *("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-rw_timeout", str(READ_TIMEOUT)),
        *("-fflags", "+genpts", "-i", url, *maps, *options),
        *("-f", "hls", "-hls_time", str(config.segment_seconds), "-hls_list_size", str(config.playlist_segments)),
        *("-hls_delete_threshold", "3", "-start_number", str(start)),
        *("-hls_flags", "delete_segments+independent_segments+program_date_time+temp_file"),
        *("-hls_segment_filename", f"{folder}/%v/{start}-%06d.ts"),
        *("-master_pl_name", "index.m3u8", "-var_stream_map", " ".join(variants), f"{folder}/%v/index.m3u8"),
    ]


def thumbnail_command(segment: Path, picture: Path) -> list[str]:
    """Return the ffmpeg call that writes a small *picture* of the first keyframe in *segment*."""
    return [
        *("ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-skip_frame", "nokey", "-i", str(segment)),
        *("-frames:v", "1", "-vf", "scale=320:-2", "-q:v", "5", "-f", "mjpeg", "-y", str(picture)),
    ]


def recording_command(url: str, file: Path, size: int) -> list[str]:
    """Return the ffmpeg call that copies *url* into *file*, of about *size* bytes at most.

    The file is a fragmented MP4, which plays as far as it got whatever ends the writing.
    """
    return [
        *("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-rw_timeout", str(READ_TIMEOUT)),
        *("-i", url, "-map", "0:v:0", "-map", "0:a:0?", "-c", "copy"),
        *("-f", "mp4", "-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-fs", str(size), "-n", str(file)),
    ]
