"""The sender of the live tests: what it reads, what it bends, and that it says when it is refused."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import pytest
import sender
from sender import AUDIO, DATA, VIDEO, Bend, Connection, Refused, Tag

HEADERS = [
    Tag(DATA, 0, sender.packed("onMetaData") + sender.packed({"width": 640, "videodatarate": 800.5}), 0),
    Tag(VIDEO, 0, b"\x17\0\0\0\0config", 0),
    Tag(AUDIO, 0, b"\xaf\0\x12\x10", 0),
]


def clip(seconds: int = 4) -> list[Tag]:
    """Ten pictures and ten sounds a second, a keyframe each 2 s."""
    tags = list(HEADERS)
    for step in range(seconds * 10):
        kind = b"\x17" if step % 20 == 0 else b"\x27"
        tags.append(Tag(VIDEO, step * 100, kind + b"\1\0\0\0\0\0\0\1\x65", step / 10))
        tags.append(Tag(AUDIO, step * 100, b"\xaf\1sound", step / 10))
    return tags


def flv(tags: list[Tag]) -> bytes:
    """Write *tags* as a file."""
    out = b"FLV\1\5\0\0\0\x09\0\0\0\0"
    for tag in tags:
        stamp = (tag.time & 0xFFFFFF).to_bytes(3) + bytes([tag.time >> 24])
        out += bytes([tag.kind]) + len(tag.data).to_bytes(3) + stamp + b"\0\0\0" + tag.data
        out += (11 + len(tag.data)).to_bytes(4)
    return out


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        None,
        0.0,
        -1.0,
        1e300,
        math.inf,
        "",
        "é",
        {},
        {"width": -1.0, "tags": {"encoder": "obs"}, "stereo": True},
    ],
)
def test_amf0_comes_back_as_it_went(value: object) -> None:
    assert sender.unpacked(sender.packed(value) * 2) == [value, value]


def test_amf0_that_is_not_known_is_told() -> None:
    with pytest.raises(ValueError, match="kind 17"):
        sender.unpacked(b"\x11")
    with pytest.raises(TypeError, match="bytes"):
        sender.packed(b"")


def test_a_file_is_read_without_its_end(tmp_path: Path) -> None:
    late = Tag(VIDEO, (1 << 24) + 5, b"\x27\1\0\0\0", 16777.221)
    ends = [Tag(VIDEO, 9, b"\x17\2\0\0\0", 0), Tag(VIDEO, 9, b"\x92hvc1", 0), Tag(AUDIO, 9, b"", 0)]
    (tmp_path / "clip.flv").write_bytes(flv([*clip(), *ends, late]) + b"\x09\0\0")
    assert sender.read_flv(tmp_path / "clip.flv") == [*clip(), late]


@pytest.mark.parametrize(
    ("data", "header", "keyframe"),
    [
        (b"\x17\0", True, False),
        (b"\x17\1", False, True),
        (b"\x27\1", False, False),
        (b"\x90hvc1", True, False),
        (b"\x91hvc1", False, True),
        (b"\xa1hvc1", False, False),
        (b"\x12", False, True),  # Sorenson's has no header
    ],
)
def test_headers_and_keyframes_are_known(data: bytes, header: bool, keyframe: bool) -> None:
    tag = Tag(VIDEO, 0, data, 0)
    assert (tag.is_header, tag.is_keyframe) == (header, keyframe)


def test_a_loop_says_what_it_is_once_and_its_clock_goes_on() -> None:
    tags = list(islice(sender.looped(clip()), 200))
    assert [tag for tag in tags if tag.is_header] == HEADERS
    times = [tag.time for tag in tags if tag.kind == VIDEO and not tag.is_header]
    assert {b - a for a, b in pairwise(times)} == {100}
    assert [tag.due for tag in tags[3:]] == pytest.approx([tag.time / 1000 for tag in tags[3:]])


def bent(*bends: Bend) -> list[Tag]:
    tags: Iterator[Tag] = iter(clip())
    for bend in bends:
        tags = bend(tags)
    return list(tags)


def steps(tags: list[Tag], kind: int) -> set[int]:
    times = [tag.time for tag in tags if tag.kind == kind and not tag.is_header]
    return {b - a for a, b in pairwise(times)}


def test_nothing_is_bent_by_itself() -> None:
    assert bent() == clip()


@pytest.mark.parametrize("seconds", [600, -3600])
def test_a_leap_leaves_the_pace_alone(seconds: int) -> None:
    tags = bent(sender.leap(2, seconds))
    assert steps(tags, VIDEO) == steps(tags, AUDIO) == {100, 100 + seconds * 1000}
    assert [tag.due for tag in tags] == [tag.due for tag in clip()]


def test_an_offset_concerns_one_kind() -> None:
    tags = bent(sender.offset(AUDIO, 50))
    assert {tag.time - round(tag.due * 1000) for tag in tags if tag.kind == AUDIO} == {50_000}
    assert {tag.time - round(tag.due * 1000) for tag in tags if tag.kind != AUDIO} == {0}


def test_a_stalled_line_brings_everything_later() -> None:
    tags = bent(sender.stall(1, 2))
    assert [tag.time for tag in tags] == [tag.time for tag in clip()]
    assert not [tag for tag in tags if 1 <= tag.due < 3]
    assert len([tag for tag in tags if tag.due == 3]) == 42


@pytest.mark.parametrize(("kind", "left"), [(None, 3 + 40), (AUDIO, 3 + 60)])
def test_a_gap_leaves_out_but_not_what_describes(kind: int | None, left: int) -> None:
    tags = bent(sender.gap(0, 2, kind))
    assert len(tags) == left
    assert [tag.data for tag in tags if tag.is_header and tag.kind == AUDIO] == [HEADERS[2].data]
    first = next(tag for tag in tags if tag.kind == AUDIO)
    assert (first.is_header, first.due) == (True, 2)


def test_another_clip_begins_at_a_keyframe_with_its_description() -> None:
    other = [Tag(tag.kind, tag.time, tag.data + b"other", tag.due) for tag in clip()]
    tags = list(islice(sender.then(1.5, other)(sender.looped(clip())), 300))
    at = next(index for index, tag in enumerate(tags) if tag.data.endswith(b"other"))
    assert (tags[at].kind, tags[at].time, tags[at + 1].is_header) == (DATA, 2000, True)
    assert all(tag.data.endswith(b"other") for tag in tags[at:])
    assert steps(tags, VIDEO) == {100}


def test_metadata_says_what_a_test_wants() -> None:
    told = sender.unpacked(bent(sender.described(width=-1.0, videodatarate=None))[0].data)
    assert told == ["onMetaData", {"width": -1.0}]
    assert bent(sender.undescribed) == clip()[1:]


def test_pictures_are_padded_garbled_and_described_again() -> None:
    padded = bent(sender.padded(5000))
    assert {len(tag.data) for tag in padded if tag.is_keyframe} == {5000}
    assert [tag for tag in padded if not tag.is_keyframe] == [tag for tag in clip() if not tag.is_keyframe]
    garbled = bent(sender.garbled)
    assert [tag.data[:5] for tag in garbled] == [tag.data[:5] for tag in clip()]
    assert all(set(tag.data[5:]) <= {0xA5} for tag in garbled if tag.kind == VIDEO)
    repeated = bent(sender.headers_repeated)
    assert len([tag for tag in repeated if tag.kind == VIDEO and tag.is_header]) == 3


def test_who_does_not_answer_or_hangs_up_is_told() -> None:
    with pytest.raises(Refused, match="no connection"):
        Connection("rtmp://127.0.0.1:1/live", "alice")
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].close())
        thread.start()
        with pytest.raises(Refused, match=r"hung up after 0\.\d s"):
            Connection(f"rtmp://127.0.0.1:{server.getsockname()[1]}/live", "alice")
        thread.join()
