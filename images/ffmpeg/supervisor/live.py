"""What the orchestrator says is live, and which recordings are to go."""

from __future__ import annotations

import json
import re
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

SLUG = re.compile(r"[A-Za-z0-9_-]{3,64}")
APPLICATION = re.compile(r"[A-Za-z]{1,16}")
RECORDING = re.compile(r"[A-Za-z0-9_-]{3,64}/\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.mp4")
LARGEST_ANSWER = 1 << 20  # bytes


class NoAnswer(Exception):
    """The orchestrator did not say what is live; what runs goes on."""


@dataclass(frozen=True)
class Stream:
    """One live stream. Who watches a *private* one has to be let in; one to *record* is kept on the disk.

    *application* is the one under which nginx-rtmp has it.
    """

    session: str
    private: bool = False
    record: bool = False
    application: str = "live"


@dataclass(frozen=True)
class Answer:
    """What is live, by slug, and the paths of recordings that are to go."""

    streams: dict[str, Stream]
    discards: tuple[str, ...] = ()


def asked(url: str, body: bytes | None = None) -> Any:
    """Return the JSON that the orchestrator answers when asked for *url*, or told *body* there.

    Raises:
        NoAnswer: no answer within 3 s, or one that can't be understood.
    """
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  # our own URL
    try:
        with urllib.request.urlopen(request, timeout=3) as answer:  # noqa: S310  # likewise
            return json.loads(answer.read(LARGEST_ANSWER) or b"null")
    except (OSError, HTTPException, ValueError) as error:
        raise NoAnswer(type(error).__name__) from None


def fetch(url: str, told: dict[str, Any]) -> Answer:
    """Tell the orchestrator what was found (*told*), and return what it answers.

    Raises:
        NoAnswer: no answer within 3 s, or one that can't be understood.
    """
    try:
        said = asked(url, json.dumps(told).encode())
        streams = dict(understood(stream) for stream in said["streams"] if SLUG.fullmatch(stream["slug"]))
        return Answer(streams, tuple(path for path in said.get("discards", []) if RECORDING.fullmatch(path)))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise NoAnswer(type(error).__name__) from None


def understood(said: dict[str, Any]) -> tuple[str, Stream]:
    """Return one stream of the answer with its slug; what is not said to be public is private.

    A slug becomes a folder and an argument, so the guide's rule is checked here once more.

    Raises:
        ValueError: the slug or the application breaks the rule.
        KeyError, TypeError, AttributeError: it is no stream.
    """
    application = said.get("application", "live")
    if not SLUG.fullmatch(said["slug"]) or not APPLICATION.fullmatch(application):
        raise ValueError("no name of a stream")
    private, record = said.get("private") is not False, said.get("record") is True
    return said["slug"], Stream(str(said["session"]), private, record, application)
