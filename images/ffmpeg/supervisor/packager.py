"""One live stream's way from RTMP to HLS, in a process of its own.

It tells the supervisor, in JSON, {"attached": true} as soon as nothing of the stream can be missed, every two seconds
what it measured, and {"over": true} when the publisher has gone or it was asked to end. What a stranger sends can end
this process and no other.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from . import amf, diagnosis, flv, media
from .config import Rendition
from .copying import Copy
from .encoder import Encoder, Rung
from .log import note
from .package import Package
from .playlists import Series
from .rates import Rates
from .rtmp import AUDIO, DATA, VIDEO, Ended, Message, Player, Unpublished
from .timeline import Timeline

EX_SOFTWARE = 70  # sysexits.h: internal error
EX_TEMPFAIL = 75  # likewise: try again
TURN = 0.2  # seconds; what came meanwhile is read at once, which costs less than a turn for each message
SHORT_TURN = 0.02  # seconds, when the encoder has an appetite, or after more came than MUCH
MUCH = 1 << 16  # bytes; a Unix socket holds little more, and nginx-rtmp not for ever what it can't hand over
REPORT_EVERY = 2.0  # seconds
LARGEST_ORDER = 1024  # bytes
THUMBNAIL_EVERY = 20_000  # ms
OFFSET = 10_000  # ms at which the timestamps of segments begin, so that none is below zero
WAIT_FOR_SOUND = 0.3  # seconds after the first keyframe, or with metadata that promise it:
WAIT_FOR_PROMISED_SOUND = 1.0
WAIT_FOR_PICTURE = 1.5  # seconds after the first sound, or with pictures that no decoder can begin with:
WAIT_FOR_PROMISED_PICTURE = 10.0
SILENT = 1.5  # seconds without data that are no part of a keyframe interval
SHORTEST_STRETCH = 1.0  # seconds, whatever changes how often: each one costs an encoder's start
GRACE = 4.0  # seconds that an encoder gets to write its end
LARGEST_HELD = 32 << 20  # bytes that wait for a stream to become clear
FALLBACK = Rendition(
    "encoded", 720, 2500, 128
)  # what is encoded where the source can't be shown and the ladder has no rung

Tag = flv.VideoTag | flv.AudioTag


@dataclass(frozen=True)
class Job:
    """What to package.

    *source* is rtmp://host:port/application, *socket* is where to get there without TCP, *folder* holds this stream's
    HLS and nothing else.
    """

    slug: str
    session: str
    source: str
    socket: Path | None
    folder: Path
    ladder: tuple[Rendition, ...]
    segment_seconds: int
    playlist_segments: int
    encode: bool


class Format(NamedTuple):
    """What a decoder needs to know; another one begins another stretch. *sound* is a codec's name, empty for none."""

    picture: bytes | None
    sound: str
    configuration: bytes


class Packager:
    """Packages one stream."""

    def __init__(self, job: Job, tell: Callable[[dict[str, Any]], None]) -> None:
        self.job = job
        self.tell = tell
        self.encode = job.encode
        self.stopping = False
        names = [rendition.name for rendition in job.ladder]
        self.package = Package(job.folder, [*names, FALLBACK.name], job.playlist_segments, job.segment_seconds)
        self.timeline = Timeline()
        self.rates = Rates()
        self.metadata: dict[str, Any] = {}
        self.picture_header: tuple[bytes, bytes] | None = None  # the avcC box, and the message it came in
        self.sound_header: tuple[str, bytes, bytes] | None = None  # codec, configuration, message
        self.format: Format | None = None
        self.held: list[tuple[Message, Tag, bool, float]] = []
        self.held_bytes = 0
        self.first_key: float | None = None
        self.first_sound: float | None = None
        self.video_codec = self.audio_codec = ""
        self.picture: media.Picture | None = None
        self.frame: Any = None  # a decoded keyframe that waits to become a thumbnail
        self.copy: Copy | None = None
        self.source_codecs = ""  # RFC 6381, of what is copied
        self.sound: media.Sound | None = None
        self.encoder: Encoder | None = None
        self.leaving: list[tuple[Encoder, float]] = []
        self.stretches = 0
        self.stretched = -SHORTEST_STRETCH  # when the last one began
        self.renew = False
        self.thumbnail_at = -THUMBNAIL_EVERY
        self.now = time.monotonic()
        self.began = self.now
        self.last_data = self.now
        self.last_picture = 0
        self.silent = False  # since the last keyframe
        self.unreadable = 0
        self.events: dict[str, tuple[float, dict[str, Any]]] = {}

    # What the publisher sends

    def take(self, message: Message) -> None:
        """Take the next message of the publisher."""
        if self.now - self.last_data > SILENT:
            self.silent = True
            if self.copy:
                self.copy.last_key += round((self.now - self.last_data) * 1000)
        self.last_data = self.now
        self.rates.count(len(message.payload))
        if message.kind == DATA:
            self._metadata(message.payload)
        elif message.kind == VIDEO:
            self._video(message)
        else:
            self._audio(message)

    def _metadata(self, payload: bytes) -> None:
        """Remember what the publisher says of itself; it is believed only where nothing better is known."""
        with suppress(ValueError):
            for value in amf.decode(payload):
                if isinstance(value, dict):
                    self.metadata = value
        codec = self.metadata.get("videocodecid")
        if isinstance(codec, float) and codec == codec and 0 < codec < 2**32 and not self.video_codec:
            number = int(codec)
            name = flv.four(number.to_bytes(4, "big")) if number > 255 else flv.VIDEO_CODECS.get(number)
            if name and name != "H.264":
                self.video_codec = name

    def _video(self, message: Message) -> None:
        """Take a picture, or what a decoder needs to know first."""
        tag = flv.video(message.payload)
        if tag is None:
            return
        self.video_codec = tag.codec
        if tag.codec != "H.264" or message.payload[0] & 0x80:
            return
        if tag.header:
            if self.picture_header is None or tag.data != self.picture_header[0]:
                self.picture_header = (tag.data, message.payload)
                self.renew = True
            return
        if self.picture_header is None:
            return
        key = tag.key and flv.begins_decoding(self.picture_header[0], tag.data)
        if key and self.first_key is None:
            self.first_key = self.now
        if key and self.format and self.format.picture is None:
            self.renew = True  # there is a picture after all
        self._place(message, tag, key)

    def _audio(self, message: Message) -> None:
        """Take some sound, or what a decoder needs to know first."""
        tag = flv.audio(message.payload)
        if tag is None:
            return
        self.audio_codec = tag.codec
        if tag.codec not in media.LIBAV or message.payload[0] >> 4 == flv.ENHANCED_AUDIO:
            return
        known = self.sound_header
        configuration = tag.data if tag.header else (known[1] if known and known[0] == tag.codec else b"")
        if tag.codec == "AAC" and not configuration:
            return
        if known is None or known[:2] != (tag.codec, configuration):
            self.sound_header = (tag.codec, configuration, message.payload if tag.header else b"")
            self.renew = True
        if tag.header:
            return
        if self.first_sound is None:
            self.first_sound = self.now
        self._place(message, tag, False)

    def _wanted(self) -> Format | None:
        """Return the format in which a stretch can begin now, or None while something is missing."""
        picture = self.picture_header[0] if self.picture_header and self.first_key is not None else None
        if picture is None:
            promised = bool(self.video_codec or self.metadata.get("videocodecid"))
            wait = WAIT_FOR_PROMISED_PICTURE if promised else WAIT_FOR_PICTURE
            if self.first_sound is None or self.now - self.first_sound < wait or self.video_codec not in ("", "H.264"):
                return None
        elif self.sound_header is None:
            promised = bool(self.metadata.get("audiocodecid"))
            wait = WAIT_FOR_PROMISED_SOUND if promised else WAIT_FOR_SOUND
            if self.first_key is None or self.now - self.first_key < wait:
                return None
        sound = self.sound_header
        return Format(picture, sound[0] if sound else "", sound[1] if sound else b"")

    def _place(self, message: Message, tag: Tag, key: bool) -> None:
        """Package *message*, or hold it until it is clear what the stream consists of."""
        if self.format is None:
            self.held.append((message, tag, key, self.now))
            self.held_bytes += len(message.payload)
            if self.held_bytes > LARGEST_HELD:
                self.held, self.held_bytes = [], 0
            self.clear_up()
            return
        moment, leapt = self.timeline.place(message.kind, message.timestamp, self.now)
        if leapt:
            self.package.broke(moment)
            self.package.anchor(moment, time.time())
            self._event("timestamps_jumped", seconds=round(self.timeline.leapt_by / 1000, 1))
        self._package(message, tag, key, moment)

    def clear_up(self) -> None:
        """Begin when it is clear what the stream consists of."""
        if self.format is not None or not self.held or (wanted := self._wanted()) is None:
            return
        self.format = wanted
        self.renew = True
        held, self.held, self.held_bytes = self.held, [], 0
        present = self.now
        for message, tag, key, self.now in held:
            self._place(message, tag, key)
        self.now = present

    # Stretches

    def _package(self, message: Message, tag: Tag, key: bool, moment: int) -> None:
        """Package *message*, which holds *tag* and lies at *moment*; with a keyframe a new stretch may begin."""
        sound = isinstance(tag, flv.AudioTag)
        may_begin = key or (sound and self.format is not None and self.format.picture is None)
        if self.renew and may_begin and self.now - self.stretched >= SHORTEST_STRETCH:
            self._begin(message, tag, moment)
        if self.copy is None or (self.renew and not self._still_fits(sound)):
            return  # nobody can decode this before the next keyframe
        if isinstance(tag, flv.AudioTag):
            self._copy_sound(tag, moment)
        else:
            self._copy_picture(tag, key, moment)
        if self.encoder:
            self.encoder.feed(message.kind, moment, message.payload)

    def _still_fits(self, sound: bool) -> bool:
        """Tell whether the present stretch can take more of this kind while another one is to begin."""
        if self.format is None:
            return False
        if sound:
            known = self.sound_header
            return known is not None and known[:2] == (self.format.sound, self.format.configuration)
        return self.picture_header is not None and self.picture_header[0] == self.format.picture

    def _begin(self, message: Message, tag: Tag, moment: int) -> None:
        """Begin a stretch with *message*, a keyframe or, without a picture, some sound."""
        picture = self.picture_header[0] if self.picture_header and isinstance(tag, flv.VideoTag) else None
        frame = None
        if picture is not None:
            frame = media.first_picture(picture, tag.data)
            if frame is None:
                self.unreadable += 1
                return
        before = self.picture
        self._end_stretch(moment)
        self.renew = False
        self.unreadable = 0
        known = self.sound_header
        self.format = Format(picture, known[0] if known else "", known[1] if known else b"")
        self.picture = media.describe(picture, frame) if picture is not None else None
        if self.stretches:
            self.package.broke(moment)
            if before and self.picture and before[:2] != self.picture[:2]:
                self._event("size_changed", width=self.picture.width, height=self.picture.height)
        self.package.anchor(moment, time.time())
        self.stretches += 1
        self.stretched = self.now
        self.frame = frame
        try:
            self._begin_copy(message, moment)
        except media.Unreadable:
            self.unreadable += 1
            self.renew = True
            return
        self._begin_encoder(moment)
        self._offer_only({self.job.ladder[0].name, *(rung.name for rung in self.rungs())})

    def _offer_only(self, names: set[str]) -> None:
        """Offer no rendition but *names*: the ladder of a picture of another size has other rungs."""
        for encoder, until in self.leaving[:]:
            if not {rung.name for rung in encoder.rungs} <= names:
                self.leaving.remove((encoder, until))
                encoder.kill()
        for name in self.package.renditions.keys() - names:
            self.package.drop(name)

    @property
    def prefix(self) -> str:
        """What the names of this stretch's segments begin with: no player and no cache has seen it."""
        return f"{self.package.began}{self.stretches:03d}"

    @property
    def shown_by_browsers(self) -> bool:
        """Whether the picture can be offered as it came."""
        picture = self.picture
        return picture is None or (picture.pixel_format in media.SHOWN_BY_BROWSERS and not picture.interlaced)

    def _begin_copy(self, message: Message, moment: int) -> None:
        """Begin to copy; sound that not every browser plays is encoded anew."""
        assert self.format is not None  # noqa: S101  # set by who calls
        name = self.job.ladder[0].name
        self.sound = None
        configuration = self.format.configuration
        aac = flv.aac_config(configuration) if self.format.sound == "AAC" else None
        codec = f"mp4a.40.{aac.object_type}" if aac else ""
        if self.format.sound and (aac is None or aac.object_type not in (2, 5, 29) or aac.channels not in (1, 2)):
            self.sound = media.Sound(media.LIBAV[self.format.sound], configuration)
            configuration, codec = self.sound.configuration, "mp4a.40.2"
        first = message.payload if self.format.picture is not None else b""
        muxer = media.Muxer(self.format.picture, configuration if self.format.sound else None, first)
        picture = self.picture
        self.source_codecs = ",".join(part for part in (picture.codec if picture else "", codec) if part)
        if self.shown_by_browsers:
            self._offer_source()
        else:
            self.package.drop(name)
        series = Series(self.package.folder_of(name), self.prefix, self.package.next_number([name]))
        self.copy = Copy(series, muxer, moment, self.job.segment_seconds, OFFSET, self._copied)

    def _copied(self, file: str, start: int, end: int) -> None:
        """List a segment of the copy, or throw it away where browsers can't show it."""
        name = self.job.ladder[0].name
        if name in self.package.renditions:
            self.package.frame_rate = self.rates.frames
            self.package.add(name, file, start, end)
        else:
            (self.package.folder_of(name) / file).unlink()

    def _copy_sound(self, tag: flv.AudioTag, moment: int) -> None:
        """Copy some sound."""
        if self.copy is None:
            return
        pieces = self.sound.encode(moment, tag.data) if self.sound else [(moment, tag.data)]
        for at, data in pieces:
            self.copy.take(media.Packet(True, at, at, True, data))

    def _copy_picture(self, tag: flv.VideoTag, key: bool, moment: int) -> None:
        """Copy a picture, and keep a keyframe for the thumbnail now and then."""
        if self.copy is None:
            return
        shown = moment + max(-1000, min(tag.offset, 5000))
        self.last_picture = moment
        self.rates.picture(moment)
        if key:
            self.rates.key(shown, known=not self.silent)
            self.silent = False
            if moment - self.thumbnail_at >= THUMBNAIL_EVERY and self.frame is None and self.format:
                self.frame = media.first_picture(self.format.picture or b"", tag.data)
            if self.encoder is None:
                self._begin_encoder(moment)
        was_uncut = self.copy.uncut
        self.copy.take(media.Packet(False, moment, shown, key, tag.data))
        if self.copy.uncut and not was_uncut:
            self.package.drop(self.job.ladder[0].name)
            if self.encoder is None:
                note("stream", slug=self.job.slug, result="source can't be cut")
        elif was_uncut and not self.copy.uncut and self.shown_by_browsers:
            self._offer_source()

    def _offer_source(self) -> None:
        """Offer the source as it came."""
        width, height = self.picture[:2] if self.picture else (0, 0)
        self.package.describe(self.job.ladder[0].name, width, height, self.source_codecs)

    # Encoding

    def rungs(self) -> list[Rung]:
        """Return what is to be encoded: the ladder's rungs that do not enlarge the picture, by its shorter side.

        A picture that can't be offered as it came is encoded once at least.
        """
        picture = self.picture
        if picture is None:
            return []
        shorter = min(picture.width, picture.height)
        wanted = [r for r in self.job.ladder if r.height is not None and r.height < shorter]
        if not wanted and not self._offers_source():
            encoded = [r for r in self.job.ladder if r.height is not None]
            wanted = [min(encoded, key=lambda r: r.height or 0) if encoded else FALLBACK]
        return [_fitted(r, picture, shorter) for r in wanted]

    def _offers_source(self) -> bool:
        """Tell whether the source is shown as it came."""
        return self.shown_by_browsers and not (self.copy and self.copy.uncut)

    def _begin_encoder(self, moment: int) -> None:
        """Begin to encode, where there is something to encode and the host has room for it."""
        rungs = self.rungs()
        if not rungs or self.picture_header is None or self.format is None:
            return
        if not self.encode and self._offers_source():
            return
        for rung in rungs:
            self.package.folder_of(rung.name)
        headers = [(VIDEO, self.picture_header[1])]
        if self.format.sound and self.sound_header:
            headers.append((AUDIO, self.sound_header[2]))
        number = self.package.next_number([rung.name for rung in rungs])
        self.encoder = Encoder(
            rungs,
            Series(self.package.folder, f"{self.prefix}{moment}", number),
            moment,
            headers,
            seconds=self.job.segment_seconds,
            offset=OFFSET,
            deinterlace=bool(self.picture and self.picture.interlaced),
        )

    def _end_encoder(self) -> None:
        """Let the encoder write its end, beside what comes next."""
        if self.encoder:
            self.encoder.finish()
            self.leaving.append((self.encoder, self.now + GRACE))
            self.encoder = None

    def shed(self) -> None:
        """Encode no more."""
        for one in [*(leaving for leaving, _ in self.leaving), *([self.encoder] if self.encoder else [])]:
            one.kill()
            for rung in one.rungs:
                self.package.drop(rung.name)
        self.encoder, self.leaving = None, []

    def turn_encoders(self) -> None:
        """Give the encoders what they take, and list what they have written."""
        for leaving, until in self.leaving[:]:
            self._listed(leaving)
            if leaving.ended or self.now > until:
                self.leaving.remove((leaving, until))
                self._gone(leaving)
        encoder = self.encoder
        if encoder is None:
            return
        self._listed(encoder)
        if encoder.too_slow:
            note("encoder", slug=self.job.slug, result="too slow", lag=round(encoder.lag, 1))
            self.shed()
        elif encoder.ended:
            self.encoder = None
            self._gone(encoder)

    def _listed(self, encoder: Encoder) -> None:
        """List what *encoder* has written."""
        for one in encoder.turn():
            rung = next(r for r in encoder.rungs if r.name == one.name)
            file = Path(one.file).name
            path = self.package.folder / rung.name / file
            known = self.package.renditions.get(rung.name)
            if known is None or not known.count or (known.width, known.height) != (rung.width, rung.height):
                self.package.describe(rung.name, rung.width, rung.height, media.codecs_of(path))
            start, end = encoder.base + round(one.start * 1000), encoder.base + round(one.end * 1000)
            if end > start:
                self.package.add(rung.name, file, start, end)

    def _gone(self, encoder: Encoder) -> None:
        """Let go of *encoder*, and say why it ended where nobody asked it to."""
        encoder.kill()
        if encoder.code not in (0, -signal.SIGKILL):
            note("encoder", slug=self.job.slug, result="ended", code=encoder.code, said=encoder.last_words)

    # The end

    def _end_stretch(self, moment: int) -> None:
        """End what is copied and encoded; something of another format comes at *moment*."""
        if self.copy:
            self.copy.finish()
            self.copy.close()
        self.copy = None
        self._end_encoder()

    def finish(self) -> None:
        """Write the end of everything, and tell what was found last."""
        self._end_stretch(self.last_picture)
        while self.leaving:
            self.now = time.monotonic()
            self.turn_encoders()
            time.sleep(SHORT_TURN)
        self.package.end()
        self.report()

    # What is found

    def _event(self, code: str, **values: Any) -> None:
        """Tell for a while that something happened."""
        count = self.events[code][1]["count"] + 1 if code in self.events else 1
        self.events[code] = (self.now, {**values, "count": count})

    def thumbnail(self) -> None:
        """Write the keyframe that waits as a thumbnail."""
        if self.frame is None:
            return
        frame, self.frame = self.frame, None
        self.thumbnail_at = self.last_picture
        media.thumbnail(frame, self.package.folder / media.THUMBNAIL)

    def report(self) -> None:
        """Tell what was found."""
        self.rates.mark(self.now)
        lag = self.encoder.lag if self.encoder else None
        pid = self.encoder.pid if self.encoder else None
        self.tell(
            {
                "facts": diagnosis.facts(self),
                "problems": diagnosis.problems(self),
                "encoder": {"lag": lag, "pid": pid},
            }
        )

    # The loop

    def run(self, player: Player, supervisor: Connection) -> None:
        """Package what *player* brings, until somebody asks us to end.

        Raises:
            Ended: nothing more comes. What came was packaged.
        """
        reported = 0.0
        try:
            while not self.stopping:
                self.now = time.monotonic()
                had = player.received
                for message in player.read():
                    self.take(message)
                self.clear_up()
                self.turn_encoders()
                self.thumbnail()
                self._obey(supervisor)
                if self.now - reported >= REPORT_EVERY:
                    self.report()
                    reported = self.now
                hungry = self.encoder is not None and self.encoder.waiting
                time.sleep(SHORT_TURN if hungry or player.received - had > MUCH else TURN)
        except Ended:
            self.finish()
            raise
        self.finish()

    def _obey(self, supervisor: Connection) -> None:
        """Encode or not, as the *supervisor* says; without it nothing of us is left."""
        try:
            while supervisor.poll():
                self.encode = json.loads(supervisor.recv_bytes(LARGEST_ORDER))["encode"] is True
                if not self.encode and self._offers_source():
                    self.shed()
        except (EOFError, ConnectionError):
            os._exit(EX_SOFTWARE)


def _fitted(rendition: Rendition, picture: media.Picture, shorter: int) -> Rung:
    """Return *rendition* for *picture*: its height is that of the shorter side, and its aspect is kept."""
    scale = min(rendition.height or shorter, shorter) / shorter
    width, height = (max(2, round(side * scale / 2) * 2) for side in picture[:2])
    return Rung(rendition.name, width, height, rendition.video_kbps, rendition.audio_kbps)


def work(job: Job, supervisor: Connection) -> None:
    """Do *job*, as a process of its own, and tell the *supervisor*."""
    os.umask(0o022)  # the proxy reads what we write
    gc.freeze()  # what was loaded before the fork is neither looked at nor copied by our collections

    def tell(said: dict[str, Any]) -> None:
        supervisor.send_bytes(json.dumps(said).encode())

    try:
        packager = Packager(job, tell)
        signal.signal(signal.SIGTERM, lambda *_: setattr(packager, "stopping", True))
        player = Player(job.source, job.slug, job.socket)
        tell({"attached": True})
        packager.run(player, supervisor)
    except Ended as end:
        note("stream", slug=job.slug, session=job.session, result="ended", reason=str(end))
        if not isinstance(end, Unpublished):
            sys.exit(EX_TEMPFAIL)
    except Exception:
        note("packager", slug=job.slug, result="failed", traceback=traceback.format_exc())
        sys.exit(EX_SOFTWARE)
    tell({"over": True})
