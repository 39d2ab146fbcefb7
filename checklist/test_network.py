"""What the outside reaches, tried from the outside."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from outside import Outside, Site, eventually
from testinfra.host import Host

OPEN = {22, 80, 443, 1935, 1936}


def test_exactly_our_ports_are_open(site: Site, outside: Outside) -> None:
    scan = outside.output(f"nmap -n -Pn -p- --min-rate 4000 --max-retries 2 -oG - {site.address}", timeout=280)
    assert {int(port) for port in re.findall(r"(\d+)/open/", scan)} == OPEN


@pytest.mark.parametrize("port", [8000, 9090, 3000, 2375, 2376])
def test_inner_services_are_out_of_reach(site: Site, outside: Outside, port: int) -> None:
    assert outside.connects(site.address, 443)
    assert not outside.connects(site.address, port)


@pytest.fixture
def rogue(host: Host) -> Iterator[int]:
    """A container that somebody publishes on all addresses, past every rule of ufw."""
    image = host.check_output("docker inspect --format '{{.Config.Image}}' ffmpeg")
    host.check_output(
        "docker run --detach --name probe-rogue --publish 5432:5432 --entrypoint python3 "
        f"{image} -m http.server 5432 --directory /var/empty"
    )
    yield 5432
    # Restarting the engine may leave the container's filesystem busy for a moment.
    eventually(lambda: host.run("docker rm --force --volumes probe-rogue").rc == 0, 30, "the rogue is gone")


@pytest.mark.destructive
def test_a_rogue_container_is_out_of_reach(site: Site, outside: Outside, host: Host, rogue: int) -> None:
    own = f"curl -s -o /dev/null -m 3 http://{site.address}:{rogue}/"
    eventually(lambda: host.run(own).rc == 0, 15, "the rogue answers on the host itself")
    assert not outside.connects(site.address, rogue)


@pytest.mark.destructive
@pytest.mark.parametrize("disturbance", ["systemctl restart docker", "ufw reload", "systemctl restart ufw"])
def test_the_wall_stands_after(site: Site, outside: Outside, host: Host, rogue: int, disturbance: str) -> None:
    host.check_output(disturbance)
    own = f"curl -s -o /dev/null -m 3 http://{site.address}:{rogue}/"
    eventually(lambda: host.run(own).rc == 0, 30, "the rogue answers on the host itself")
    assert not outside.connects(site.address, rogue)
    assert outside.connects(site.address, 443)


def test_http_goes_to_https(site: Site, outside: Outside) -> None:
    for name in (site.domain, site.address):
        head = outside.output(f"curl -sI -m 10 --resolve {name}:80:{site.address} http://{name}/watch/x?y=1")
        assert "301" in head.splitlines()[0]
        assert f"Location: https://{name}/watch/x?y=1" in head


def test_an_unknown_name_gets_no_answer(site: Site, outside: Outside) -> None:
    for url in (f"http://{site.address}/", f"https://{site.address}/"):
        assert outside.run(f"curl -sk -m 10 -H 'Host: elsewhere.test' {url}").returncode != 0
        assert outside.run(f"curl -sk -m 10 {url}").returncode == 0


@pytest.mark.parametrize(
    "path", ["/internal/streams", "/internal/rtmp/publish", "/metrics", "/.env", "/stat", "/console"]
)
def test_inner_paths_are_not_there(site: Site, outside: Outside, path: str) -> None:
    assert outside.get(f"https://{site.address}{path}")[0] == 404


@pytest.mark.parametrize("path", ["/", "/watch/nobody-here", "/hls/nobody/index.m3u8", "/static/streamkeep.css"])
def test_every_answer_carries_the_headers(site: Site, outside: Outside, path: str) -> None:
    head = outside.output(f"curl -skI -m 10 https://{site.address}{path}").lower()
    assert "strict-transport-security: max-age=63072000" in head
    assert "x-content-type-options: nosniff" in head
    policy = next(line for line in head.splitlines() if line.startswith("content-security-policy: "))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("container", "reaches", "shut_out"),
    [
        ("python-orchestrator", [("nginx-rtmp", 8081)], [("{outside}", 22)]),
        ("python-worker", [("nginx-rtmp", 8081)], [("{outside}", 22)]),
        ("nginx-rtmp", [("python-orchestrator", 8000)], [("{outside}", 22)]),
        ("ffmpeg", [("python-orchestrator", 8000), ("nginx-rtmp", 1937)], [("{outside}", 22)]),
    ],
)
def test_inner_containers_reach_each_other_and_nobody_else(
    host: Host,
    outside: Outside,
    container: str,
    reaches: list[tuple[str, int]],
    shut_out: list[tuple[str, int]],
) -> None:
    def connects(name: str, port: int) -> bool:
        return host.run(f"docker exec {container} timeout 3 bash -c ': </dev/tcp/{name}/{port}'").rc == 0

    elsewhere = outside.output("hostname --all-ip-addresses").split()[0]
    listener = "timeout 20 python3 -m http.server 22 --directory /var/empty"
    outside.run(f"{listener} >/dev/null 2>&1 & sleep 1")
    assert host.run(f"timeout 3 bash -c ': </dev/tcp/{elsewhere}/22'").rc == 0
    assert all(connects(*there) for there in reaches)
    assert not any(connects(name.format(outside=elsewhere), port) for name, port in shut_out)
