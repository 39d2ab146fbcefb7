"""What the outside reaches, tried from the outside."""

from __future__ import annotations

import json
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from outside import DOORS, Outside, Site, patient
from testinfra.host import Host


def test_exactly_our_ports_are_open(site: Site, outside: Outside) -> None:
    scan = outside.output(f"nmap -n -Pn -p- --min-rate 8000 --max-retries 2 -oG - {site.address}", timeout=280)
    assert {int(port) for port in re.findall(r"(\d+)/open/", scan)} == DOORS


def test_inner_services_are_out_of_reach(site: Site, outside: Outside) -> None:
    assert outside.open_among(site.address, [443, 8000, 9090, 3000, 2375, 2376]) == {443}


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
    "path", ["/internal/streams", "/internal/rtmp/publish", "/metrics", "/readyz", "/.env", "/stat", "/console"]
)
def test_inner_paths_are_not_there(site: Site, outside: Outside, path: str) -> None:
    assert outside.get(f"https://{site.address}{path}")[0] == 404


# Who reaches what, tried from inside. A column is container@network:port, "outside" is a machine that is not the host.
# The backend is one room: all of it is reached by all who are in it, and each service judges who may ask.
COLUMNS = [
    "proxy@frontend:8443",
    "proxy@backend:8443",
    "proxy@backend:1935",
    "proxy@monitoring:8443",
    "python-orchestrator@backend:8000",
    "python-orchestrator@monitoring:8000",
    "nginx-rtmp@backend:1935",
    "nginx-rtmp@backend:1937",
    "nginx-rtmp@backend:8081",
    "outside:22",
]
MATRIX = {
    "proxy": "yes yes yes yes yes yes no yes yes yes",
    "python-orchestrator": "no yes yes yes yes yes no yes yes no",
    "python-worker": "no yes yes no yes no no yes yes no",
    "nginx-rtmp": "no yes yes no yes no no yes yes no",
    "ffmpeg": "no yes yes no yes no no yes yes no",
    # The machine outside is one of the few private addresses that it may send to.
    "relay": "no yes yes no yes no no yes yes yes",
}
NETWORKS = {
    "proxy": {"frontend", "backend", "monitoring"},
    "python-orchestrator": {"backend", "monitoring"},
    "python-worker": {"backend"},
    "nginx-rtmp": {"backend"},
    "ffmpeg": {"backend"},
    "relay": {"backend", "egress"},
}


def of_this_host(table: dict[str, Any], site: Site) -> dict[str, Any]:
    """Return the rows of *table* for the containers that the host has."""
    return {name: row for name, row in table.items() if name != "relay" or site.relays}


@pytest.fixture(scope="module")
def stack(host: Host) -> Any:
    """What the engine says of the stack's containers, by name."""
    names = host.check_output("docker ps --quiet --filter label=com.docker.compose.project=streamkeep").split()
    return {seen["Name"][1:]: seen for seen in json.loads(host.check_output("docker inspect " + " ".join(names)))}


def reached(host: Host, container: str, targets: list[str]) -> set[str]:
    """Return which of *targets* (address/port) accept a connection from *container*."""
    # Four at a time: what does not answer costs a second, and a container may have few processes.
    tries = "xargs -n 1 -P 4 timeout 1 bash -c ': </dev/tcp/$0 && echo $0' 2>/dev/null; true"
    words = f"echo {' '.join(targets)} | docker exec --interactive {container} sh -c {shlex.quote(tries)}"
    return set(host.check_output(words).split())


def test_every_container_is_in_its_networks_and_no_other(site: Site, stack: Any) -> None:
    found = {
        name: {network.removeprefix("streamkeep_") for network in seen["NetworkSettings"]["Networks"]}
        for name, seen in stack.items()
    }
    assert found == of_this_host(NETWORKS, site)


def test_every_container_reaches_what_the_matrix_says_and_nothing_else(
    host: Host, site: Site, outside: Outside, stack: Any
) -> None:
    elsewhere = outside.output("hostname --all-ip-addresses").split()[0]
    outside.run(f"timeout {patient(60):.0f} python3 -m http.server 22 --directory /var/empty >/dev/null 2>&1 & sleep 1")
    assert host.run(f"timeout 3 bash -c ': </dev/tcp/{elsewhere}/22'").rc == 0
    addresses = {}
    for column in COLUMNS:
        place, port = column.split(":")
        name, _, network = place.partition("@")
        networks = stack[name]["NetworkSettings"]["Networks"] if network else {}
        addresses[column] = f"{networks[f'streamkeep_{network}']['IPAddress'] if network else elsewhere}/{port}"
    matrix = of_this_host(MATRIX, site)
    assert set(matrix) == set(stack), "a container without a row"
    for container, row in matrix.items():
        expected = {column for column, cell in zip(COLUMNS, row.split(), strict=True) if cell == "yes"}
        answers = reached(host, container, list(addresses.values()))
        assert {column for column, address in addresses.items() if address in answers} == expected, container


@pytest.mark.parametrize(("way", "other"), [("publish", "proxy"), ("play", "ffmpeg")])
def test_a_socket_of_nginx_rtmp_is_reached_by_one_other_container(stack: Any, way: str, other: str) -> None:
    """Whoever has the folder may connect: of those who play by it nginx-rtmp asks nobody."""
    mounts = [(name, mount) for name, seen in stack.items() for mount in seen["Mounts"]]
    having = {name: mount["RW"] for name, mount in mounts if mount.get("Name") == f"streamkeep_{way}"}
    assert having == {"nginx-rtmp": True, other: False}


def test_no_container_reaches_the_host(host: Host, site: Site, stack: Any) -> None:
    """Neither by the bridges' own addresses nor by the host's."""
    gateways = host.check_output("ip -4 -brief address show | sed -n 's/^sk-[^ ]* .* \\([0-9.]*\\)\\/.*/\\1/p'").split()
    assert len(gateways) == len(set().union(*of_this_host(NETWORKS, site).values()))
    doors = [f"{address}/{port}" for address in (*gateways, site.address) for port in (22, 2375)]
    with ThreadPoolExecutor() as threads:
        answers = threads.map(lambda container: reached(host, container, doors), stack)
        assert dict(zip(stack, answers, strict=True)) == {name: set() for name in stack}
