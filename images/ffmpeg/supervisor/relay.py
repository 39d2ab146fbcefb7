"""`python3 -m supervisor.relay`: once a second, make what is passed on follow what the orchestrator says.

It tells the orchestrator what becomes of each, and keeps no state: after a restart of either side the next answer is
all it needs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from .config import RefusedSetting
from .follower import EX_CONFIG, Follower, stop_all
from .live import asked
from .passage import WAITING, Passage, State
from .reconcile import reconcile
from .targets import Networks, fetch

POLL = 1.0  # seconds
TELL_EVERY = 15.0  # seconds; what the orchestrator has not heard for three of these it does not believe any more


@dataclass(frozen=True)
class Config:
    """What the relay was told. *networks* are allowed targets beside the whole internet."""

    relays_url: str
    rtmp_source: str
    networks: Networks
    ca_file: str


def from_environment(environment: Mapping[str, str]) -> Config:
    """Return the settings in *environment*.

    Raises:
        RefusedSetting: the first setting that is missing or malformed.
    """
    if not environment.get("RELAYS_URL", "").startswith(("http://", "https://")):
        raise RefusedSetting("RELAYS_URL is not an http:// or https:// address: say where the orchestrator is.")
    source = environment.get("RTMP_SOURCE", "")
    if not source.startswith("rtmp://") or source.endswith("/"):
        raise RefusedSetting("RTMP_SOURCE is not rtmp://HOST[:PORT]/APPLICATION without a slash at its end.")
    try:
        networks = tuple(ip_network(text) for text in environment.get("RELAY_NETWORKS", "").split(",") if text)
    except ValueError:
        raise RefusedSetting("RELAY_NETWORKS holds something that is no network in CIDR form.") from None
    ca_file = environment.get("CA_FILE", "/etc/ssl/certs/ca-certificates.crt")
    return Config(environment["RELAYS_URL"], source, networks, ca_file)


class Relay(Follower):
    """Holds the passages."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.passages: dict[str, Passage] = {}
        self.told: dict[str, State] = {}
        self.told_at = 0.0

    def follow(self) -> None:
        """Ask what is wanted, act on it, and tell what became of it."""
        self._begin_and_end()
        self._tell()

    def _begin_and_end(self) -> None:
        """Make the passages follow the orchestrator's answer."""
        wanted = fetch(self.config.relays_url)
        self.passages = {number: p for number, p in self.passages.items() if not p.ended}
        end, begin = reconcile(wanted, {number: p.target for number, p in self.passages.items()})
        for number in end:
            self.passages[number].stop()
        for number in begin:
            config = self.config
            self.passages[number] = Passage(number, wanted[number], config.rtmp_source, config.networks, config.ca_file)

    def _tell(self) -> None:
        """Tell what became of each passage; what did not change is told again now and then."""
        states = {number: p.state for number, p in self.passages.items() if not p.stopping}
        # Those that ended wait for the next time; the orchestrator passes over what it has removed.
        news = dict.fromkeys(self.told.keys() - states.keys(), WAITING) | states
        due = time.monotonic() - self.told_at > TELL_EVERY and states
        if due or any(self.told.get(number) != state for number, state in news.items()):
            relays = [{"id": number, **state._asdict()} for number, state in news.items()]
            asked(self.config.relays_url, json.dumps({"relays": relays}).encode())
            self.told_at = time.monotonic()
        self.told = states

    def stop(self) -> None:
        """End everything that runs."""
        stop_all(self.passages.values())


def main() -> None:
    """Run until SIGTERM."""
    try:
        relay = Relay(from_environment(os.environ))
    except RefusedSetting as refusal:
        print(f"The relay does not start: {refusal}", file=sys.stderr)
        sys.exit(EX_CONFIG)
    relay.run("relay", POLL)


if __name__ == "__main__":
    main()
