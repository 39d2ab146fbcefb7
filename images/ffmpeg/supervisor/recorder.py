"""One live stream's way to the disk: a program of its own, whose failure hurts nobody who watches."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from .child import Child, last_words
from .config import Config
from .ffmpeg import recording_command
from .live import Stream
from .log import note


class Recorder(Child):
    """Copies a stream into files of a bounded size, one after the other. *file* is the one that is being written."""

    event = "recording"

    def __init__(self, config: Config, root: Path, slug: str, stream: Stream) -> None:
        self._config = config
        self._folder = root / slug
        self._url = f"{config.source(stream.application)}/{slug}"
        self.file: Path | None = None
        super().__init__(slug, stream.session)

    def _once(self) -> None:
        """Write one file, until it is full or the stream ends."""
        self._folder.mkdir(mode=0o755, exist_ok=True)
        self.file = self._folder / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ.mp4")
        command = recording_command(self._url, self.file, self._config.recording_file_bytes)
        process = self._spawn(command, subprocess.DEVNULL, subprocess.PIPE)
        note("recording", slug=self.slug, session=self.session, result="started", file=self.file.name)
        said = last_words(process)
        note("recording", slug=self.slug, result="ended", file=self.file.name, code=process.returncode, said=said)
        if self.file.exists() and self.file.stat().st_size == 0:
            self.file.unlink()
        self.file = None
