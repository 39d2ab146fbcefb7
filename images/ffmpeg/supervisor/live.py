"""What the orchestrator says is live, and which recordings are to go."""

from __future__ import annotations

import json
import re
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

SLUG = re.compile(r"[A-Za-z0-9_-]{3,64}")
RECORDING = re.compile(r"[A-Za-z0-9_-]{3,64}/\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.mp4")
LARGEST_ANSWER = 1 << 20  # bytes


class NoAnswer(Exception):
    """The orchestrator did not say what is live; what runs goes on."""


@dataclass(frozen=True)
class Stream:
    """One live stream. Who watches a *private* one has to be let in; one to *record* is kept on the disk."""

    session: str
    private: bool = False
    record: bool = False


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


def fetch(url: str) -> Answer:
    """Return what the orchestrator answers.

    A slug becomes a folder and an argument, so the guide's rule is checked here once more.

    Raises:
        NoAnswer: no answer within 3 s, or one that can't be understood.
    """
    try:
        said = asked(url)
        streams = {s["slug"]: _stream(s) for s in said["streams"] if SLUG.fullmatch(s["slug"])}
        return Answer(streams, tuple(path for path in said.get("discards", []) if RECORDING.fullmatch(path)))
    except (KeyError, TypeError, AttributeError) as error:
        raise NoAnswer(type(error).__name__) from None


def _stream(said: dict[str, Any]) -> Stream:
    """Return one stream of the answer; what is not said to be public is private."""
    return Stream(str(said["session"]), said.get("private") is not False, said.get("record") is True)
