"""Where streams are to be passed on to, as the orchestrator says, and which addresses that may lead to."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from .live import APPLICATION, SLUG, NoAnswer, asked

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]
# They become arguments and a line of a file, so that the orchestrator's rules are checked here once more.
SERVER = re.compile(
    r"(?P<scheme>rtmps?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/(?P<app>[A-Za-z0-9_./-]+)"
)
KEY = re.compile(r"[!-~]{1,512}")
NUMBER = re.compile(r"[0-9a-f-]{36}")
PORTS = {"rtmp": 1935, "rtmps": 443}
NAT64 = IPv6Network("64:ff9b::/96")


class Refused(Exception):
    """A target to which nothing is sent; *state* and *reason* are the words for it."""

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason


@dataclass(frozen=True)
class Target:
    """A server to which the stream *slug* is passed on in its *session*. Nobody prints its *stream_key*."""

    slug: str
    session: str
    scheme: str
    host: str
    port: int
    app: str
    stream_key: str = field(repr=False)
    application: str = "live"  # of ours, from which it is taken

    @property
    def url(self) -> str:
        """The server, without the stream key."""
        return f"{self.scheme}://{self.host}:{self.port}/{self.app}"


def _target(said: dict[str, Any]) -> Target | None:
    """Return one target of the answer, if it is one."""
    server = SERVER.fullmatch(said["server"])
    application = said.get("application", "live")
    names = SLUG.fullmatch(said["slug"]) and APPLICATION.fullmatch(application)
    if not (server and names and KEY.fullmatch(said["stream_key"])):
        return None
    port = int(server["port"] or PORTS[server["scheme"]])
    where = (server["scheme"], server["host"], port, server["app"])
    return Target(said["slug"], str(said["session"]), *where, said["stream_key"], application)


def fetch(url: str) -> dict[str, Target]:
    """Return the targets of what is live, by their id.

    Raises:
        NoAnswer: no answer within 3 s, or one that can't be understood.
    """
    try:
        found = {one["id"]: _target(one) for one in asked(url)["relays"] if NUMBER.fullmatch(one["id"])}
    except (KeyError, TypeError, AttributeError) as error:
        raise NoAnswer(type(error).__name__) from None
    return {number: target for number, target in found.items() if target}


def embedded(address: Address) -> Address:
    """Return the IPv4 address to which the network takes the IPv6 *address*, or *address* itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_allowed(address: Address, networks: Networks) -> bool:
    """Tell whether a target may have *address*: one of the whole internet, or of *networks*."""
    address = embedded(address)
    if any(address in network for network in networks):
        return True
    return address.is_global and not address.is_multicast


def judge(target: Target, networks: Networks) -> None:
    """Judge where the name of *target* leads at this moment; one address too many is enough to refuse.

    ffmpeg asks for the name once more. What it might be told then, the host's firewall drops.

    Raises:
        Refused: nowhere, or to an address that is not allowed.
    """
    try:
        answers = socket.getaddrinfo(target.host.strip("[]"), target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Refused("waiting", "name not found") from None
    if not all(is_allowed(ip_address(str(answer[4][0]).partition("%")[0]), networks) for answer in answers):
        raise Refused("refused", "address not allowed")
