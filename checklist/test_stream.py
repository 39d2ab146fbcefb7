"""A stream's way: who may publishes, everybody sees it, and it ends without a trace."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import pytest
from outside import Outside, Publisher, Site, eventually
from testinfra.host import Host

pytestmark = pytest.mark.brisk
Publish = Callable[..., Publisher]
NewKey = Callable[[str], str]
Manage = Callable[..., list[dict[str, str]]]


def playlist(site: Site, slug: str, rendition: str = "") -> str:
    return f"https://{site.address}/hls/{slug}/{rendition + '/' if rendition else ''}index.m3u8"


def wait_until_it_plays(outside: Outside, site: Site, slug: str, seconds: float = 20) -> None:
    eventually(lambda: outside.segments(playlist(site, slug, "source"))[0], seconds, f"{slug} has segments")


@dataclass(frozen=True)
class Minute:
    """A stream that runs for at least a minute, and the numbers of the segments that its playlist has shown."""

    publisher: Publisher
    url: str
    begun: float
    seen: Callable[[], set[int]]


@pytest.fixture(scope="module", autouse=True)
def minute(site: Site, host: Host, outside: Outside) -> Iterator[Minute]:
    """Publish beside what the probes of this file publish, until one judges it."""
    manage = "docker exec python-orchestrator flask streamkeep key"
    key = json.loads(host.check_output(f"{manage} create probe-minute --rotate"))["key"]
    publisher = outside.publish(f"rtmps://{site.address}:1936/live", f"probe-minute?key={key}")
    url, numbers, over = playlist(site, "probe-minute", "source"), set[int](), Event()

    def watch() -> None:
        while not over.wait(4):
            numbers.update(outside.segments(url)[0])

    with ThreadPoolExecutor() as threads:
        watching = threads.submit(watch)

        def seen() -> set[int]:
            over.set()
            watching.result()
            return numbers

        try:
            wait_until_it_plays(outside, site, "probe-minute")
            yield Minute(publisher, url, time.monotonic(), seen)
        finally:
            over.set()
            publisher.stop()
            host.check_output(f"{manage} revoke probe-minute")


@pytest.mark.parametrize("scheme", ["rtmp", "rtmps"])
def test_a_good_key_publishes_and_everybody_sees_it(
    site: Site, outside: Outside, new_key: NewKey, publish: Publish, scheme: str
) -> None:
    slug = f"probe-{scheme}"
    publish(new_key(slug), scheme)
    wait_until_it_plays(outside, site, slug)
    for rendition, height in (("source", 720), ("480p", 480)):
        url = playlist(site, slug, rendition)
        eventually(lambda url=url: outside.segments(url)[0], 20, f"{rendition} has segments")
        streams = json.loads(outside.output(f"ffprobe -v error -show_streams -of json {url}"))["streams"]
        assert {s["codec_name"] for s in streams} == {"h264", "aac"}
        assert next(s["height"] for s in streams if s["codec_type"] == "video") == height
    frames = outside.output(f"ffmpeg -v error -i {playlist(site, slug)} -t 2 -map 0:v:0 -f framemd5 -")
    digests = {line.rsplit(",", 1)[1] for line in frames.splitlines() if not line.startswith("#")}
    assert len(digests) > 30, "the picture does not move"


def test_a_name_is_published_once_at_a_time(site: Site, outside: Outside, new_key: NewKey, publish: Publish) -> None:
    playpath = new_key("probe-twice")
    first = publish(playpath)
    wait_until_it_plays(outside, site, "probe-twice")
    assert outside.is_refused(f"rtmps://{site.address}:1936/live", playpath)
    assert first.running


def test_a_publisher_that_was_cut_off_may_return(
    site: Site, outside: Outside, new_key: NewKey, publish: Publish
) -> None:
    playpath = new_key("probe-return")
    first = publish(playpath)
    wait_until_it_plays(outside, site, "probe-return")
    first.kill("KILL")
    server = f"rtmps://{site.address}:1936/live"
    eventually(lambda: not outside.is_refused(server, playpath), 20, "the publisher is let in again")


def test_a_revoked_key_ends_its_stream(
    site: Site, outside: Outside, new_key: NewKey, publish: Publish, manage: Manage
) -> None:
    other = publish(new_key("probe-other"))
    playpath = new_key("probe-revoked")
    publisher = publish(playpath)
    wait_until_it_plays(outside, site, "probe-revoked")
    manage("key", "revoke", "probe-revoked")
    eventually(lambda: not publisher.running, 5, "the revoked publisher is gone")
    assert outside.is_refused(f"rtmps://{site.address}:1936/live", playpath)
    assert other.running


def test_viewers_cannot_pull_rtmp(site: Site, outside: Outside, new_key: NewKey, publish: Publish) -> None:
    publish(new_key("probe-pull"))
    wait_until_it_plays(outside, site, "probe-pull")
    pulled = outside.run(f"timeout 10 ffprobe -v error -rw_timeout 5000000 rtmp://{site.address}:1935/live/probe-pull")
    assert pulled.returncode != 0


def test_the_app_sees_the_publisher_and_not_the_proxy(
    site: Site, outside: Outside, host: Host, new_key: NewKey, publish: Publish
) -> None:
    publish(new_key("probe-address"))
    wait_until_it_plays(outside, site, "probe-address")
    own = outside.output("hostname --all-ip-addresses").split()
    log = host.check_output("docker logs --tail 200 python-orchestrator").splitlines()
    events = [json.loads(line) for line in log if line.startswith("{") and '"probe-address"' in line]
    assert {e["client"] for e in events if e.get("result") == "accepted"} <= set(own)
    assert events


def test_a_minute_has_no_gap_and_ends_without_a_trace(
    site: Site, outside: Outside, host: Host, minute: Minute, manage: Manage
) -> None:
    time.sleep(max(0, minute.begun + 60 - time.monotonic()))
    minute.publisher.stop()
    numbers, text = eventually(
        lambda: (answer := outside.segments(minute.url)) and "#EXT-X-ENDLIST" in answer[1] and answer,
        15,
        "the playlist ends",
    )
    seen = minute.seen() | set(numbers)
    assert seen == set(range(min(seen), max(seen) + 1)), "segments are missing"
    assert len(seen) >= 28
    assert text.count("#EXTINF") == len(numbers)
    eventually(lambda: not manage("live"), 15, "the app says that nobody is live")
    eventually(lambda: "ffmpeg -nostdin" not in host.check_output("docker top ffmpeg"), 15, "ffmpeg is gone")
    eventually(lambda: outside.get(playlist(site, "probe-minute"))[0] == 404, 60, "the segments are gone")
    assert "probe-minute" not in host.check_output("docker exec ffmpeg ls /var/hls/public")


@pytest.mark.destructive
@pytest.mark.parametrize("container", ["python-orchestrator", "ffmpeg"])
def test_a_stream_survives_a_restart_of(
    site: Site, outside: Outside, host: Host, new_key: NewKey, publish: Publish, container: str
) -> None:
    slug = f"probe-{container[:6]}"
    publisher = publish(new_key(slug))
    wait_until_it_plays(outside, site, slug)
    host.check_output(f"docker stop --time 10 {container}")
    time.sleep(5)  # longer than nginx-rtmp waits between two questions about a stream
    host.check_output(f"docker start {container}")
    url = playlist(site, slug, "source")
    newest = max(outside.segments(url)[0], default=0)
    eventually(lambda: max(outside.segments(url)[0], default=0) > newest + 2, 40, "new segments come")
    assert publisher.running
