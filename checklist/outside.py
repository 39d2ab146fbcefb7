"""The machine outside: it publishes with a real ffmpeg, watches, and tries the doors."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from testinfra.host import Host

CLIP = (
    "-re -f lavfi -i testsrc2=size=640x720:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000"
    " -c:v libx264 -preset ultrafast -tune zerolatency -g 60 -b:v 1500k -pix_fmt yuv420p -c:a aac -b:a 96k -f flv"
)

SOUND = "-re -f lavfi -i sine=frequency=440:sample_rate=48000 -c:a aac -b:a 96k -f flv"

# The doors of the site that are meant to be open.
DOORS = {22, 80, 443, 1935, 1936}
# What listens somewhere on the host or in a container, and what others have been known to leave open.
INNER = {25, 53, 111, 631, 1937, 2375, 2376, 3000, 5000, 5353, 5432, 5433, 5434, 8000, 8080, 8081, 8443}
INNER |= {9090, 9093, 9100}

T = TypeVar("T")
# How much longer than elsewhere everything may take: more than 1 on an emulated host (conftest.py reads the inventory).
pace = {"factor": 1.0}


def patient(seconds: float) -> float:
    """Return how long to wait for what takes *seconds* at most on a host of the usual pace."""
    return seconds * pace["factor"]


def eventually(probe: Callable[[], T], seconds: float, what: str) -> T:
    """Return the first true answer of *probe* within *seconds*, or fail with *what* was expected."""
    seconds = patient(seconds)
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.5)


@dataclass(frozen=True)
class Site:
    """The host as its inventory describes it; *relays* tells whether it passes streams on."""

    address: str
    user: str
    key_file: str
    ssh_arguments: str
    domain: str
    outside: str
    relays: bool

    def playlist(self, slug: str, rendition: str = "", folder: str = "hls") -> str:
        """Return the URL of a stream's playlist, or of one *rendition*'s; private ones lie in another *folder*."""
        return f"https://{self.address}/{folder}/{slug}/{rendition + '/' if rendition else ''}index.m3u8"


@dataclass
class Publisher:
    """One ffmpeg that publishes; *pid* is its process on the machine outside."""

    process: subprocess.Popen[str]
    prefix: list[str]
    pid: int

    def kill(self, signal: str = "INT") -> None:
        """Send *signal*."""
        subprocess.run([*self.prefix, "kill", f"-{signal}", str(self.pid)], check=False, capture_output=True)

    def stop(self) -> None:
        """End it as a person does who presses "stop streaming"."""
        if self.process.poll() is None:
            self.kill()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill("KILL")
            self.process.wait(10)
        if self.process.stdout:
            self.process.stdout.close()

    @property
    def running(self) -> bool:
        """Whether it still publishes."""
        return self.process.poll() is None


@dataclass
class Outside:
    """A container beside the host, or this machine where *container* is empty."""

    container: str
    prefix: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.prefix = ["docker", "exec", self.container] if self.container else []

    @property
    def image(self) -> str:
        """Name the image that the container was made of."""
        inspect = ["docker", "inspect", "--format", "{{.Config.Image}}", self.container]
        return subprocess.check_output(inspect, text=True).strip()

    def run(self, command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run *command* in a shell there."""
        return subprocess.run(
            [*self.prefix, "bash", "-c", command],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patient(timeout),
        )

    def output(self, command: str, timeout: float = 120) -> str:
        """Return what *command* prints; it has to succeed."""
        done = self.run(command, timeout)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def connects(self, address: str, port: int) -> bool:
        """Tell whether a TCP connection to *port* opens within 3 s."""
        return self.run(f"timeout {patient(3):.0f} bash -c ': </dev/tcp/{address}/{port}'").returncode == 0

    def open_among(self, address: str, ports: Iterable[int]) -> set[int]:
        """Return to which of *ports* a TCP connection opens within 3 s; they are tried side by side."""
        one = f"timeout {patient(3):.0f} bash -c ': </dev/tcp/{address}/'$port 2>/dev/null && echo $port"
        tries = f"for port in {' '.join(map(str, ports))}; do {one} & done; wait"
        return {int(port) for port in self.output(tries).split()}

    def publish(self, server: str, playpath: str, clip: str = CLIP) -> Publisher:
        """Begin to publish *clip*, a moving picture with sound, to *server* as *playpath*."""
        command = f"echo $$; exec ffmpeg -nostdin -v error {clip} -rtmp_playpath {shlex.quote(playpath)} {server}"
        process = subprocess.Popen(
            [*self.prefix, "bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout
        return Publisher(process, self.prefix, int(process.stdout.readline()))

    def is_refused(self, server: str, playpath: str) -> bool:
        """Tell whether the server hangs up on this publisher before 4 s are over."""
        clip = CLIP.replace("-f flv", f"-t {patient(4):.0f} -f flv")
        command = f"timeout {patient(20):.0f} ffmpeg -nostdin -v error {clip}"
        return self.run(f"{command} -rtmp_playpath {shlex.quote(playpath)} {server}").returncode != 0

    def get(self, url: str, *options: str) -> tuple[int, str]:
        """Return (status, body) of a GET without following redirects; the certificate is not judged here."""
        words = " ".join(shlex.quote(option) for option in options)
        answer = self.output(f"curl -sk -m {patient(10):.0f} {words} -w '\\n%{{http_code}}' {shlex.quote(url)}")
        body, _, status = answer.rpartition("\n")
        return int(status), body

    def segments(self, playlist_url: str) -> tuple[list[int], str]:
        """Return (sequence numbers, text) of a media playlist; nothing while there is none."""
        status, text = self.get(playlist_url)
        return ([int(n) for n in re.findall(r"-(\d+)\.ts$", text, re.M)] if status == 200 else []), text


def wait_until_it_plays(outside: Outside, site: Site, slug: str, seconds: float = 20) -> None:
    """Wait until the source's playlist has segments."""
    eventually(lambda: outside.segments(site.playlist(slug, "source"))[0], seconds, f"{slug} has segments")


# What the fixtures `manage`, `new_key` and `publish` give.
Manage = Callable[..., list[dict[str, str]]]
NewKey = Callable[[str], str]
Publish = Callable[..., Publisher]


class Stranger(Outside):
    """A third machine, whose misbehaviour is judged as anybody's."""

    @property
    def address(self) -> str:
        """Its own address."""
        return self.output("hostname --all-ip-addresses").split()[0]


@contextmanager
def stranger_to(site: Site, host: Host, name: str) -> Iterator[Stranger]:
    """Give a machine with an address of its own, whose misbehaviour is forgotten afterwards."""
    if not site.outside:
        pytest.skip("not-testable: nobody but a disposable host is attacked for a probe")
    image = Outside(site.outside).image
    name = f"{site.outside}-{name}"
    subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)
    command = ["docker", "run", "--detach", "--init", "--name", name, image, "sleep", "infinity"]
    subprocess.run(command, check=True, capture_output=True)
    machine = Stranger(name)
    address = machine.address
    host.check_output(f"fail2ban-client unban {address}")
    # All tests together would make one who comes back too often.
    host.check_output(f"fail2ban-client set recidive addignoreip {address}")
    try:
        yield machine
    finally:
        host.check_output(f"fail2ban-client unban {address}")
        if address in host.check_output("fail2ban-client get recidive ignoreip"):
            host.check_output(f"fail2ban-client set recidive delignoreip {address}")
        subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)
