"""What a neighbour of the host can do that a polite client does not: craft packets, and try doors without a pause."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from outside import Outside, patient

# Sends SYNs for addresses of its choice to the host's own network card, and prints which of them get a SYN-ACK.
KNOCK = """
import os, re, socket, struct, subprocess, sys, time
host, doors = sys.argv[1], [door.split(",") for door in sys.argv[2:]]
subprocess.run(["bash", "-c", f"timeout 1 bash -c ': </dev/tcp/{host}/443'"], stderr=subprocess.DEVNULL)
route = subprocess.check_output(["ip", "route", "get", host], text=True)
device, own = re.search(r"dev (\\S+) src (\\S+)", route).groups()
neighbour = subprocess.check_output(["ip", "neigh", "show", host, "dev", device], text=True)
theirs = bytes.fromhex(re.search(r"lladdr (\\S+)", neighbour).group(1).replace(":", ""))
with open(f"/sys/class/net/{device}/address") as address:
    mine = bytes.fromhex(address.read().strip().replace(":", ""))

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

source = socket.inet_aton(own)
def frame(target, port, from_port):
    destination = socket.inet_aton(target)
    def tcp(check):
        return struct.pack("!HHIIBBHHH", from_port, port, 1, 0, 5 << 4, 2, 64240, check, 0)
    def ip(check):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, check, source, destination)
    segment = tcp(checksum(source + destination + struct.pack("!BBH", 0, 6, 20) + tcp(0)))
    return theirs + mine + b"\\x08\\x00" + ip(checksum(ip(0))) + segment

wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
wire.bind((device, 0))
wire.settimeout(0.5)
first, opened = 20000 + int.from_bytes(os.urandom(2)) % 10000, set()
for _ in range(2):
    for number, (target, port) in enumerate(doors):
        wire.send(frame(target, int(port), first + number))
    until = time.monotonic() + 1
    while time.monotonic() < until:
        try:
            got = wire.recv(2048)
        except TimeoutError:
            continue
        at = 14 + (got[14] & 15) * 4
        if got[23] == 6 and got[30:34] == source and len(got) > at + 13 and got[at + 13] & 0x12 == 0x12:
            opened.add(struct.unpack("!H", got[at + 2:at + 4])[0] - first)
print(*(",".join(door) for number, door in enumerate(doors) if number in opened))
"""

# Tries all ports of a list over and over until its input ends; prints those that ever opened, and how often it tried.
WATCH = """
import errno, select, socket, sys, time
address, ports = sys.argv[1], [int(port) for port in sys.argv[2:]]
opened, rounds = set(), 0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    trying = {}
    for port in ports:
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        one.setblocking(False)
        if one.connect_ex((address, port)) in (0, errno.EINPROGRESS):
            trying[one] = port
        else:
            one.close()
    until = time.monotonic() + 0.1
    while trying and (left := until - time.monotonic()) > 0:
        for one in select.select([], list(trying), [], left)[1]:
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                opened.add(trying[one])
            del trying[one]
            one.close()
    for one in trying:
        one.close()
    time.sleep(max(0, until - time.monotonic()))
    rounds += 1
print(rounds, *sorted(opened))
"""


def _listening(outside: Outside) -> list[str]:
    """Return how a command is run there that reads from us."""
    return [*outside.prefix[:2], "--interactive", *outside.prefix[2:]]


Door = tuple[str, int]


def opens(outside: Outside, host: str, *doors: Door) -> set[Door]:
    """Return those (address, port) whose SYN *host* answers, though no router would bring such a packet to it."""
    words = [f"{address},{port}" for address, port in doors]
    done = subprocess.run(
        [*_listening(outside), "python3", "-", host, *words], input=KNOCK, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {(address, int(port)) for address, port in (word.split(",") for word in done.stdout.split())}


@dataclass
class Seen:
    """What a watch saw: how many rounds it made, and which ports opened in any of them."""

    rounds: int = 0
    opened: set[int] = field(default_factory=set)


@contextmanager
def watching(outside: Outside, address: str, ports: list[int]) -> Iterator[Seen]:
    """Try *ports* of *address* about ten times a second for as long as the block lasts."""
    seen = Seen()
    with subprocess.Popen(
        [*_listening(outside), "python3", "-c", WATCH, address, *map(str, ports)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        try:
            yield seen
        finally:
            answer, _ = process.communicate("enough\n", timeout=patient(20))
            rounds, *opened = answer.split()
            seen.rounds, seen.opened = int(rounds), {int(port) for port in opened}
