"""What can be wrong with a stream, with a try to publish, and why a session ended: the one place for these sentences.

Each has one sentence that says what is, and one that says what to do about it; page, dashboard and API show them as
they stand here. The codes of problems are agreed with the supervisor (images/ffmpeg).
"""

from __future__ import annotations

from string import Formatter
from typing import Any, NamedTuple

SEVERITIES = ("info", "warning", "unplayable")


class Said(NamedTuple):
    """What people are told: what is, and what to do about it."""

    sentence: str
    cure: str


class Kind(NamedTuple):
    """A kind of problem; *sentence* and *cure* are templates of the values that come with it."""

    severity: str
    sentence: str
    cure: str

    @property
    def values(self) -> frozenset[str]:
        """The names of the values that the templates need."""
        parts = Formatter().parse(f"{self.sentence} {self.cure}")
        return frozenset(name for _, name, _, _ in parts if name)


KEYFRAMES = "Set the keyframe interval to 2 s (OBS: Settings, Output, Keyframe Interval)."
KINDS = {
    "keyframes_far": Kind("warning", "Keyframes come every {seconds:g} s.", KEYFRAMES),
    "keyframes_missing": Kind(
        "warning",
        "No second keyframe came in {seconds:g} s, so the source can't be cut and is not offered.",
        "Set the keyframe interval to 2 s and turn intra refresh off in the encoder's settings.",
    ),
    "pixel_format": Kind(
        "warning",
        "The picture is {format}, which browsers can't show, so the source is not offered.",
        "Choose the color format NV12 (OBS: Settings, Advanced, Color Format).",
    ),
    "interlaced": Kind(
        "warning", "The picture is interlaced.", "Send progressive video: deinterlace it before it is encoded."
    ),
    "video_codec": Kind(
        "unplayable",
        "{codec} can't be played here.",
        "Choose H.264 (x264, NVENC H.264 and the like) in the encoder's settings.",
    ),
    "audio_codec": Kind(
        "unplayable", "Sound in {codec} can't be played here.", "Choose AAC in the encoder's settings."
    ),
    "audio_converted": Kind(
        "info", "The sound is {codec} and is encoded to AAC here.", "Choose AAC in the encoder's settings."
    ),
    "audio_channels": Kind(
        "info", "The sound has {channels} channels and is folded to stereo.", "Send stereo (OBS: Settings, Audio)."
    ),
    "no_picture": Kind(
        "info", "There is sound only; viewers see a card.", "If a picture is meant, look at the encoder's video source."
    ),
    "no_sound": Kind(
        "info", "There is no sound.", "If sound is meant, look at the encoder's audio source and its mixer."
    ),
    "timestamps_jumped": Kind(
        "warning",
        "Time leapt by {seconds:g} s in the stream ({count} so far), so playback was anchored anew.",
        "Restart the encoder if this goes on; files one after the other need continuous timestamps.",
    ),
    "audio_offset": Kind(
        "warning",
        "Sound and picture are {seconds:g} s apart.",
        "Look at the sync offset of the audio source (OBS: Advanced Audio Properties), or restart the encoder.",
    ),
    "size_changed": Kind(
        "info",
        "The picture's size changed to {width} x {height}.",
        "Nothing is needed; if it was not meant, fix the output size (OBS: Settings, Video).",
    ),
    "no_data": Kind(
        "warning",
        "Nothing has come for {seconds:g} s.",
        "Look at the encoder and its line; it may connect again at once with the same key.",
    ),
    "renditions_shed": Kind(
        "warning",
        "This host is too busy to encode {names}; the source plays on.",
        "End other streams, or ask the operator for a larger host or fewer renditions.",
    ),
    "segments_late": Kind(
        "warning",
        "The newest segment is {seconds:g} s late, so players may stall.",
        "Look at the encoder's line and lower its bitrate; if all streams are late, this host is too busy.",
    ),
    "unreadable": Kind(
        "unplayable", "Nothing in this stream can be understood.", "Send H.264 and AAC by RTMP, as OBS does by default."
    ),
    "restarted": Kind(
        "warning",
        "What packages this stream stopped and was started again ({count} so far).",
        "Nothing is needed; if it goes on, tell the operator.",
    ),
}

WRITE_AS_SHOWN = "Write {slug}?key=... into the stream key field, as it was shown when the key was made."
# By what `keys.Refused` gives as its reason.
REFUSALS = {
    "syntax": Said("what came has not the form of a stream key.", WRITE_AS_SHOWN),
    "key": Said("the key was wrong.", "Copy the key again, or make a new one here and write that into the encoder."),
    "repeated": Said(
        "the same wrong key came again.", "Copy the key again, or make a new one here and write that into the encoder."
    ),
    "rotated": Said(
        "the key is one that was replaced.", "Write the new key into the encoder, or make another one here."
    ),
    "no key": Said("it came without a key.", WRITE_AS_SHOWN),
    "key as name": Said("the key was sent alone, in the place of the name.", WRITE_AS_SHOWN),
    "name escaped": Said("the name has %3F in it.", "Write ? in its place: {slug}?key=..."),
    "name without question mark": Said("there is no ? between the name and the key.", WRITE_AS_SHOWN),
    "name with spaces": Said("there are spaces beside the name.", WRITE_AS_SHOWN),
    "name with slash": Said("there is a / beside the name.", WRITE_AS_SHOWN),
    "address as name": Said(
        "the whole address was sent as the stream key.",
        "Write rtmp://... up to /live into the server field, and {slug}?key=... into the stream key field.",
    ),
    "address as server": Said(
        "the server field holds more than the server.",
        "End the server field with /live, and write {slug}?key=... into the stream key field.",
    ),
    "revoked": Said("the key was revoked.", "Make a new key here and write it into the encoder."),
    "disabled": Said(
        "the stream's owner is disabled.", "Ask an admin to enable the owner, or to take the stream over."
    ),
    "expired": Said("the key has expired.", "Set a later end under Limits."),
    "held": Said("the stream was ended and may not come back yet.", "Wait until the hold is over."),
    "source": Said(
        "it came from a network that may not publish.", "Add the network to Sources, or publish from one that is there."
    ),
    "already live": Said(
        "the stream is live already, from another encoder that is sending.", "End that one first: there or here."
    ),
    "limit": Said("as many streams are live as this host carries.", "Wait for another to end, or ask the operator."),
}

# By a session's `ending`; "done" and what is not here need no explanation.
ENDINGS = {
    "unplayable": Said("It could not be played.", "Change the encoder's settings as said here, and start again."),
    "taken over": Said("It was silent, and another connection with the same key took over.", "Nothing is needed."),
    "silent": Said("Nothing was heard of the encoder any more.", "Look at the encoder and its line."),
    "bitrate": Said("It sent more than the key's limit on bitrate.", "Lower the encoder's bitrate."),
    "resolution": Said("Its picture was higher than the key's limit.", "Lower the encoder's output size."),
    "duration": Said("It had run for as long as the key allows.", "Start again, or raise the limit."),
    "key": Said("The key was replaced.", "Write the new key into the encoder."),
    "rotated": Said("The key was replaced.", "Write the new key into the encoder."),
    "revoked": Said("The key was revoked.", "Make a new key, and write it into the encoder."),
    "disabled": Said("The stream's owner was disabled.", "Ask an admin."),
    "expired": Said("The key expired.", "Set a later end under Limits."),
    "kicked": Said("Somebody who manages it ended it here.", "Start again when the hold is over."),
}


class Problem(NamedTuple):
    """A problem as people are told it; *since* is a moment as RFC 3339 writes it."""

    code: str
    severity: str
    sentence: str
    cure: str
    since: str


def refusal(reason: str, slug: str) -> Said:
    """Return what people are told of a try to publish as *slug* that was refused for *reason*."""
    said = REFUSALS.get(reason, REFUSALS["syntax"])
    return Said(said.sentence, said.cure.format(slug=slug))


def described(problem: dict[str, Any]) -> Problem:
    """Return a stored *problem* ({"code", "values", "since"}) as people are told it."""
    code, values = problem["code"], problem["values"]
    kind = KINDS[code]
    return Problem(
        code, kind.severity, kind.sentence.format(**values), kind.cure.format(**values), f"{problem['since']}Z"
    )
