"""What people write into their encoders, from outside through the whole host: what is clear is taken, the rest told."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from outside import CLIP, Manage, Outside, Site, eventually
from testinfra.host import Host

pytestmark = [pytest.mark.slow, pytest.mark.brisk]
SLUG = "probe-forms"
ACCEPTED = [
    ("live", "{slug}?key={key}\n"),
    ("live", "{slug}?key={key}  "),
    ("live/", "{slug}?key={key}"),
    ("Live", "{slug}?key={key}"),
    ("live?key={key}", "{slug}"),
]
REFUSED = [
    ("live", "{slug}", "no key"),
    ("live", "{key}", "key as name"),
    ("live", "{slug}%3Fkey={key}", "name escaped"),
    ("live", "{slug}&key={key}", "name without question mark"),
    ("live", "rtmp://streams.test/live/{slug}?key={key}", "address as name"),
    ("live/{slug}?key={key}", "", "address as server"),
]


@pytest.fixture(scope="module")
def key(manage: Manage) -> Iterator[str]:
    (made,) = manage("key", "create", SLUG, "--rotate")
    yield made["key"]
    manage("key", "revoke", SLUG)


def told(host: Host) -> list[dict[str, str]]:
    """Return what the app's log says of this stream's publishers, without who was here before the last hour."""
    lines = host.check_output("docker logs --since 1h python-orchestrator 2>&1").splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{") and f'"{SLUG}"' in line]
    return [event for event in events if event["event"] == "publish" and event["result"] in ("accepted", "refused")]


def comes_of(site: Site, outside: Outside, host: Host, application: str, name: str, key: str) -> dict[str, str]:
    """Publish for two seconds, and return what the log says of it."""
    words = {"slug": SLUG, "key": key}
    before = len(told(host))
    clip = CLIP.replace("-f flv", "-t 2 -f flv") + f" -rtmp_app '{application.format(**words)}'"
    publisher = outside.publish(f"rtmp://{site.address}:1935/live", name.format(**words), clip)
    try:
        (event, *_) = eventually(lambda: told(host)[before:], 15, "the app was asked")
        eventually(lambda: not publisher.running, 15, "the publisher has ended")
    finally:
        publisher.stop()
    return event


@pytest.mark.parametrize(("application", "name"), ACCEPTED)
def test_what_is_clear_is_accepted(
    site: Site, outside: Outside, host: Host, key: str, application: str, name: str
) -> None:
    assert comes_of(site, outside, host, application, name, key)["result"] == "accepted"
    eventually(lambda: SLUG not in host.check_output("docker exec nginx-rtmp curl -s 127.0.0.1:8081/stat"), 15, "ended")


@pytest.mark.parametrize(("application", "name", "reason"), REFUSED)
def test_the_rest_is_refused_with_its_reason_and_no_key_is_logged(
    site: Site, outside: Outside, host: Host, key: str, application: str, name: str, reason: str
) -> None:
    event = comes_of(site, outside, host, application, name, key)
    assert (event["result"], event["reason"]) == ("refused", reason)
    for container in ("python-orchestrator", "nginx-rtmp", "proxy", "ffmpeg", "python-worker"):
        leaks = key in host.check_output(f"docker logs --since 10m {container} 2>&1")
        assert not leaks, f"a key stands in the log of {container}"
