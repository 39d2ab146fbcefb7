"""Who comes by IPv6 finds the doors that IPv4 has, and no other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv6Address

import pytest
from jails import walled
from outside import DOORS, Outside, Site, eventually, patient
from testinfra.host import Host

# Of a network of containers that somebody makes on the host
NETWORK = "fd53:6c::/64"
ROGUE = "fd53:6c::2"
FORWARDING = "net.ipv6.conf.all.forwarding"
Another = Callable[[int, str], str]


@pytest.fixture
def address(address6: str) -> str:
    if not address6:
        pytest.skip("not-testable: the host has no IPv6 address, or the machine that looks has none")
    return address6


@pytest.fixture
def another(site: Site, outside: Outside, address: str) -> Iterator[Another]:
    """Give the machine outside one more address, of the host's first *groups* of four digits and *rest*."""
    if not site.outside:
        pytest.skip("not-testable: only a disposable machine outside is given addresses")
    with ExitStack() as stack:

        def add(groups: int, rest: str) -> str:
            same = IPv6Address(address).exploded.split(":")[:groups]
            added = str(IPv6Address(":".join([*same, rest])))
            card = f"{added}/64 dev {device(outside, address)}"
            outside.output(f"ip -6 address add {card} nodad preferred_lft 0")
            stack.callback(outside.output, f"ip -6 address del {card}")
            return added

        yield add


def device(outside: Outside, address: str) -> str:
    """Return the network card by which the machine outside reaches *address*."""
    return outside.output(f"ip -6 route get {address} | grep -oP 'dev \\K\\S+'").strip()


def connects(outside: Outside, source: str, address: str, port: int = 22) -> bool:
    """Tell whether a connection to *port* opens for who comes from *source*."""
    return outside.run(f"nc -6 -z -w {patient(3):.0f} -s {source} {address} {port}").returncode == 0


def test_no_door_is_open_that_ipv4_has_not(outside: Outside, address: str) -> None:
    scan = outside.output(f"nmap -6 -n -Pn -p- --min-rate 4000 --max-retries 2 -oG - {address}", timeout=280)
    found = {int(port) for port in re.findall(r"(\d+)/open/", scan)}
    assert 22 in found, "the scan sees nothing at all"
    assert found <= DOORS
    # Not only because nothing listens there: the wall gives no answer.
    assert re.search(r"Ignored State: filtered \(65[45]\d\d\)", scan)


def test_ssh_is_for_trusted_networks(outside: Outside, address: str, another: Another) -> None:
    """Here that is the first /80; the stranger is a neighbour all the same, whose pings are answered."""
    trusted, stranger = another(5, "0:bad:1"), another(4, "1:0:bad:1")
    ping = "nmap -6 -n -sn -PE --disable-arp-ping"
    assert "Host is up" in outside.output(f"{ping} -S {stranger} -e {device(outside, address)} {address}")
    assert connects(outside, trusted, address)
    assert not connects(outside, stranger, address)


@pytest.mark.destructive
def test_who_guesses_at_ssh_is_shut_out(host: Host, outside: Outside, address: str, another: Another) -> None:
    guesser, bystander = another(5, "0:bad:2"), another(5, "0:bad:3")
    options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    guess = f"ssh {options} -o ConnectTimeout={patient(4):.0f} -b {guesser} probe-guesser@{address} true"
    assert "Permission denied" in outside.run(guess).stderr

    def banned() -> bool:
        # Slowly: the firewall and sshd refuse who comes too fast, too.
        outside.run(f"sleep 6; {guess}")
        return guesser in host.check_output("fail2ban-client get sshd banip").split()

    try:
        eventually(banned, 120, "the guesser is banned")
        eventually(lambda: not connects(outside, guesser, address), 10, "the door is shut")
        assert walled(host, "sshd", guesser)
        assert connects(outside, bystander, address)
    finally:
        host.check_output(f"fail2ban-client unban {guesser}")
    eventually(lambda: connects(outside, guesser, address), 10, "the door is open again")


@pytest.fixture
def rogue(host: Host, outside: Outside, address: str) -> Iterator[str]:
    """A container with an IPv6 address of its own, on a host that forwards; the machine outside has a route to it."""
    image = host.check_output("docker inspect --format '{{.Config.Image}}' ffmpeg")
    forwarding = host.check_output(f"sysctl --values {FORWARDING}")
    route = f"{NETWORK} via {address}"
    try:
        host.check_output(f"docker network create --ipv6 --subnet {NETWORK} probe-six")
        host.check_output(
            f"docker run --detach --name probe-six --network probe-six --ip6 {ROGUE} --entrypoint python3 {image}"
            " -m http.server 5432 --bind :: --directory /var/empty"
        )
        host.check_output(f"sysctl --write {FORWARDING}=1")
        outside.output(f"ip -6 route add {route}")
        own = f"curl -s -o /dev/null -m 3 http://[{ROGUE}]:5432/"
        eventually(lambda: host.run(own).rc == 0, 30, "the rogue answers on the host itself")
        yield ROGUE
    finally:
        outside.run(f"ip -6 route del {route}")
        host.check_output(f"sysctl --write {FORWARDING}={forwarding}")
        host.run("docker rm --force --volumes probe-six")
        host.check_output("docker network rm probe-six")


@pytest.mark.destructive
def test_a_containers_own_address_is_out_of_a_neighbours_reach(host: Host, outside: Outside, rogue: str) -> None:
    def dropped() -> int:
        rules = host.check_output(
            "ip6tables --wait --table mangle --list STREAMKEEP-INGRESS --verbose --exact --numeric"
        )
        (count,) = re.findall(r"^ *(\d+) .*streamkeep default drop", rules, re.M)
        return int(count)

    before = dropped()
    assert not outside.connects(rogue, 5432)
    assert dropped() > before, "the packet did not come as far as our rules"
