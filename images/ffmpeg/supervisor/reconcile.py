"""What to end and what to begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Run = TypeVar("Run")  # what tells one run under a name from another


def reconcile(wanted: Mapping[str, Run], running: Mapping[str, Run]) -> tuple[set[str], set[str]]:
    """Return (slugs to end, slugs to begin), given {slug: run} of what is wanted and of what runs.

    Another run under the same slug ends the old one's program; its own begins when that has gone.
    """
    end = {slug for slug, run in running.items() if wanted.get(slug) != run}
    return end, set(wanted) - set(running)
