"""What to end and what to begin."""

from __future__ import annotations

from collections.abc import Mapping


def reconcile(wanted: Mapping[str, str], running: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """Return (slugs to end, slugs to begin), given {slug: session} of what is wanted and of what runs.

    A new session under the same slug ends the old one's pipeline; its own begins when that has gone.
    """
    end = {slug for slug, session in running.items() if wanted.get(slug) != session}
    return end, set(wanted) - set(running)
