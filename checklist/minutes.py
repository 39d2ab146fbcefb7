"""A stream that runs beside the probes until one of them judges it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from outside import Manage, Outside, Publisher, Site, wait_until_it_plays


@contextmanager
def published(site: Site, outside: Outside, manage: Manage, slug: str) -> Iterator[tuple[Publisher, str]]:
    """Publish as *slug* and wait until it plays; gives the publisher and its play path."""
    playpath = f"{slug}?key={manage('key', 'create', slug, '--rotate')[0]['key']}"
    publisher = outside.publish(f"rtmps://{site.address}:1936/live", playpath)
    try:
        wait_until_it_plays(outside, site, slug)
        yield publisher, playpath
    finally:
        publisher.stop()
        manage("key", "revoke", slug)


@dataclass(frozen=True)
class Minute:
    """A stream that runs for at least a minute, and the numbers of the segments that its playlist has shown."""

    publisher: Publisher
    playpath: str
    url: str
    begun: float
    seen: Callable[[], set[int]]


@contextmanager
def a_minute(site: Site, outside: Outside, manage: Manage) -> Iterator[Minute]:
    """Publish beside what the probes publish, until one judges it."""
    url, numbers, over = site.playlist("probe-minute", "source"), set[int](), Event()

    def watch() -> None:
        while not over.wait(4):
            numbers.update(outside.segments(url)[0])

    with ThreadPoolExecutor() as threads, published(site, outside, manage, "probe-minute") as (publisher, playpath):
        watching = threads.submit(watch)

        def seen() -> set[int]:
            over.set()
            watching.result()
            return numbers

        try:
            yield Minute(publisher, playpath, url, time.monotonic(), seen)
        finally:
            over.set()
