"""The wall: what stands behind it stays there while the host is disturbed, attacked by a neighbour, or boots."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address

import pytest
from controller import Controller, Run
from neighbour import opens, watching
from outside import Outside, Site, eventually, patient
from testinfra.host import Host

OURS = {22, 80, 443, 1935, 1936}
# What listens somewhere on the host, and what others have been known to leave open.
INNER = [25, 53, 111, 631, 1937, 2375, 2376, 3000, 5000, 5353, 5432, 5433, 8000, 8080, 8081, 8443, 9090, 9093, 9100]
pytestmark = pytest.mark.destructive


@pytest.fixture(scope="module")
def rogue(host: Host) -> Iterator[str]:
    """A container that somebody publishes past every rule of ufw: 5432 to everybody, 5433 on 127.0.0.1; its address."""
    image = host.check_output("docker inspect --format '{{.Config.Image}}' ffmpeg")
    host.check_output(
        "docker run --detach --name probe-rogue --restart always --publish 5432:5432 --publish 127.0.0.1:5433:5432 "
        f"--entrypoint python3 {image} -m http.server 5432 --directory /var/empty"
    )
    answers_on_the_host(host, 5432)
    yield host.check_output("docker inspect --format '{{.NetworkSettings.IPAddress}}' probe-rogue")
    # Restarting the engine may leave the container's filesystem busy for a moment.
    eventually(lambda: host.run("docker rm --force --volumes probe-rogue").rc == 0, 30, "the rogue is gone")


def answers_on_the_host(host: Host, port: int) -> None:
    own = f"curl -s -o /dev/null -m 3 http://127.0.0.1:{port}/"
    eventually(lambda: host.run(own).rc == 0, 30, "the rogue answers on the host itself")


def test_a_rogue_container_is_out_of_reach(site: Site, outside: Outside, address6: str, rogue: str) -> None:
    assert outside.connects(site.address, 443)
    assert not outside.connects(site.address, 5432)
    if address6:
        assert outside.connects(address6, 22)
        assert not outside.connects(address6, 5432)


@pytest.mark.parametrize(
    "disturbance",
    [
        "systemctl restart docker",
        "ufw reload",
        "systemctl restart ufw",
        "systemctl reload streamkeep-firewall",
        "docker network create probe-network && docker network rm probe-network",
    ],
)
def test_the_wall_stands_during_and_after(
    site: Site, outside: Outside, host: Host, rogue: str, disturbance: str
) -> None:
    with watching(outside, site.address, [443, 5432]) as seen:
        host.check_output(disturbance)
        answers_on_the_host(host, 5432)
        eventually(lambda: outside.connects(site.address, 443), 10, "the site answers")
    assert seen.rounds >= 3
    assert seen.opened == {443}


@pytest.fixture
def neighbour(site: Site, outside: Outside) -> Outside:
    if not site.outside:
        pytest.skip("not-testable: the machine that runs the probes is no neighbour of the host on its network")
    return outside


def test_loopback_is_out_of_a_neighbours_reach(site: Site, neighbour: Outside, host: Host, rogue: str) -> None:
    for port in (5432, 5433):
        answers_on_the_host(host, port)
    polite, crafted = (site.address, 443), [("127.0.0.1", port) for port in (5432, 5433, 443)]
    assert opens(neighbour, site.address, polite, *crafted) == {polite}


def test_containers_own_addresses_are_out_of_a_neighbours_reach(
    site: Site, neighbour: Outside, host: Host, rogue: str
) -> None:
    doors = [(rogue, 5432)]
    networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    for container, port in (("proxy", 8443), ("proxy", 1935), ("python-orchestrator", 8000), ("nginx-rtmp", 1935)):
        addresses = host.check_output(f"docker inspect --format '{networks}' {container}").split()
        assert addresses
        doors += [(address, port) for address in addresses]
    polite = (site.address, 443)
    assert opens(neighbour, site.address, polite, *doors) == {polite}


@contextmanager
def keeping_its_address(site: Site, machine: str) -> Iterator[None]:
    """Hold the free addresses below the machine's own meanwhile: Docker gives the lowest to whoever starts."""
    docker = partial(subprocess.check_output, text=True, timeout=60)
    image = docker(["docker", "inspect", "--format", "{{.Config.Image}}", site.outside]).strip()
    places: list[str] = []
    try:
        below = True
        while below:
            places.append(f"{machine}-place-{len(places)}")
            docker(["docker", "run", "--detach", "--name", places[-1], image, "sleep", "infinity"])
            shown = docker(["docker", "inspect", "--format", "{{.NetworkSettings.IPAddress}}", places[-1]])
            below = IPv4Address(shown.strip()) < IPv4Address(site.address)
        yield
    finally:
        docker(["docker", "rm", "--force", *places])


@pytest.mark.slow
def test_no_door_stands_open_while_the_host_boots(
    site: Site, outside: Outside, host: Host, own_kernel: bool, rogue: str
) -> None:
    if not site.outside:
        pytest.skip("not-testable: only a disposable host is rebooted for a probe")
    machine = site.outside.removesuffix("-outside") + "-host"
    # ssh is left out: ufw would take the watching for an attack on it.
    doors = [*sorted(OURS - {22}), *INNER]
    with keeping_its_address(site, machine), watching(outside, site.address, doors) as seen:
        # As when the power fails: nothing is told to stop.
        subprocess.run(["docker", "restart", "--time", "0", machine], check=True, capture_output=True, timeout=60)
        if not own_kernel:
            subprocess.run(["docker", "exec", machine, "mount", "--make-rshared", "/"], check=True)
            address = subprocess.check_output(["docker", "exec", machine, "hostname", "--all-ip-addresses"], text=True)
            assert address.split()[0] == site.address, "Docker gave it another address"
        ask = f"curl -skf -m {patient(3):.0f} https://{site.address}/"
        eventually(lambda: outside.run(ask).returncode == 0, 120, "it is back")
        answers_on_the_host(host, 5432)
        answers_on_the_host(host, 5433)
    assert seen.rounds >= 20
    assert seen.opened == OURS - {22}
    assert host.check_output("systemctl is-system-running --wait") == "running"


Deploy = Callable[..., Run]


@pytest.fixture
def deploy(controller: Controller) -> Deploy:
    """Lay the firewall with some settings."""

    def run(**settings: object) -> Run:
        return controller.run("--tags=firewall", "--skip-tags=preflight", "-e", json.dumps(settings))

    return run


def rules(host: Host) -> str:
    return host.check_output("iptables --list-rules ufw-user-input")


@pytest.mark.brisk
def test_rules_that_would_lock_us_out_are_taken_back(site: Site, outside: Outside, host: Host, deploy: Deploy) -> None:
    before = rules(host)
    done = deploy(firewall_ssh_sources=["192.0.2.0/24"], firewall_rollback_seconds=15)
    assert done.refused("would have locked you out")
    assert rules(host) == before
    assert outside.connects(site.address, 22)
    assert host.run("systemctl is-active streamkeep-firewall-rollback.timer").rc != 0


@pytest.mark.brisk
def test_rules_that_let_us_in_stay_and_stale_ones_go(host: Host, deploy: Deploy) -> None:
    host.check_output("ufw allow 8888/tcp && iptables --insert DOCKER-USER --source 192.0.2.99 --jump ACCEPT")
    try:
        done = deploy(firewall_ssh_sources=["172.16.0.0/12", "198.51.100.0/24"])
        assert done.succeeded
        assert "stays: allow tcp 8888 from anywhere" in done.said
        assert "-s 192.0.2.99/32 -j ACCEPT" in done.said
        assert "-s 198.51.100.0/24 -p tcp -m tcp --dport 22" in rules(host)
        back = deploy()
        assert back.succeeded
        assert "198.51.100.0/24" not in rules(host)
        assert "--dport 8888" in rules(host)
        assert host.run("systemctl is-active streamkeep-firewall-rollback.timer").rc != 0
    finally:
        host.check_output("ufw delete allow 8888/tcp; iptables --delete DOCKER-USER --source 192.0.2.99 --jump ACCEPT")


@pytest.mark.brisk
def test_rules_that_nobody_proved_are_proven_by_the_next_run(host: Host, deploy: Deploy) -> None:
    host.check_output("streamkeep-firewall-rollback arm 90")
    done = deploy()
    assert done.succeeded
    assert done.changes > 0
    assert host.run("streamkeep-firewall-rollback pending").rc == 1
    assert host.run("systemctl is-active streamkeep-firewall-rollback.timer").rc != 0
