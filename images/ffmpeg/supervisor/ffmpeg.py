"""The call that records a stream."""

from __future__ import annotations

from pathlib import Path

READ_TIMEOUT = 30_000_000  # microseconds without data after which a source counts as gone


def recording_command(url: str, file: Path, size: int) -> list[str]:
    """Return the ffmpeg call that copies *url* into *file*, of about *size* bytes at most.

    The file is a fragmented MP4, which plays as far as it got whatever ends the writing.
    """
    return [
        *("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-rw_timeout", str(READ_TIMEOUT)),
        *("-i", url, "-map", "0:v:0", "-map", "0:a:0?", "-c", "copy"),
        *("-f", "mp4", "-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-fs", str(size), "-n", str(file)),
    ]
