"""What goes in and out. Unknown fields are refused; times are RFC 3339 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from marshmallow import Schema, ValidationError, fields, pre_dump, validate, validates_schema

from ..models import ROLES, VISIBILITIES, Health
from ..people.accounts import LONGEST_NAME, LONGEST_PASSWORD, SHORTEST_PASSWORD
from ..streams.health import problems_of
from ..streams.keys import LARGEST_LIMIT, LONGEST_TITLE, MOST_SOURCES, SYNTAX
from ..streams.playback_access import LONGEST_INVITATION
from ..streams.problems import KINDS, SEVERITIES
from ..streams.relays import LONGEST_KEY, LONGEST_SERVER, REASONS, STATES
from ..streams.sessions import HOLD


class UtcTime(fields.AwareDateTime):
    """A moment; the database keeps it as UTC without a zone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso", **options)

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **options: Any) -> Any:
        """Say that what the database keeps is UTC."""
        return super()._serialize(value.replace(tzinfo=UTC) if value else None, attr, obj, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> datetime:
        """Return naive UTC."""
        try:
            return super()._deserialize(value, attr, data, **options).astimezone(UTC).replace(tzinfo=None)
        except OverflowError:
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from None


def name(**options: Any) -> fields.String:
    """Return a field for a slug or a user's name: the guide's rule."""
    return fields.String(validate=validate.Regexp(f"^{SYNTAX.pattern}$(?!\\n)"), **options)


def limit(unit: str) -> fields.Integer:
    """Return a field for a limit in *unit*; null is none."""
    return fields.Integer(
        strict=True,
        allow_none=True,
        validate=validate.Range(1, LARGEST_LIMIT),
        metadata={"description": f"In {unit}; null for no limit."},
    )


class Credentials(Schema):
    """Who signs in."""

    name = fields.String(required=True, validate=validate.Length(1, LONGEST_NAME))
    password = fields.String(required=True, validate=validate.Length(1, LONGEST_PASSWORD))


class Tokens(Schema):
    """An access token, what renews it, and how long it holds."""

    access_token = fields.String(required=True)
    refresh_token = fields.String(required=True)
    token_type = fields.Constant("Bearer", required=True)
    expires_in = fields.Integer(required=True, metadata={"description": "Seconds."})


class PasswordChange(Schema):
    """A new password, and the one it replaces."""

    current = fields.String(required=True, validate=validate.Length(1, LONGEST_PASSWORD))
    new = fields.String(required=True, validate=validate.Length(SHORTEST_PASSWORD, LONGEST_PASSWORD))


class UserOut(Schema):
    """A person who signs in."""

    name = fields.String(required=True)
    role = fields.String(required=True, validate=validate.OneOf(ROLES))
    created_at = UtcTime(required=True)
    disabled_at = UtcTime(required=True, allow_none=True)


class NewUser(Schema):
    """A person who is to sign in."""

    name = name(required=True)
    role = fields.String(required=True, validate=validate.OneOf(ROLES))


class UserChange(Schema):
    """What is to change of a user."""

    role = fields.String(validate=validate.OneOf(ROLES))
    disabled = fields.Boolean(truthy={True}, falsy={False})


class Password(Schema):
    """A password that was generated; it is shown this once."""

    name = fields.String(required=True)
    password = fields.String(required=True, metadata={"description": "Shown this once."})


class Viewing(Schema):
    """How a stream may be seen, and what limits it has."""

    title = fields.String(validate=validate.Length(max=LONGEST_TITLE))
    visibility = fields.String(
        validate=validate.OneOf(VISIBILITIES),
        metadata={"description": "public: listed; unlisted: for who knows the name; private: for who is let in."},
    )
    record = fields.Boolean(truthy={True}, falsy={False})
    expires_at = UtcTime(allow_none=True)
    sources = fields.List(
        fields.String(validate=validate.Length(max=50)),
        validate=validate.Length(max=MOST_SOURCES),
        metadata={"description": "CIDRs that may publish; empty for anywhere."},
    )
    max_bitrate_kbps = limit("kbit/s")
    max_height = limit("lines")
    max_minutes = limit("minutes")


class NewKey(Viewing):
    """A stream that is to be published."""

    slug = name(required=True, metadata={"description": "The public name."})


class KeyChange(Viewing):
    """What is to change of a key."""

    @validates_schema
    def _something(self, data: dict[str, Any], **_options: Any) -> None:
        """Refuse a change of nothing."""
        if not data:
            raise ValidationError("Name at least one field to change.")


class KeyOut(Viewing):
    """The right to publish under a name; the secret is not kept."""

    slug = fields.String(required=True)
    owner = fields.String(required=True, allow_none=True, attribute="owner.name", dump_default=None)
    created_at = UtcTime(required=True)
    rotated_at = UtcTime(required=True, allow_none=True)
    revoked_at = UtcTime(required=True, allow_none=True)
    revoked_by = fields.String(
        required=True, allow_none=True, metadata={"description": "The admin who did; null: the owner."}
    )
    held_until = UtcTime(required=True, allow_none=True)
    held_by = fields.String(
        required=True, allow_none=True, metadata={"description": "The admin who did; null: the owner, or a limit."}
    )
    owner_disabled = fields.Boolean(
        required=True, metadata={"description": "The owner may not sign in, so nobody publishes."}
    )
    set_by_admin = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "Limits that only admins change, each with the admin who set it."},
    )


class Secret(Schema):
    """The secret of a key, which is shown this once, and what to write into OBS."""

    slug = fields.String(required=True)
    key = fields.String(required=True, metadata={"description": "Shown this once."})
    server = fields.String(required=True, metadata={"description": "The server to write into OBS."})
    stream_key = fields.String(required=True, metadata={"description": "The stream key to write into OBS."})


class ProblemOut(Schema):
    """What is wrong with a stream, and what to do about it."""

    code = fields.String(required=True, validate=validate.OneOf(sorted(KINDS)))
    severity = fields.String(
        required=True,
        validate=validate.OneOf(SEVERITIES),
        metadata={"description": "unplayable: the publisher is disconnected soon, see disconnects_at."},
    )
    sentence = fields.String(required=True)
    cure = fields.String(required=True)
    since = fields.String(required=True, metadata={"format": "date-time"})


class RenditionOut(Schema):
    """What viewers can choose."""

    name = fields.String(required=True)
    kbps = fields.Integer(metadata={"description": "As measured."})
    width = fields.Integer()
    height = fields.Integer()


class FactsOut(Schema):
    """What was found in the stream itself; what is not known is left out."""

    video_codec = fields.String()
    profile = fields.String()
    pixel_format = fields.String()
    width = fields.Integer()
    height = fields.Integer()
    frame_rate = fields.Float()
    keyframe_seconds = fields.Float(metadata={"description": "From one keyframe to the next, as measured."})
    bitrate_kbps = fields.Integer(metadata={"description": "As received."})
    audio_codec = fields.String()
    sample_rate = fields.Integer()
    channels = fields.Integer()
    audio_offset_seconds = fields.Float(metadata={"description": "Sound minus picture."})
    jumps = fields.Integer(metadata={"description": "How often time leapt in the stream."})
    last_data_seconds = fields.Float(metadata={"description": "Since anything came."})
    behind_seconds = fields.Float(metadata={"description": "How old the newest segment's end is."})
    segments = fields.Integer()
    renditions = fields.List(fields.Nested(RenditionOut))
    playing = fields.Boolean(metadata={"description": "There is something to play."})


class HealthOut(Schema):
    """How a stream is, or was when it ended."""

    reported_at = UtcTime(required=True, attribute="at")
    disconnects_at = UtcTime(
        required=True,
        allow_none=True,
        attribute="leaves_at",
        metadata={"description": "When the publisher of a stream that can't be played is disconnected."},
    )
    facts = fields.Nested(FactsOut, required=True)
    problems = fields.List(fields.Nested(ProblemOut), required=True)

    @pre_dump
    def _described(self, health: Health, **_options: Any) -> dict[str, Any]:
        """Return *health* with its problems as people are told them."""
        return {"at": health.at, "leaves_at": health.leaves_at, "facts": health.facts, "problems": problems_of(health)}


class StreamOut(Schema):
    """A stretch of publishing, and what was measured of it last."""

    session = fields.String(required=True, attribute="id")
    slug = fields.String(required=True, attribute="stream_key.slug")
    title = fields.String(required=True, attribute="stream_key.title")
    visibility = fields.String(required=True, attribute="stream_key.visibility")
    client = fields.String(required=True, attribute="address", metadata={"description": "The publisher's address."})
    started_at = UtcTime(required=True)
    ended_at = UtcTime(required=True, allow_none=True)
    ending = fields.String(required=True, allow_none=True, metadata={"description": "Why it ended."})
    bitrate_kbps = fields.Integer(required=True)
    bytes_received = fields.Integer(required=True)
    width = fields.Integer(required=True)
    height = fields.Integer(required=True)
    frame_rate = fields.Float(required=True)
    video_codec = fields.String(required=True)
    audio_codec = fields.String(required=True)
    viewers = fields.Integer(required=True)
    peak_viewers = fields.Integer(required=True)
    health = fields.Nested(
        HealthOut,
        required=True,
        allow_none=True,
        metadata={"description": "null until the stream was looked at."},
    )


class Page(Schema):
    """Which page of a long list."""

    page = fields.Integer(load_default=1, validate=validate.Range(1, 100_000))
    size = fields.Integer(load_default=50, validate=validate.Range(1, 200))


class History(Schema):
    """A page of streams that ended, newest first."""

    total = fields.Integer(required=True)
    streams = fields.List(fields.Nested(StreamOut), required=True)


class Kick(Schema):
    """For how long nobody may publish under the name."""

    hold_seconds = fields.Integer(
        strict=True,
        load_default=int(HOLD.total_seconds()),
        validate=validate.Range(0, 86_400),
        metadata={"description": "Encoders come back at once; this is how long they are refused."},
    )


class SampleOut(Schema):
    """What was measured, on average over some seconds."""

    at = UtcTime(required=True)
    seconds = fields.Integer(
        required=True,
        metadata={
            "description": "For how long from then on it stands: 10 within the last hour, 300 within the last day,"
            " 3600 within the last week, 21600 before."
        },
    )
    bitrate_kbps = fields.Integer(required=True)
    viewers = fields.Integer(required=True)


class NewInvitation(Schema):
    """For how long an invitation is to hold."""

    minutes = fields.Integer(
        strict=True, required=True, validate=validate.Range(1, LONGEST_INVITATION // timedelta(minutes=1))
    )


class Invitation(Schema):
    """An address under which whoever knows it may watch; it is shown this once."""

    watch_url = fields.String(required=True)


class RecordingOut(Schema):
    """A file that was recorded."""

    slug = fields.String(required=True)
    file = fields.String(required=True)
    started_at = UtcTime(required=True)
    size = fields.Integer(required=True, metadata={"description": "Bytes."})


class NewRelay(Schema):
    """A server of somebody else to which a stream is to be passed on."""

    server = fields.String(
        required=True,
        validate=validate.Length(1, LONGEST_SERVER),
        metadata={"description": "rtmp://HOST[:PORT]/APP or rtmps://HOST[:PORT]/APP, without user, query or fragment."},
    )
    stream_key = fields.String(
        required=True,
        load_only=True,
        validate=validate.Length(1, LONGEST_KEY),
        metadata={"description": "What that server gave you. It is never shown again.", "writeOnly": True},
    )


class RelayOut(Schema):
    """A server to which a stream is passed on, and what becomes of that; the key for it is not shown."""

    id = fields.String(required=True)
    server = fields.String(required=True)
    created_at = UtcTime(required=True)
    state = fields.String(
        required=True,
        validate=validate.OneOf(STATES),
        metadata={"description": "waiting: for the stream, or to try again; refused: tried again, but see why."},
    )
    reason = fields.String(
        required=True,
        allow_none=True,
        validate=validate.OneOf([*REASONS, None]),
        metadata={"description": "Why it does not run."},
    )
