"""Messages from chunks, however they are cut, and values from AMF, however they are meant."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor import amf, flv
from supervisor.rtmp import AUDIO, LARGEST_MESSAGE, SET_CHUNK_SIZE, VIDEO, Chunks, Ended, chunked


def first(kind: int, stamp: int, payload: bytes, size: int = 128) -> bytes:
    """Return a message whose chunks begin with a full header; from 2^24 ms on each has the time in four bytes more."""
    field, extended = (stamp, b"") if stamp < 0xFFFFFF else (0xFFFFFF, struct.pack(">I", stamp))
    head = b"\x06" + field.to_bytes(3, "big") + len(payload).to_bytes(3, "big") + bytes([kind]) + b"\1\0\0\0" + extended
    parts = [payload[i : i + size] for i in range(0, len(payload), size)]
    return head + (b"\xc6" + extended).join(parts)


def later(kind: int, delta: int, payload: bytes) -> bytes:
    """Return a short message of the same stream, *delta* ms later."""
    return b"\x46" + delta.to_bytes(3, "big") + len(payload).to_bytes(3, "big") + bytes([kind]) + payload


@given(st.lists(st.integers(1, 400), max_size=12), st.binary(min_size=1, max_size=1000), st.integers(0, 2**32 - 1))
def test_however_it_arrives_a_message_is_what_was_sent(cuts: list[int], payload: bytes, stamp: int) -> None:
    data = first(VIDEO, stamp, payload) + later(AUDIO, 23, b"\xaf\1abc")
    chunks, found, place = Chunks(), [], 0
    for cut in [*cuts, len(data)]:
        found += chunks.feed(data[place : place + cut])
        place += cut
    assert found == [(VIDEO, stamp, payload), (AUDIO, (stamp + 23) & 0xFFFFFFFF, b"\xaf\1abc")]


def test_chunks_of_two_streams_are_told_apart() -> None:
    picture, sound = first(VIDEO, 5, b"p" * 200), b"\x04" + first(AUDIO, 6, b"s" * 100)[1:]
    middle = picture[:-73]  # before the header of the second chunk
    assert Chunks().feed(middle + sound + picture[-73:]) == [(AUDIO, 6, b"s" * 100), (VIDEO, 5, b"p" * 200)]


def test_the_chunk_size_is_obeyed() -> None:
    chunks = Chunks()
    assert chunks.feed(first(SET_CHUNK_SIZE, 0, struct.pack(">I", 4096))) == []
    assert chunks.feed(first(VIDEO, 0, b"x" * 4000, 4096)) == [(VIDEO, 0, b"x" * 4000)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x06\0\0\0" + (LARGEST_MESSAGE + 1).to_bytes(3, "big") + b"\x09\1\0\0\0",
        first(SET_CHUNK_SIZE, 0, struct.pack(">I", 1 << 30)),
        first(SET_CHUNK_SIZE, 0, struct.pack(">I", 0)),
        b"".join(bytes([number]) + first(AUDIO, 0, b"")[1:] for number in range(2, 64))
        + b"".join(bytes([0, number]) + first(AUDIO, 0, b"")[1:] for number in range(9)),
    ],
    ids=["a message too large", "chunks too large", "chunks of nothing", "too many streams"],
)
def test_what_nobody_sends_ends_it(data: bytes) -> None:
    with pytest.raises(Ended):
        Chunks().feed(data)


@given(st.binary(max_size=5000))
def test_whatever_comes_it_is_a_message_or_the_end(data: bytes) -> None:
    try:
        for kind, stamp, payload in Chunks().feed(data):
            assert 0 <= kind < 256
            assert 0 <= stamp < 2**32
            assert len(payload) <= LARGEST_MESSAGE
    except Ended:
        pass


def test_what_we_send_can_be_read() -> None:
    assert Chunks().feed(chunked(20, b"c" * 300)) == [(20, 0, b"c" * 300)]


def test_values_are_what_was_written() -> None:
    values = ["connect", 1.0, {"app": "live", "n": 2.5, "none": None}, None]
    assert amf.decode(amf.encode(*values)) == values


def test_an_array_of_names_is_an_object_whatever_it_says_of_its_length() -> None:
    data = b"\x08\xff\xff\xff\xff" + amf.encode({"width": -1})[1:]
    assert amf.decode(data) == [{"width": -1.0}]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00",
        b"\x02\xff\xffabc",
        b"\x0c\xff\xff\xff\xffabc",
        b"\x0a\xff\xff\xff\xff" + b"\x05" * 300,
        b"\x03\0\1a" * 500,
        b"\x7f",
        b"\x05" * 300,
    ],
)
def test_what_breaks_off_or_never_ends_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="AMF0"):
        amf.decode(data)


@given(st.binary(max_size=500))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    try:
        amf.decode(data)
    except ValueError as refusal:
        assert "AMF0" in str(refusal)


@given(st.binary(max_size=40))
def test_whatever_a_tag_holds_it_is_understood_or_left_out(payload: bytes) -> None:
    for tag in (flv.video(payload), flv.audio(payload)):
        assert tag is None or tag.codec.isprintable()
    config = flv.aac_config(payload)
    assert config is None or (0 <= config.channels <= 8 and config.sample_rate < 2**24)


@pytest.mark.parametrize(
    ("payload", "codec"),
    [
        (b"\x17\x01\0\0\0frame", "H.264"),
        (b"\x12" + b"x" * 9, "Sorenson H.263"),
        (b"\x90hvc1" + b"x" * 9, "HEVC"),
        (b"\x91av01" + b"x" * 9, "AV1"),
        (b"\x91zzzz" + b"x" * 9, "an unknown codec"),
        (b"\x1c" + b"x" * 9, "HEVC"),
    ],
)
def test_pictures_are_called_by_name(payload: bytes, codec: str) -> None:
    tag = flv.video(payload)
    assert tag is not None
    assert (tag.codec, tag.key) == (codec, True)


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ("1190", (2, 48000, 2)),
        ("1188", (2, 48000, 1)),
        ("11b0", (2, 48000, 6)),
        ("1390", (2, 22050, 2)),
        ("1180", (2, 48000, 0)),
        ("17800bb810", (2, 6000, 2)),
    ],
)
def test_an_audio_configuration_is_read(configuration: str, said: tuple[int, int, int]) -> None:
    assert flv.aac_config(bytes.fromhex(configuration)) == said
