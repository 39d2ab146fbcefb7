"""The wall: what stands behind it stays there while the host is disturbed, attacked by a neighbour, or boots."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address

import pytest
from controller import Controller, Run
from neighbour import opens, watching
from outside import DOORS, INNER, Outside, Site, Stranger, eventually, patient
from testinfra.host import Host

# Where containers answer that nobody allowed: the second behind a bridge whose name no setting of ours knows.
ROGUES = [5432, 5434]
ANSWER = """
import socket, threading
listening = socket.create_server(("", 5432))
datagrams = socket.socket(type=socket.SOCK_DGRAM)
datagrams.bind(("", 5432))

def echo():
    while True:
        datagrams.sendto(*datagrams.recvfrom(99))

threading.Thread(target=echo).start()
while True:
    listening.accept()[0].close()
"""
pytestmark = pytest.mark.destructive


@pytest.fixture(scope="module")
def rogues(host: Host) -> Iterator[list[str]]:
    """Containers that somebody publishes past every rule of ufw, one also as 5433 on 127.0.0.1; their addresses."""
    image = host.check_output("docker inspect --format '{{.Config.Image}}' ffmpeg")
    named = "--opt com.docker.network.bridge.name=probe0 probe-named"
    run = f"docker run --detach --restart always --entrypoint python3 {{}} {image} -c {shlex.quote(ANSWER)}"
    try:
        host.check_output(f"docker network create {named}")
        doors = "--publish 5432:5432 --publish 5432:5432/udp --publish 127.0.0.1:5433:5432"
        host.check_output(run.format(f"--name probe-rogue {doors}"))
        doors = "--publish 5434:5432 --publish 5434:5432/udp"
        host.check_output(run.format(f"--name probe-rogue-named --network probe-named {doors}"))
        answer_on_the_host(host)
        address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        yield host.check_output(f"docker inspect --format '{address}' probe-rogue probe-rogue-named").split()
    finally:
        # Restarting the engine may leave the container's filesystem busy for a moment.
        remove = "docker rm --force --volumes probe-rogue probe-rogue-named && docker network rm probe-named"
        eventually(lambda: host.run(remove).rc == 0, 30, "the rogues are gone")


def answer_on_the_host(host: Host, ports: Iterable[int] = ROGUES) -> None:
    """Wait until the rogues answer on the host itself, at all of *ports*."""
    own = " && ".join(f"timeout 3 bash -c ': </dev/tcp/127.0.0.1/{port}'" for port in ports)
    eventually(lambda: host.run(own).rc == 0, 30, "the rogues answer on the host itself")


def test_rogue_containers_are_out_of_reach(site: Site, outside: Outside, address6: str, rogues: list[str]) -> None:
    assert outside.open_among(site.address, {443, *ROGUES}) == {443}
    if address6:
        assert outside.open_among(address6, {22, *ROGUES}) == {22}


def test_rogue_containers_get_no_datagram(site: Site, outside: Outside, host: Host, rogues: list[str]) -> None:
    def ask(address: str, port: int) -> str:
        return f"timeout 2 bash -c 'exec 3<>/dev/udp/{address}/{port} && echo >&3 && read -r <&3'"

    for address, port in zip(rogues, ROGUES, strict=True):
        assert host.run(ask(address, 5432)).rc == 0
        assert outside.run(ask(site.address, port)).returncode != 0


def test_a_container_behind_a_bridge_of_any_name_reaches_the_outside(
    outside: Outside, host: Host, rogues: list[str]
) -> None:
    """What goes out by an interface that leads to no container is left alone, as what a VPN forwards is."""
    if not outside.container:
        pytest.skip("not-testable: this machine does not listen for the host")
    own = outside.output("hostname --all-ip-addresses").split()[0]
    outside.run("timeout 20 python3 -m http.server 2222 --directory /var/empty >/dev/null 2>&1 & sleep 1")
    call = f"docker exec probe-rogue-named timeout 3 bash -c ': </dev/tcp/{own}/2222'"
    eventually(lambda: host.run(call).rc == 0, 10, "it gets through")


@pytest.mark.parametrize(
    "disturbance",
    [
        "systemctl restart docker",
        "ufw reload",
        "systemctl restart ufw",
        "ufw reload && systemctl restart docker",
        "systemctl reload streamkeep-firewall",
        "docker network create probe-network && docker network rm probe-network",
        # What Docker's own rules are for a moment while it does that: above DOCKER-USER.
        "iptables --insert FORWARD --jump ACCEPT && sleep 1 && iptables --delete FORWARD --jump ACCEPT",
    ],
)
def test_the_wall_stands_during_and_after(
    site: Site, outside: Outside, host: Host, rogues: list[str], disturbance: str
) -> None:
    with watching(outside, site.address, [443, *ROGUES]) as seen:
        host.check_output(disturbance)
        answer_on_the_host(host)
        eventually(lambda: outside.connects(site.address, 443), 10, "the site answers")
    assert seen.rounds >= 3
    assert seen.opened == {443}


@pytest.fixture
def neighbour(site: Site, outside: Outside) -> Outside:
    if not site.outside:
        pytest.skip("not-testable: the machine that runs the probes is no neighbour of the host on its network")
    return outside


def test_loopback_is_out_of_a_neighbours_reach(site: Site, neighbour: Outside, host: Host, rogues: list[str]) -> None:
    answer_on_the_host(host, (5432, 5433))
    polite, crafted = (site.address, 443), [("127.0.0.1", port) for port in (5432, 5433, 443)]
    assert opens(neighbour, site.address, polite, *crafted) == {polite}


def test_containers_own_addresses_are_out_of_a_neighbours_reach(
    site: Site, neighbour: Outside, host: Host, rogues: list[str]
) -> None:
    doors = [(rogue, 5432) for rogue in rogues]
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
    image = Outside(site.outside).image
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
    site: Site, outside: Outside, host: Host, own_kernel: bool, rogues: list[str]
) -> None:
    if not site.outside:
        pytest.skip("not-testable: only a disposable host is rebooted for a probe")
    machine = site.outside.removesuffix("-outside") + "-host"
    # ssh is left out: ufw would take the watching for an attack on it.
    doors = [*sorted(DOORS - {22}), *sorted(INNER)]
    with keeping_its_address(site, machine), watching(outside, site.address, doors) as seen:
        # As when the power fails: nothing is told to stop.
        subprocess.run(["docker", "restart", "--time", "0", machine], check=True, capture_output=True, timeout=60)
        if not own_kernel:
            subprocess.run(["docker", "exec", machine, "mount", "--make-rshared", "/"], check=True)
            address = subprocess.check_output(["docker", "exec", machine, "hostname", "--all-ip-addresses"], text=True)
            assert address.split()[0] == site.address, "Docker gave it another address"
        ask = f"curl -skf -m {patient(3):.0f} https://{site.address}/"
        eventually(lambda: outside.run(ask).returncode == 0, 120, "it is back")
        answer_on_the_host(host, (*ROGUES, 5433))
    assert seen.rounds >= 20
    assert seen.opened == DOORS - {22}
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


def test_who_knocks_at_ssh_too_often_is_kept_waiting(site: Site, outside: Outside, stranger: Stranger) -> None:
    tries = [stranger.connects(site.address, 22) for _ in range(8)]
    assert tries[0]
    assert not tries[-1]
    assert stranger.connects(site.address, 443), "it is banned, which is for other doors than ssh too"
    assert outside.connects(site.address, 22)


@pytest.mark.brisk
def test_rules_that_would_lock_us_out_are_taken_back(site: Site, outside: Outside, host: Host, deploy: Deploy) -> None:
    before = rules(host)
    done = deploy(firewall_ssh_sources=["192.0.2.0/24"], firewall_rollback_seconds=10)
    assert done.refused("would have locked you out")
    assert rules(host) == before
    assert outside.connects(site.address, 22)
    # The rules are back before what brings them back has ended.
    timer = "systemctl is-active streamkeep-firewall-rollback.timer"
    eventually(lambda: host.run(timer).rc != 0, 20, "nothing is armed any longer")


@pytest.mark.brisk
def test_rules_that_let_us_in_stay_and_stale_ones_go(site: Site, outside: Outside, host: Host, deploy: Deploy) -> None:
    doors = DOORS - {22}  # ssh is left out here, because ufw counts who knocks there
    host.check_output("ufw allow 8888/tcp && iptables --insert DOCKER-USER --source 192.0.2.99 --jump ACCEPT")
    try:
        done = deploy(
            firewall_ssh_sources=["172.16.0.0/12", "198.51.100.0/24"], firewall_publisher_sources=["192.0.2.0/24"]
        )
        assert done.succeeded
        assert outside.open_among(site.address, doors) == {80, 443}
        assert "stays: allow tcp 8888 from anywhere" in done.said
        assert "-s 192.0.2.99/32 -j ACCEPT" in done.said
        assert "-s 198.51.100.0/24 -p tcp -m tcp --dport 22" in rules(host)
        back = deploy()
        assert back.succeeded
        assert outside.open_among(site.address, doors) == doors
        assert "198.51.100.0/24" not in rules(host)
        assert "--dport 8888" in rules(host)
        assert host.run("systemctl is-active streamkeep-firewall-rollback.timer").rc != 0
    finally:
        host.check_output("ufw delete allow 8888/tcp; iptables --delete DOCKER-USER --source 192.0.2.99 --jump ACCEPT")


@pytest.mark.slow
@pytest.mark.brisk
def test_rules_that_nobody_proved_are_proven_by_the_next_run(host: Host, deploy: Deploy) -> None:
    host.check_output("streamkeep-host firewall-rollback arm 90")
    done = deploy()
    assert done.succeeded
    assert done.changes > 0
    assert host.run("streamkeep-host firewall-rollback pending").rc == 1
    assert host.run("systemctl is-active streamkeep-firewall-rollback.timer").rc != 0
