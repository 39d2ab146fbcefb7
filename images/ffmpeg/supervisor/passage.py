"""One live stream's way to somebody else's server.

The key for it is never an argument, which everybody on the host could read, nor in a file or the environment: ffmpeg
reads it from its standard input, as an option of its output (`-fpre`). What ffmpeg says may hold it, when the server
repeats what it was sent, so that only the words below leave this module.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from typing import NamedTuple

from .child import Child, last_words
from .ffmpeg import READ_TIMEOUT
from .log import note
from .targets import Networks, Refused, Target, judge

LINES = 12  # of ffmpeg's complaints that are looked at


class State(NamedTuple):
    """What becomes of a passage, in the words that the orchestrator knows."""

    state: str
    reason: str | None = None


WAITING = State("waiting")
RUNNING = State("running")
ENDED = State("waiting", "ended")
# What ffmpeg 7.1 (with GnuTLS) says when it can't begin, and what that means; the first that fits counts.
MEANINGS = (
    ("Error opening input", WAITING),  # our own side: the stream has just ended
    ("Server error", State("refused", "refused by the server")),
    ("certificate", State("refused", "certificate not trusted")),
    ("Failed to resolve hostname", State("waiting", "name not found")),
    ("Cannot open connection", State("waiting", "cannot connect")),
    ("RTMP handshake", State("waiting", "cannot connect")),
    ("Error opening output", State("refused", "refused by the server")),
    ("muxing a packet", State("refused", "refused by the server")),  # it hung up on the first that it got
)


def understand(complaints: Sequence[str]) -> State:
    """Return what ffmpeg's *complaints* mean when it could not begin."""
    text = "\n".join(complaints)
    return next((state for words, state in MEANINGS if words in text), ENDED)


def command(source: str, target: Target, ca_file: str) -> list[str]:
    """Return the ffmpeg call that copies *source* to *target*, whose key it reads from its standard input."""
    trust = ["-tls_verify", "1", "-ca_file", ca_file] if target.scheme == "rtmps" else []
    return [
        *("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-progress", "pipe:1", "-stats_period", "1"),
        *("-rw_timeout", str(READ_TIMEOUT), "-i", f"{source.rpartition('/')[0]}/{target.application}/{target.slug}"),
        *("-map", "0:v:0", "-map", "0:a:0?", "-c", "copy", "-f", "flv", "-flvflags", "no_duration_filesize"),
        *("-rw_timeout", str(READ_TIMEOUT), *trust, "-rtmp_app", target.app, "-fpre", "/dev/stdin", target.url),
    ]


class Passage(Child):
    """Passes a stream on until `stop`. *state* is what becomes of it."""

    event = "relay"
    first_retry = 2.0
    slowest_retry = 60.0

    def __init__(self, number: str, target: Target, source: str, networks: Networks, ca_file: str) -> None:
        self.number = number
        self.target = target
        self.state = WAITING
        self._source = source
        self._networks = networks
        self._ca_file = ca_file
        super().__init__(target.slug, target.session)

    def _once(self) -> None:
        """Pass on until either side ends."""
        try:
            judge(self.target, self._networks)
        except Refused as refusal:
            self._became(State(refusal.state, refusal.reason))
            return
        if self.stopping:
            return
        began = threading.Event()
        call = command(self._source, self.target, self._ca_file)
        process = self._spawn(call, subprocess.PIPE, subprocess.PIPE, stdin=subprocess.PIPE)
        progress = threading.Thread(target=self._follow, args=(process, began), name=f"{self.number}-progress")
        progress.start()
        self._tell_key(process)
        said = last_words(process, LINES)
        progress.join()
        if not self.stopping:
            self._became(ENDED if began.is_set() else understand(said))

    def _tell_key(self, process: subprocess.Popen[str]) -> None:
        """Give *process* the key, and nobody else."""
        assert process.stdin  # noqa: S101  # tells mypy what Popen was called with
        try:
            with process.stdin:
                process.stdin.write(f"rtmp_playpath={self.target.stream_key}\n")
        except BrokenPipeError:  # it has gone already; its last words say why
            return

    def _follow(self, process: subprocess.Popen[str], began: threading.Event) -> None:
        """Read how far *process* is, each second; it runs when more has left than at first.

        What a server takes before it hangs up on a key that it does not know is no sign of anything.
        """
        assert process.stdout  # noqa: S101  # likewise
        first, size = 0, 0
        with process.stdout:
            for line in process.stdout:
                name, _, value = line.strip().partition("=")
                if name == "total_size" and value.isdigit():
                    size = int(value)
                    first = first or size
                elif (name, value) == ("progress", "continue") and size > first and not began.is_set():
                    began.set()
                    self._became(RUNNING)

    def _became(self, state: State) -> None:
        """Note that something else becomes of it."""
        if state != self.state:
            note(self.event, relay=self.number, slug=self.slug, result=state.state, reason=state.reason)
        self.state = state
