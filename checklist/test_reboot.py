"""A reboot of a host whose kernel is its own: what outside sees before, during and after it."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from jails import walled
from neighbour import Seen, watching
from outside import DOORS, INNER, Outside, Site, eventually, patient
from testinfra.host import Host

BANNED = {
    "sshd": {"198.51.100.7", "2001:db8::7"},
    "streaming-rtmp": {"198.51.100.8", "2001:db8::8"},
}
BOOT = "cat /proc/sys/kernel/random/boot_id"
pytestmark = pytest.mark.destructive


def scan(outside: Outside, address: str) -> set[int]:
    """Return which of the ports that anybody might care for are open."""
    ports = ",".join(str(port) for port in (*DOORS, *INNER))
    family = "-6" if ":" in address else ""
    found = outside.output(f"nmap {family} -n -Pn -p {ports} --max-retries 3 -oG - {address}", timeout=120)
    return {int(port) for port in re.findall(r"(\d+)/open/", found)}


def answers(outside: Outside, site: Site) -> bool:
    return outside.run(f"curl -sk -o /dev/null -m {patient(3):.0f} https://{site.address}/").returncode == 0


def wall(host: Host) -> dict[str, list[str]]:
    """Return the rules that are ours, of both families; fail2ban adds its own when it has somebody to ban."""
    chains = ("DOCKER-USER", "STREAMKEEP-INGRESS", "STREAMKEEP-CONTAINERS")
    rules = {
        f"{tool} {chain}": host.run(f"{tool} --wait --list-rules {chain}").stdout.splitlines()
        for tool, ufw in (("iptables", "ufw-user-input"), ("ip6tables", "ufw6-user-input"))
        for chain in (ufw, *chains)
    }
    return {chain: [line for line in lines if "-j f2b-" not in line] for chain, lines in rules.items()}


def healthy(host: Host) -> set[str]:
    """Return the containers of the stack that do what they are for."""
    filters = "--filter label=com.docker.compose.project=streamkeep --filter health=healthy"
    return set(host.run(f"docker ps --format '{{{{.Names}}}}' {filters}").stdout.split())


@dataclass
class Rebooted:
    """What stood before the reboot, and what outside saw during it, by IPv4 and by IPv6."""

    boot: str
    addresses: list[str]
    open_before: list[set[int]]
    wall: dict[str, list[str]]
    containers: set[str]
    seen: list[Seen] = field(default_factory=list)


@pytest.fixture(scope="module")
def rebooted(site: Site, outside: Outside, host: Host, own_kernel: bool, address6: str) -> Rebooted:
    if not site.outside:
        pytest.skip("not-testable: only a disposable host is rebooted for a probe")
    if not own_kernel:
        pytest.skip("not-testable: a container has no kernel to boot; test_firewall.py pulls its plug instead")
    for jail, banned in BANNED.items():
        host.check_output(f"fail2ban-client set {jail} banip {' '.join(banned)}")
    addresses = [address for address in (site.address, address6) if address]
    before = Rebooted(
        host.check_output(BOOT), addresses, [scan(outside, address) for address in addresses], wall(host), healthy(host)
    )
    assert all(before.wall.values()), "a chain of ours is missing"
    assert len(before.containers) >= 4
    # ssh is left out: ufw would take the watching for an attack on it.
    doors = [*sorted(DOORS - {22}), *sorted(INNER)]
    with ExitStack() as stack:
        for address in addresses:
            before.seen.append(stack.enter_context(watching(outside, address, doors)))
        host.check_output("systemd-run --on-active=2 systemctl reboot")
        eventually(lambda: not answers(outside, site), 60, "the host goes down")
        eventually(lambda: answers(outside, site), 180, "the site is back")
        for address in addresses:
            eventually(lambda address=address: outside.connects(address, 22), 60, f"ssh is back at {address}")
        eventually(lambda: healthy(host) == before.containers, 120, "the stack is healthy")
    return before


def test_the_kernel_was_started_anew(host: Host, rebooted: Rebooted) -> None:
    assert host.check_output(BOOT) != rebooted.boot
    state = "systemctl is-system-running"
    eventually(lambda: host.run(state).stdout.strip() == "running", 60, "every unit runs")


def test_no_door_opened_but_ours(rebooted: Rebooted) -> None:
    assert rebooted.open_before[0] == DOORS
    assert all({22} <= doors <= DOORS for doors in rebooted.open_before)
    for seen in rebooted.seen:
        assert seen.rounds >= 20
        assert seen.opened <= DOORS - {22}
    assert rebooted.seen[0].opened == DOORS - {22}


def test_outside_sees_afterwards_what_it_saw_before(outside: Outside, rebooted: Rebooted) -> None:
    assert [scan(outside, address) for address in rebooted.addresses] == rebooted.open_before


def test_the_wall_and_its_bans_are_back(host: Host, rebooted: Rebooted) -> None:
    assert wall(host) == rebooted.wall
    for jail, banned in BANNED.items():
        assert set(host.check_output(f"fail2ban-client get {jail} banip").split()) >= banned
        for address in banned:
            assert walled(host, jail, address)
        host.check_output(f"fail2ban-client set {jail} unbanip {' '.join(banned)}")
