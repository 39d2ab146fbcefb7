"""What the orchestrator says is live."""

from __future__ import annotations

import json
import re
import urllib.request
from http.client import HTTPException

SLUG = re.compile(r"[A-Za-z0-9_-]{3,64}")
LARGEST_ANSWER = 1 << 20  # bytes


class NoAnswer(Exception):
    """The orchestrator did not say what is live; what runs goes on."""


def fetch(url: str) -> dict[str, str]:
    """Return {slug: session} of what is live.

    A slug becomes a folder and an argument, so the guide's rule is checked here once more.

    Raises:
        NoAnswer: no answer within 3 s, or one that can't be understood.
    """
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310  # our own configuration's URL
            streams = json.loads(answer.read(LARGEST_ANSWER))["streams"]
            return {s["slug"]: s["session"] for s in streams if SLUG.fullmatch(s["slug"])}
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        raise NoAnswer(type(error).__name__) from None
