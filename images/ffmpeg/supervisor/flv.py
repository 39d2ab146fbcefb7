"""What lies in RTMP's audio and video messages: FLV tags.

Adobe, Flash Video File Format 10.1, annex E; Enhanced RTMP v2 for the codecs that came since.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

VIDEO_CODECS = {
    1: "JPEG",
    2: "Sorenson H.263",
    3: "Screen Video",
    4: "VP6",
    5: "VP6",
    6: "Screen Video 2",
    7: "H.264",
    12: "HEVC",
    13: "AV1",
}
AUDIO_CODECS = {
    0: "PCM",
    1: "ADPCM",
    2: "MP3",
    3: "PCM",
    4: "Nellymoser",
    5: "Nellymoser",
    6: "Nellymoser",
    7: "G.711",
    8: "G.711",
    10: "AAC",
    11: "Speex",
    14: "MP3",
}
FOUR_CHARACTERS = {
    "avc1": "H.264",
    "hvc1": "HEVC",
    "hev1": "HEVC",
    "av01": "AV1",
    "vp08": "VP8",
    "vp09": "VP9",
    "vvc1": "VVC",
    "mp4a": "AAC",
    "Opus": "Opus",
    "fLaC": "FLAC",
    "ac-3": "AC-3",
    "ec-3": "E-AC-3",
    ".mp3": "MP3",
}
AVC, AAC = 7, 10
AVC_HEADER, AAC_HEADER = b"\x17\0\0\0\0", b"\xaf\0"  # what stands before a configuration
IDR = 5  # the type of a NAL unit
ENHANCED_AUDIO = 9
SAMPLE_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)


class VideoTag(NamedTuple):
    """A picture, or what a decoder needs to know first (*header*). *offset* is presentation after decoding in ms."""

    codec: str
    key: bool
    header: bool
    offset: int
    data: bytes


class AudioTag(NamedTuple):
    """Some sound, or what a decoder needs to know first (*header*)."""

    codec: str
    header: bool
    data: bytes


class AacConfig(NamedTuple):
    """What an AudioSpecificConfig (ISO 14496-3, 1.6.2.1) says; *channels* is 0 where it leaves that to the sound."""

    object_type: int
    sample_rate: int
    channels: int


def four(data: bytes) -> str:
    """Return the name of the codec with the four characters *data*."""
    text = data.decode("ascii", "replace")
    return FOUR_CHARACTERS.get(text, "an unknown codec")


def video(payload: bytes) -> VideoTag | None:
    """Return what the video message *payload* holds; None for what is neither picture nor header."""
    if len(payload) < 2:
        return None
    first = payload[0]
    key = first >> 4 & 7 == 1
    if first & 0x80:
        kind = first & 0x0F
        return VideoTag(four(payload[1:5]), key, kind == 0, 0, b"") if kind in (0, 1, 3) else None
    codec = VIDEO_CODECS.get(first & 0x0F, "an unknown codec")
    if first & 0x0F != AVC:
        return VideoTag(codec, key, False, 0, payload[1:])
    if len(payload) < 5 or payload[1] > 1:
        return None  # the end of a sequence
    offset = int.from_bytes(payload[2:5], "big", signed=True)
    return VideoTag(codec, key, payload[1] == 0, offset, payload[5:])


def audio(payload: bytes) -> AudioTag | None:
    """Return what the audio message *payload* holds; None for what is empty."""
    if len(payload) < 2:
        return None
    kind = payload[0] >> 4
    if kind == ENHANCED_AUDIO:
        return AudioTag(four(payload[1:5]), payload[0] & 0x0F == 0, b"") if payload[0] & 0x0F in (0, 1) else None
    codec = AUDIO_CODECS.get(kind, "an unknown codec")
    if kind == AAC:
        return AudioTag(codec, payload[1] == 0, payload[2:]) if len(payload) > 2 else None
    return AudioTag(codec, False, payload[1:])


def begins_decoding(configuration: bytes, data: bytes) -> bool:
    """Tell whether a decoder can begin with *data*: it holds an IDR picture (H.264, 7.4.1.2.4).

    *configuration* is the avcC box (ISO 14496-15), which says how long the lengths are. With intra refresh, encoders
    call a frame key from which a picture only begins to become whole.
    """
    size = (configuration[4] & 3) + 1 if len(configuration) > 4 else 4
    place = 0
    while place + size < len(data):
        length = int.from_bytes(data[place : place + size], "big")
        if data[place + size] & 0x1F == IDR:
            return True
        place += size + length
    return False


def aac_config(data: bytes) -> AacConfig | None:
    """Return what the AudioSpecificConfig *data* says, or None where it is none."""
    if len(data) < 2:
        return None
    bits = int.from_bytes(data[:5].ljust(5, b"\0"), "big")
    object_type, index = bits >> 35, bits >> 31 & 0xF
    if index == 15:
        rate, channels = bits >> 7 & 0xFFFFFF, bits >> 3 & 0xF
    elif index < len(SAMPLE_RATES):
        rate, channels = SAMPLE_RATES[index], bits >> 27 & 0xF
    else:
        return None
    return AacConfig(object_type, rate, CHANNELS[channels] if channels < len(CHANNELS) else 0)


def header(*, picture: bool, sound: bool) -> bytes:
    """Return the beginning of a file with *picture* and *sound*."""
    return struct.pack(">3sBBII", b"FLV", 1, picture | sound << 2, 9, 0)


def tag(kind: int, milliseconds: int, payload: bytes) -> bytes:
    """Return one tag of a file."""
    size = len(payload)
    head = struct.pack(
        ">B3s3sB3s", kind, size.to_bytes(3, "big"), (milliseconds & 0xFFFFFF).to_bytes(3, "big"),
        milliseconds >> 24 & 0xFF, b"\0\0\0",
    )  # fmt: skip
    return head + payload + struct.pack(">I", size + 11)
