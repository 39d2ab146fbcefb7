"""One live stream's way from RTMP to HLS."""

from __future__ import annotations

import shutil
import subprocess
import time

from .child import Child, last_words
from .config import Config
from .ffmpeg import Source, hls_command, probe_command, understand
from .live import Stream
from .log import note
from .places import folder_of


class Pipeline(Child):
    """Probes and encodes. The folder holds this session's HLS and nothing else."""

    def __init__(self, config: Config, slug: str, stream: Stream) -> None:
        self._config = config
        self.private = stream.private
        self.folder = folder_of(config.hls_root, slug, stream.private)
        self._url = f"{config.rtmp_source}/{slug}"
        super().__init__(slug, stream.session)

    def _once(self) -> None:
        """Probe and encode."""
        self._encode(self._probe())

    def _probe(self) -> Source:
        """Return what the stream holds."""
        answer, _ = self._spawn(probe_command(self._url), subprocess.PIPE, subprocess.DEVNULL).communicate()
        return understand(answer)

    def _encode(self, source: Source) -> None:
        """Run ffmpeg until it ends, in a folder that holds nothing of an earlier run."""
        if self.stopping:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o755)
        command = hls_command(self._config, self._url, self.folder, int(time.time()), source)
        process = self._spawn(command, subprocess.DEVNULL, subprocess.PIPE)
        note("ffmpeg", slug=self.slug, session=self.session, result="started", height=source.height)
        said = last_words(process)
        note("ffmpeg", slug=self.slug, session=self.session, result="ended", code=process.returncode, said=said)
