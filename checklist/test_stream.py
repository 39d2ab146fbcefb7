"""A stream's way: who may publishes, everybody sees it, and it ends without a trace."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from minutes import Minute, published
from outside import Manage, NewKey, Outside, Publish, Publisher, Site, eventually, wait_until_it_plays
from testinfra.host import Host

pytestmark = pytest.mark.brisk


@pytest.mark.parametrize("scheme", ["rtmps", "rtmp"])
def test_a_good_key_publishes_and_everybody_sees_it(
    site: Site, outside: Outside, new_key: NewKey, publish: Publish, minute: Minute, scheme: str
) -> None:
    slug = "probe-minute"
    if scheme == "rtmp":
        slug = "probe-rtmp"
        publish(new_key(slug), scheme)
        wait_until_it_plays(outside, site, slug)
    for rendition, shorter in (("source", 640), ("480p", 480)):
        url = site.playlist(slug, rendition)
        eventually(lambda url=url: outside.segments(url)[0], 20, f"{rendition} has segments")
        streams = json.loads(outside.output(f"ffprobe -v error -show_streams -of json {url}"))["streams"]
        assert {s["codec_name"] for s in streams} == {"h264", "aac"}
        assert [min(s["width"], s["height"]) for s in streams if s["codec_type"] == "video"] == [shorter]
    frames = outside.output(f"ffmpeg -v error -i {site.playlist(slug)} -t 2 -map 0:v:0 -f framemd5 -")
    digests = {line.rsplit(",", 1)[1] for line in frames.splitlines() if not line.startswith("#")}
    assert len(digests) > 30, "the picture does not move"


def test_a_name_is_published_once_at_a_time(site: Site, outside: Outside, minute: Minute) -> None:
    assert outside.is_refused(f"rtmps://{site.address}:1936/live", minute.playpath)
    assert minute.publisher.running


def test_viewers_cannot_pull_rtmp(site: Site, outside: Outside, minute: Minute) -> None:
    pull = f"timeout 10 ffprobe -v error -rw_timeout 5000000 rtmp://{site.address}:1935/live/probe-minute"
    assert outside.run(pull).returncode != 0
    assert minute.publisher.running


def test_the_app_sees_the_publisher_and_not_the_proxy(outside: Outside, host: Host) -> None:
    own = outside.output("hostname --all-ip-addresses").split()
    log = host.check_output("docker logs --since 10m python-orchestrator").splitlines()
    events = [json.loads(line) for line in log if line.startswith("{") and '"probe-minute"' in line]
    accepted = {e["client"] for e in events if e.get("result") == "accepted"}
    assert accepted
    assert accepted <= set(own)


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


def test_a_minute_has_no_gap_and_ends(outside: Outside, minute: Minute) -> None:
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


@pytest.fixture(scope="module")
def lasting(site: Site, outside: Outside, manage: Manage) -> Iterator[Publisher]:
    """A stream that outlasts what happens to the containers."""
    with published(site, outside, manage, "probe-lasting") as (publisher, _):
        yield publisher


@pytest.mark.destructive
@pytest.mark.parametrize("container", ["python-orchestrator", "ffmpeg"])
def test_a_stream_survives_a_restart_of(
    site: Site, outside: Outside, host: Host, lasting: Publisher, container: str
) -> None:
    host.check_output(f"docker stop --time 10 {container}")
    time.sleep(5)  # longer than nginx-rtmp waits between two questions about a stream
    host.check_output(f"docker start {container}")
    url = site.playlist("probe-lasting", "source")
    newest = max(outside.segments(url)[0], default=0)
    eventually(lambda: max(outside.segments(url)[0], default=0) > newest + 2, 40, "new segments come")
    assert lasting.running


def test_what_has_ended_leaves_no_trace(
    site: Site, outside: Outside, host: Host, manage: Manage, minute: Minute, lasting: Publisher
) -> None:
    def shows(slug: str) -> dict[str, bool]:
        return {
            "live": slug in str(manage("live")),
            "encoded": f"/{slug}" in host.check_output("docker top ffmpeg"),
            "kept": slug in host.check_output("docker exec ffmpeg ls -R /var/hls"),
            "shown": outside.get(site.playlist(slug))[0] == 200,
        }

    assert not minute.publisher.running
    assert lasting.running
    assert set(shows("probe-lasting").values()) == {True}
    eventually(lambda: set(shows("probe-minute").values()) == {False}, 60, "all of it is gone")
    assert "<defunct>" not in host.check_output("docker top ffmpeg")
