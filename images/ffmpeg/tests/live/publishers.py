"""What real encoders send: a row for each input, and publishers that send it.

A row is a clip (made once by ffmpeg), what the sender does to it on the way, and what is to be found out about it. What
nothing is done to is published by ffmpeg itself.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sender
from sender import AUDIO, VIDEO, Bend, Connection, Refused, Tag, looped, read_flv

SECONDS = 20  # of a clip that nothing else is said of; it is sent again and again
SINE = "sine=frequency=440:sample_rate=48000"
AAC = ("-c:a", "aac", "-b:a", "96k")
WRAP = 1 << 24  # milliseconds after which three bytes begin anew: 4 h 39 min


def picture(size: str = "640x360", rate: str = "30", look: str = "") -> str:
    """Return ffmpeg's moving test picture."""
    return f"testsrc2=size={size}:rate={rate}{look}"


def h264(*options: str, keyframes: int = 60, kbps: int = 800) -> tuple[str, ...]:
    """Return how a person has set the encoder: *keyframes* is frames from one to the next; *options* come last."""
    return (
        *("-c:v", "libx264", "-preset", "superfast", "-profile:v", "high", "-pix_fmt", "yuv420p", "-bf", "0"),
        *("-g", str(keyframes), "-keyint_min", str(keyframes), "-sc_threshold", "0"),
        *("-b:v", f"{kbps}k", "-maxrate", f"{kbps}k", "-bufsize", f"{2 * kbps}k"),
        *options,
    )


@dataclass(frozen=True)
class Clip:
    """What ffmpeg makes: its inputs and its encoders. Without *picture* or *sound* there is none of it."""

    picture: str = picture()
    video: tuple[str, ...] = h264()
    sound: str = SINE
    audio: tuple[str, ...] = AAC
    seconds: int = SECONDS

    def file(self, folder: Path) -> Path:
        """Return the clip in *folder*, made when nobody did before."""
        inputs = [word for source in (self.picture, self.sound) if source for word in ("-f", "lavfi", "-i", source)]
        encoders = (*(self.video if self.picture else ()), *(self.audio if self.sound else ()))
        words = [*inputs, *encoders, "-t", str(self.seconds)]
        file = folder / f"{hashlib.sha256(' '.join(words).encode()).hexdigest()[:16]}.flv"
        if not file.exists():
            partial = file.with_suffix(f".{os.getpid()}")  # another run may be at the same
            command = ["ffmpeg", "-nostdin", "-v", "error", *words, "-f", "flv", "-y", str(partial)]
            # SVT-AV1 has a log of its own, which asks the environment how much to say.
            subprocess.run(command, check=True, timeout=300, env=os.environ | {"SVT_LOG": "1"})
            partial.rename(file)
        return file

    def tags(self, folder: Path) -> list[Tag]:
        """Return what is in it; as in a live stream, nobody says how long or large it will be."""
        return list(sender.described(duration=0.0, filesize=0.0)(iter(read_flv(self.file(folder)))))


@dataclass(frozen=True)
class Row:
    """One input. *expect* is facts that the supervisor finds out, *problems* the codes that it tells.

    *application* and *playpath* are what the encoder has in its two fields, with {slug} in them. It plays
    within 5 s, and is watched for *seconds*.
    """

    name: str
    clip: Clip = Clip()
    bends: tuple[Bend, ...] = ()
    other: Clip | None = None  # what it goes over to
    over_at: float = 10.0  # seconds
    application: str = "live"
    playpath: str = "{slug}"
    expect: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    offers: tuple[str, ...] = ("source", "240p")  # what viewers can choose in the end
    seconds: float = 14.0  # after which all of this is to be true

    @property
    def by_ffmpeg(self) -> bool:
        """Whether ffmpeg can send it."""
        return not (self.bends or self.other) and (self.application, self.playpath) == ("live", "{slug}")

    def tags(self, folder: Path) -> Iterator[Tag]:
        """Return all that is sent, for ever."""
        tags = looped(self.clip.tags(folder))
        if self.other:
            tags = sender.then(self.over_at, self.other.tags(folder))(tags)
        for bend in self.bends:
            tags = bend(tags)
        return tags


class Publisher(ABC):
    """Publishes at the pace of real time until it is stopped, refused, or *seconds* are over."""

    @abstractmethod
    def stop(self) -> str:
        """End it as a person does, and return why the server had ended it, or nothing."""

    @abstractmethod
    def cut(self) -> None:
        """End it without a word, as a process that is killed."""

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether it still publishes."""


class Ffmpeg(Publisher):
    """An ffmpeg that sends *file* to *url*."""

    def __init__(self, file: Path, url: str, seconds: float) -> None:
        command = [
            *("ffmpeg", "-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(file), "-c", "copy"),
            *("-t", str(seconds), "-f", "flv", "-flvflags", "no_duration_filesize", url),
        ]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")

    def stop(self) -> str:
        ended = not self.running
        if not ended:
            self.process.send_signal(signal.SIGINT)
        try:
            _, said = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, said = self.process.communicate()
        return said[-500:].strip() if ended else ""

    def cut(self) -> None:
        self.process.kill()
        self.process.communicate()

    @property
    def running(self) -> bool:
        return self.process.poll() is None


class Sender(Publisher):
    """Our own sender, in a thread."""

    def __init__(self, tags: Iterator[Tag], url: str, playpath: str, seconds: float) -> None:
        self.refusal = ""
        self.connection: Connection | None = None
        self._ending = threading.Event()
        self._politely = True
        self._thread = threading.Thread(target=self._run, args=(tags, url, playpath, seconds), daemon=True)
        self._thread.start()

    def _run(self, tags: Iterator[Tag], url: str, playpath: str, seconds: float) -> None:
        try:
            self.connection = Connection(url, playpath)
            self.connection.feed(tags, seconds, self._ending.is_set)
        except Refused as reason:
            self.refusal = str(reason)
        if self.connection:
            self.connection.close(politely=self._politely)

    def stop(self) -> str:
        self._ending.set()
        self._thread.join(20)
        return self.refusal

    def cut(self) -> None:
        self._politely = False
        self.stop()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()


def publish(row: Row, server: str, slug: str, folder: Path, seconds: float = 3600) -> Publisher:
    """Begin to publish *row* to *server* (rtmp://host:port) as *slug*. Clips are kept in *folder*."""
    url = f"{server}/{row.application.format(slug=slug)}"
    playpath = row.playpath.format(slug=slug)
    if row.by_ffmpeg:
        return Ffmpeg(row.clip.file(folder), f"{url}/{playpath}", seconds)
    return Sender(row.tags(folder), url, playpath, seconds)


def _coded(name: str, codec: str, *options: str, problem: str = "video_codec") -> Row:
    """Return a row with a picture that is not H.264."""
    return Row(
        name, Clip(video=options, seconds=10), expect={"video_codec": codec}, problems=(problem,), offers=(), seconds=7
    )


def _heard(name: str, codec: str, *options: str, problem: str, **facts: Any) -> Row:
    """Return a row with a sound that not all browsers play."""
    return Row(name, Clip(audio=options), expect={"audio_codec": codec} | facts, problems=(problem,))


PLAIN = {"video_codec": "H.264", "pixel_format": "yuv420p", "width": 640, "height": 360, "audio_codec": "AAC"}
SMALL = Clip(picture=picture("320x240"))
FIFTY = 50.0  # seconds between sound and picture
NONSENSE = {
    "width": -1.0,
    "height": -1.0,
    "framerate": float("nan"),
    "videodatarate": float("inf"),
    "encoder": "\x00\x1b" * 400,
}

TABLE = [
    Row("plain", expect=PLAIN | {"frame_rate": 30, "keyframe_seconds": 2, "sample_rate": 48000, "channels": 1}),
    # Keyframes
    Row(
        "keyframes_of_obs",
        Clip(video=h264(keyframes=250), seconds=25),
        expect=PLAIN | {"keyframe_seconds": 8.33},
        problems=("keyframes_far",),
        seconds=20,
    ),
    Row(
        "keyframes_20_s",
        Clip(video=h264(keyframes=600), seconds=60),
        expect=PLAIN | {"keyframe_seconds": 20},
        problems=("keyframes_missing",),
        offers=("240p",),
        seconds=28,
    ),
    Row(
        "keyframe_once",
        Clip(video=h264(keyframes=99999), seconds=60),
        expect=PLAIN,
        problems=("keyframes_missing",),
        offers=("240p",),
    ),
    Row(
        "intra_refresh",
        Clip(video=h264("-x264-params", "intra-refresh=1:keyint=60:bframes=0"), seconds=60),
        expect=PLAIN,
        problems=("keyframes_missing",),
        offers=("240p",),
    ),
    # Pictures that browsers don't show
    Row(
        "yuv444",
        Clip(video=h264("-profile:v", "high444", "-pix_fmt", "yuv444p")),
        expect=PLAIN | {"pixel_format": "yuv444p"},
        problems=("pixel_format",),
        offers=("240p",),
    ),
    Row(
        "yuv422",
        Clip(video=h264("-profile:v", "high422", "-pix_fmt", "yuv422p")),
        expect=PLAIN | {"pixel_format": "yuv422p"},
        problems=("pixel_format",),
        offers=("240p",),
    ),
    Row(
        "ten_bit",
        Clip(video=h264("-profile:v", "high10", "-pix_fmt", "yuv420p10le")),
        expect=PLAIN | {"pixel_format": "yuv420p10le"},
        problems=("pixel_format",),
        offers=("240p",),
    ),
    Row(
        "interlaced",
        Clip(
            picture=picture(rate="50", look=",interlace=scan=tff"),
            video=h264("-flags", "+ilme+ildct", "-x264-params", "tff=1", keyframes=50),
        ),
        expect=PLAIN | {"frame_rate": 25},
        problems=("interlaced",),
        offers=("240p",),
    ),
    _coded("hevc", "HEVC", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=60"),
    _coded("av1", "AV1", "-c:v", "libsvtav1", "-preset", "12", "-g", "60", "-svtav1-params", "lp=2"),
    _coded("vp9", "VP9", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "60", "-b:v", "800k"),
    _coded("flv1", "Sorenson H.263", "-c:v", "flv", "-g", "60", "-b:v", "800k"),
    # Sound that browsers don't play, or not all
    _heard("speex", "Speex", "-c:a", "libspeex", "-ar", "16000", "-ac", "1", problem="audio_codec"),
    _heard("nellymoser", "Nellymoser", "-c:a", "nellymoser", "-ar", "22050", "-ac", "1", problem="audio_codec"),
    _heard("g711", "G.711", "-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1", problem="audio_codec"),
    _heard("mp3", "MP3", "-c:a", "libmp3lame", "-ar", "44100", problem="audio_converted", sample_rate=44100),
    _heard("aac_51", "AAC", "-c:a", "aac", "-ac", "6", "-b:a", "256k", problem="audio_channels", channels=6),
    Row(
        "radio",
        Clip(picture=""),
        expect={"audio_codec": "AAC", "video_codec": None},
        problems=("no_picture",),
        offers=("source",),
    ),
    Row("video_only", Clip(sound=""), expect={"video_codec": "H.264"}, problems=("no_sound",)),
    # What it says of itself
    Row(
        "crf",
        Clip(
            picture=picture(look=",noise=alls=7:allf=t"),
            video=("-c:v", "libx264", "-preset", "superfast", "-crf", "27", "-pix_fmt", "yuv420p", "-g", "60"),
        ),
        expect=PLAIN,
    ),
    Row("declared_too_little", bends=(sender.described(videodatarate=75.0),), expect=PLAIN | {"bitrate_kbps": 800}),
    Row("undescribed", bends=(sender.undescribed,), expect=PLAIN),
    Row("nonsense", bends=(sender.described(**NONSENSE),), expect=PLAIN),
    Row("garbled", bends=(sender.garbled,), problems=("unreadable",), offers=()),
    Row("headers_repeated", bends=(sender.headers_repeated,), expect=PLAIN | {"jumps": 0}),
    # What changes on the way, after ten seconds
    Row(
        "size_changes",
        other=SMALL,
        expect=PLAIN | {"width": 320, "height": 240},
        problems=("size_changed",),
        offers=("source",),
        seconds=20,
    ),
    Row("leap_10_min", bends=(sender.leap(10, 600),), expect={"jumps": 1}, problems=("timestamps_jumped",), seconds=18),
    Row("leap_hour", bends=(sender.leap(10, 3600),), expect={"jumps": 1}, problems=("timestamps_jumped",), seconds=18),
    Row(
        "leap_10_min_back",
        bends=(sender.begin_with(3600_000), sender.leap(10, -600)),
        expect={"jumps": 1},
        problems=("timestamps_jumped",),
        seconds=18,
    ),
    Row(
        "leap_hour_back",
        bends=(sender.begin_with(3600_000), sender.leap(10, -3600)),
        expect={"jumps": 1},
        problems=("timestamps_jumped",),
        seconds=18,
    ),
    Row(
        "sound_50_s_late",
        bends=(sender.offset(AUDIO, FIFTY),),
        expect={"audio_offset_seconds": FIFTY},
        problems=("audio_offset",),
    ),
    Row(
        "sound_50_s_early",
        bends=(sender.offset(VIDEO, FIFTY),),
        expect={"audio_offset_seconds": -FIFTY},
        problems=("audio_offset",),
    ),
    Row("steps_back", bends=(sender.jittered(AUDIO, 200),), expect=PLAIN | {"jumps": 0}),
    Row("silent_7_s", bends=(sender.stall(10, 7),), expect=PLAIN, problems=("no_data",), seconds=24),
    Row("gap_7_s", bends=(sender.gap(10, 7),), expect=PLAIN, problems=("no_data",), seconds=24),
    Row("silent_for_good", bends=(sender.stall(10, 600),), problems=("no_data",), seconds=18),
    # What held before, and has to
    Row("b_frames", Clip(video=h264("-bf", "3")), expect=PLAIN),
    Row("odd_size", Clip(picture=picture("638x358")), expect=PLAIN | {"width": 638, "height": 358}),
    Row("ntsc", Clip(picture=picture(rate="30000/1001")), expect=PLAIN | {"frame_rate": 29.97}),
    Row("sixty", Clip(picture=picture(rate="60"), video=h264(keyframes=120)), expect=PLAIN | {"frame_rate": 60}),
    Row(
        "variable_rate",
        Clip(
            picture=picture(look=",select='gt(mod(n\\,7)\\,2)+not(mod(n\\,60))'"),
            video=h264("-fps_mode", "vfr", keyframes=35),
        ),
        expect=PLAIN,
    ),
    Row("late_sound", bends=(sender.gap(0, 5, AUDIO),), expect=PLAIN),
    Row(
        "mono_22_khz",
        Clip(audio=(*AAC, "-ac", "1", "-ar", "22050")),
        expect=PLAIN | {"sample_rate": 22050, "channels": 1},
    ),
    Row("portrait", Clip(picture=picture("720x1280")), expect=PLAIN | {"width": 720, "height": 1280}),
    Row("ultra_wide", Clip(picture=picture("1280x360")), expect=PLAIN | {"width": 1280}),
    Row("wrap_24_bit", bends=(sender.begin_with(WRAP - 8000),), expect=PLAIN | {"jumps": 0}),
    Row("message_4_mib", bends=(sender.padded((4 << 20) - 64),), expect=PLAIN),
    Row("double_slash", application="live/", expect=PLAIN),
    # More than a Unix socket holds in a turn of the packager.
    Row(
        "heavy",
        Clip(video=h264(keyframes=60, kbps=20_000), picture=picture("1280x720", look=",noise=alls=40:allf=t")),
        expect={"jumps": 0, "width": 1280},
    ),
    Row("full_rate", Clip(video=h264(kbps=1500), seconds=60), expect=PLAIN | {"bitrate_kbps": 1600}),
]
ROWS = {row.name: row for row in TABLE}
