"""What a stream may use, who may watch it, how many do, and what is kept of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from api import Api
from outside import NewKey, Outside, Publish, Site, eventually, wait_until_it_plays
from testinfra.host import Host

pytestmark = [pytest.mark.brisk, pytest.mark.slow]
NOMINAL_KBPS = 1500 + 96  # what outside.CLIP tells its encoders


def live(api: Api, slug: str) -> dict[str, Any]:
    """Return what the API says of the live stream *slug*, or nothing."""
    status, answer = api.call("GET", f"/streams/{slug}")
    return answer if status == 200 else {}


def test_a_limit_ends_what_exceeds_it_and_only_that(
    api: Api, site: Site, outside: Outside, host: Host, new_key: NewKey, publish: Publish
) -> None:
    playpaths = {name: new_key(f"probe-{name}") for name in ("fine", "fast", "tall")}
    api.does("PATCH", "/keys/probe-fine", {"max_bitrate_kbps": 2500, "max_height": 720, "max_minutes": 60})
    api.does("PATCH", "/keys/probe-fast", {"max_bitrate_kbps": 500})
    api.does("PATCH", "/keys/probe-tall", {"max_height": 719})
    publishers = {name: publish(playpath) for name, playpath in playpaths.items()}
    eventually(lambda: not publishers["tall"].running, 15, "the picture of 720 lines is ended")
    eventually(lambda: not publishers["fast"].running, 30, "the stream of 1.6 Mbit/s is ended")
    assert outside.is_refused(f"rtmps://{site.address}:1936/live", playpaths["fast"]), "it does not come back at once"
    log = host.check_output("docker logs --since 2m python-worker").splitlines()
    reasons = {e["slug"]: e["reason"] for e in map(json.loads, log) if e.get("event") == "limit"}
    assert reasons == {"probe-tall": "resolution", "probe-fast": "bitrate"}

    measured = eventually(lambda: (now := live(api, "probe-fine")) and now["bitrate_kbps"] and now, 15, "measured")
    assert measured["bitrate_kbps"] == pytest.approx(NOMINAL_KBPS, rel=0.15)
    assert (measured["width"], measured["height"], measured["frame_rate"]) == (640, 720, 30.0)
    assert (measured["video_codec"].split()[0], measured["audio_codec"].split()[0]) == ("H.264", "AAC")
    assert publishers["fine"].running
    api.does("PATCH", "/keys/probe-fine", {"max_minutes": 1})
    eventually(lambda: not publishers["fine"].running, 65, "the stream of a minute is ended")
    assert len(eventually(lambda: outside.get(site.playlist("probe-fine", "source"))[1], 5, "its end")) > 0


@pytest.fixture(scope="module")
def stream(api: Api, site: Site, outside: Outside) -> Iterator[str]:
    """A stream that is live for the probes that follow."""
    slug = "probe-media"
    api.call("DELETE", f"/keys/{slug}")
    secret = api.does("POST", "/keys", {"slug": slug})["key"]
    publisher = outside.publish(f"rtmps://{site.address}:1936/live", f"{slug}?key={secret}")
    wait_until_it_plays(outside, site, slug, 25)
    yield slug
    publisher.stop()
    api.does("DELETE", f"/keys/{slug}")


def test_viewers_are_counted_and_forgotten(api: Api, site: Site, outside: Outside, host: Host, stream: str) -> None:
    def count(number: int) -> Callable[[], bool]:
        return lambda: live(api, stream)["viewers"] == number

    eventually(count(0), 20, "nobody watches")
    url = site.playlist(stream, "source")
    watch = f"for i in $(seq 14); do curl -sk -o /dev/null {url} -A %s; sleep 1.5; done &"
    outside.run("(" + watch % "probe-vlc" + watch % "probe-safari" + ") >/dev/null 2>&1")
    # Whoever looked whether the stream plays, just before, counts as a third for 10 s.
    eventually(count(2), 20, "two players are counted")
    eventually(count(0), 40, "and are gone")
    assert live(api, stream)["peak_viewers"] >= 2
    assert "probe-vlc" not in host.check_output("docker logs --since 5m python-worker")
    assert host.run("grep -rqs probe-vlc /var/lib/streamkeep/data").rc == 1, "nothing is kept of who watched"


def test_a_live_stream_has_a_small_picture(site: Site, outside: Outside, stream: str) -> None:
    url = f"https://{site.address}/hls/{stream}/thumbnail.jpg"
    eventually(lambda: outside.run(f"curl -skf -o /tmp/thumbnail.jpg {url}").returncode == 0, 25, "a thumbnail comes")
    size = outside.output("ffprobe -v error -show_entries stream=codec_name,width -of csv=p=0 /tmp/thumbnail.jpg")
    assert size.strip() == "mjpeg,320"


def test_recording_is_asked_for_plays_and_is_deleted(api: Api, outside: Outside, host: Host, stream: str) -> None:
    def files() -> list[dict[str, Any]]:
        return [found for found in api.does("GET", "/recordings") if found["slug"] == stream]

    assert not files(), "nobody asked for it"
    api.does("PATCH", f"/keys/{stream}", {"record": True})
    eventually(lambda: files() and files()[0]["size"] > 500_000, 20, "half a megabyte is recorded")
    api.does("PATCH", f"/keys/{stream}", {"record": False})
    path = f"/recordings/{stream}/{files()[0]['file']}"
    api.downloads(path, "/tmp/recording.mp4")
    assert Api(api.site, outside).call("GET", path)[0] == 401
    probe = "ffprobe -v error -count_packets -show_streams -of json /tmp/recording.mp4"
    streams = json.loads(outside.output(probe))["streams"]
    assert {found["codec_name"] for found in streams} == {"h264", "aac"}
    assert all(int(found["nb_read_packets"]) > 30 for found in streams)
    folder = f"/var/lib/streamkeep/recordings/{stream}"
    assert host.check_output(f"stat -c %a {folder}/..") == "2750", "recordings are for those who hand them out"

    name = files()[0]["file"]
    host.check_output(f"cp -p {folder}/{name} {folder}/2020-01-01T00-00-00Z.mp4")
    host.check_output(f"touch -d '15 days ago' {folder}/2020-01-01T00-00-00Z.mp4")
    eventually(lambda: "2020" not in host.check_output(f"ls {folder}"), 20, "what is older than 14 days is gone")
    assert name in host.check_output(f"ls {folder}")
    api.does("DELETE", path)
    assert not files()
    eventually(lambda: name not in host.run(f"ls {folder}").stdout, 10, "the file is gone from the disk")


def questions(host: Host) -> float:
    """Return how often the proxy asked the app whether somebody may watch."""
    ask = (
        "import socket, urllib.request as u; a = [i[4][0] for i in socket.getaddrinfo(socket.gethostname(), 8000)];"
        "print(*(u.urlopen(f'http://{x}:8000/metrics').read().decode() for x in set(a) if x.startswith('172.31.243')))"
    )
    text = host.check_output(f'docker exec python-orchestrator python3 -c "{ask}"')
    found = re.findall(r"^flask_http_request_duration_seconds_count\{.*may_view.*\} (\S+)$", text, re.M)
    return sum(float(count) for count in found)


def test_private_is_private(api: Api, site: Site, outside: Outside, host: Host, stream: str) -> None:
    base = f"https://{site.address}"
    secret = site.playlist(stream, "source", "private")
    assert outside.get(site.playlist(stream, "source"))[0] == 200
    api.does("PATCH", f"/keys/{stream}", {"visibility": "private"})
    eventually(lambda: outside.get(site.playlist(stream, "source"))[0] == 404, 15, "it is not public any more")
    eventually(lambda: stream in host.check_output("docker exec ffmpeg ls /var/hls/private"), 20, "it is in private")
    assert stream not in host.check_output("docker exec ffmpeg ls /var/hls/public")
    assert outside.get(secret)[0] == 403
    assert outside.get(f"{base}/private/{stream}/thumbnail.jpg")[0] == 403
    assert outside.get(secret, "-b", "__Secure-viewing=forged")[0] == 403

    address = api.does("POST", f"/keys/{stream}/invitations", {"minutes": 5})["watch_url"]
    invitation = address.partition("#invitation=")[2]
    access = f"{base}/session/viewing/{stream}"
    assert outside.get(access, "-X", "POST")[0] == 403
    assert outside.get(access, "-X", "POST", "-d", "invitation=forged")[0] == 403
    assert outside.get(access, "-d", f"invitation={invitation}", "-c", "/tmp/viewing")[0] == 204
    cookies = ["-b", "/tmp/viewing"]
    eventually(lambda: ".ts" in outside.get(secret, *cookies)[1], 20, "who is invited watches")
    before = questions(host)
    for _ in range(3):
        segments = re.findall(r"^\S+\.ts$", outside.get(secret, *cookies)[1], re.M)
        urls = " ".join(f"-o /dev/null {base}/private/{stream}/source/{segment}" for segment in segments)
        codes = outside.output(f"curl -sk -b /tmp/viewing -w '%{{http_code}}\\n' {urls}").split()
        assert codes
        assert set(codes) == {"200"}
    assert questions(host) - before <= 2, "segments cost no question each"

    found = re.findall(r"^\S+\.ts$", outside.get(secret, *cookies)[1], re.M)[-1]
    for path in (
        f"/hls/{stream}/source/{found}",
        f"/hls/../private/{stream}/source/{found}",
        f"/hls/..%2fprivate/{stream}/source/{found}",
        f"/hls/x/%2e%2e/%2e%2e/private/{stream}/source/{found}",
        f"/hls//..//private//{stream}/source/{found}",
        f"/hls../private/{stream}/source/{found}",
        f"/private/{stream}/../{stream}/source/{found}",
        f"/private/nobody/..%2f{stream}/source/{found}",
        f"/recordings/../hls/private/{stream}/source/{found}",
        f"/static/../../hls/private/{stream}/source/{found}",
    ):
        status, _ = outside.get(base + path, "--path-as-is", "-o", "/dev/null")
        assert status in (400, 403, 404), path
    assert outside.get(f"{base}/internal/viewing", "-H", f"X-Slug: {stream}")[0] == 404
    assert outside.get(f"{base}/recordings/{stream}/2020-01-01T00-00-00Z.mp4")[0] == 404

    api.does("DELETE", f"/keys/{stream}/invitations")
    eventually(lambda: outside.get(secret, *cookies)[0] == 403, 25, "a withdrawn invitation ends")
    assert outside.get(access, "-d", f"invitation={invitation}")[0] == 403
    api.does("PATCH", f"/keys/{stream}", {"visibility": "public"})
    wait_until_it_plays(outside, site, stream, 25)
    assert stream not in host.check_output("docker exec ffmpeg ls /var/hls/private")


def test_a_name_is_free_again_when_its_publisher_lost_the_line(
    site: Site, outside: Outside, new_key: NewKey, publish: Publish
) -> None:
    if not outside.container:
        pytest.skip("not-testable: the probe would have to cut this machine's own line")
    playpath = new_key("probe-line")
    server = f"rtmps://{site.address}:1936/live"
    first = publish(playpath, "rtmp")
    wait_until_it_plays(outside, site, "probe-line", 25)
    assert outside.is_refused(server, playpath), "while the first sends, nobody takes its place"
    rule = f"to {site.address} ipproto tcp dport 1935 blackhole"
    outside.output(f"ip rule add {rule}")
    try:
        began = time.monotonic()
        eventually(lambda: not outside.is_refused(server, playpath), 15, "the encoder that comes back is let in")
        assert time.monotonic() - began - 4 < 10, "within ten seconds; four are what the probe sends"
    finally:
        outside.output(f"ip rule del {rule}")
    eventually(lambda: not first.running, 20, "the former publisher is told when it has a line again")


@pytest.mark.destructive
def test_a_worker_that_stands_still_is_noticed(host: Host) -> None:
    healthy = "docker exec python-worker python3 /app/heartbeat.py"
    pid = host.check_output("docker top python-worker -o pid,args | awk '$2 == \"python3\" {print $1}'")
    assert host.run(healthy).rc == 0
    host.check_output(f"kill -STOP {pid}")
    try:
        host.check_output("docker exec python-worker touch -d '30 seconds ago' /tmp/heartbeat")
        assert host.run(healthy).rc == 1
    finally:
        host.check_output(f"kill -CONT {pid}")
    eventually(lambda: host.run(healthy).rc == 0, 10, "it goes on")
