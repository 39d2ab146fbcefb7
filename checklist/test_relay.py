"""A stream is passed on to servers of others, by real RTMP and RTMPS; the key for them shows nowhere."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from api import Api
from outside import Outside, Publisher, Site, eventually
from servers import ANOTHER_NAME, FOLDER, PLAIN, RUDE, TRUSTED, Servers, serving
from showing import assert_hidden
from testinfra.host import Host

pytestmark = pytest.mark.brisk
SLUG = "probe-relay"
PATH = f"/keys/{SLUG}/relays"
NOWHERE = 19359  # nobody listens there
CA = "/usr/local/share/ca-certificates/streamkeep-probe.crt"


@pytest.fixture(scope="module")
def servers(site: Site, outside: Outside) -> Iterator[Servers]:
    if not site.relays:
        pytest.skip("not-testable: this host passes no streams on (streamkeep_relay)")
    if not site.outside:
        pytest.skip("not-testable: the machine that runs the probes is not among streamkeep_relay_networks")
    with serving(outside) as running:
        yield running


@pytest.fixture(scope="module")
def live(api: Api, site: Site, outside: Outside, servers: Servers) -> Iterator[Publisher]:
    """A live stream that is passed on to nobody yet."""
    api.call("DELETE", f"/keys/{SLUG}")
    secret = api.does("POST", "/keys", {"slug": SLUG})["key"]
    publisher = outside.publish(f"rtmps://{site.address}:1936/live", f"{SLUG}?key={secret}")
    yield publisher
    publisher.stop()
    api.does("DELETE", f"/keys/{SLUG}")


Pass = Callable[..., str]


@pytest.fixture
def pass_on(api: Api) -> Iterator[Pass]:
    """Pass the stream on to a server with a key, until the test ends; return the relay's id."""
    made: list[str] = []

    def begin(server: str, key: str = "any") -> str:
        made.append(api.does("POST", PATH, {"server": server, "stream_key": key})["id"])
        return made[-1]

    yield begin
    for number in made:
        api.call("DELETE", f"{PATH}/{number}")


def state(api: Api, number: str) -> tuple[str, str | None]:
    found: tuple[str, str | None] = next(
        (relay["state"], relay["reason"]) for relay in api.does("GET", PATH) if relay["id"] == number
    )
    return found


def becomes(api: Api, number: str, expected: tuple[str, str | None], seconds: float = 20) -> None:
    eventually(lambda: state(api, number) == expected, seconds, f"it is {expected}, not {state(api, number)}")


def test_a_stream_is_passed_on_and_wrong_targets_say_why(
    api: Api, site: Site, host: Host, servers: Servers, live: Publisher, pass_on: Pass
) -> None:
    key = f"{secrets.token_urlsafe(24)}?a=b&c=="
    at = servers.address
    good = pass_on(f"rtmp://{at}:{PLAIN}/live", key)
    untrusted = pass_on(f"rtmps://{at}:{TRUSTED}/live", key)
    nobody = pass_on(f"rtmp://{at}:{NOWHERE}/live", key)
    private = pass_on("rtmp://10.77.0.9/live", key)
    becomes(api, good, ("running", None))
    becomes(api, untrusted, ("refused", "certificate not trusted"))
    becomes(api, nobody, ("waiting", "cannot connect"))
    becomes(api, private, ("refused", "address not allowed"))
    assert api.call("POST", PATH, {"server": f"rtmp://{at}/live", "stream_key": "k"})[0] == 409, "four are enough"
    # The server's own log tells which key it got; that is how we know what to look for.
    assert key in eventually(lambda: servers.log(PLAIN), 5, "the server has got a key")
    elsewhere = {"relay's files": "docker exec relay sh -c 'find /tmp -type f -exec cat {} +; echo end'"}
    assert_hidden(host, site, [key.partition("?")[0]], elsewhere)
    assert "rtmp_app" in host.check_output("ps -eww -o args"), "ffmpeg was looked at while it ran"
    api.does("DELETE", f"{PATH}/{good}")
    eventually(lambda: "ended" in servers.log(PLAIN), 10, "the server gets nothing any more")
    got = servers.codecs(PLAIN)
    assert got["h264"] > 30
    assert got["aac"] > 30
    assert live.running


@pytest.mark.slow
@pytest.mark.destructive
def test_whom_the_hosts_own_store_trusts_gets_the_stream(
    api: Api, host: Host, outside: Outside, servers: Servers, live: Publisher, pass_on: Pass
) -> None:
    host.check_output(f"printf '%s' '{outside.output(f'cat {FOLDER}/ca.pem')}' >{CA} && update-ca-certificates")
    try:
        trusted = pass_on(f"rtmps://{servers.address}:{TRUSTED}/live", "a-key")
        another = pass_on(f"rtmps://{servers.address}:{ANOTHER_NAME}/live", "a-key")
        becomes(api, trusted, ("running", None))
        becomes(api, another, ("refused", "certificate not trusted"))
        assert "a-key" in servers.log(TRUSTED)
        assert "a-key" not in servers.log(ANOTHER_NAME)
    finally:
        host.check_output(f"rm {CA} && update-ca-certificates --fresh && streamkeep-host integrity accept")
    api.does("DELETE", f"{PATH}/{trusted}")
    again = pass_on(f"rtmps://{servers.address}:{TRUSTED}/live", "a-key")
    becomes(api, again, ("refused", "certificate not trusted"))


@pytest.mark.slow
@pytest.mark.destructive
def test_a_server_that_hangs_up_has_refused_and_names_are_asked_for(
    api: Api, host: Host, servers: Servers, live: Publisher, pass_on: Pass
) -> None:
    rude = pass_on(f"rtmp://{servers.address}:{RUDE}/live")
    unknown = pass_on("rtmp://no-such-name.invalid/live")
    itself = pass_on(f"rtmp://{host.check_output('hostname --all-ip-addresses').split()[0]}/live")
    inner = pass_on("rtmp://nginx-rtmp:1937/live")
    becomes(api, rude, ("refused", "refused by the server"))
    becomes(api, unknown, ("waiting", "name not found"), 30)
    becomes(api, itself, ("refused", "address not allowed"))
    becomes(api, inner, ("refused", "address not allowed"))


@pytest.mark.slow
@pytest.mark.destructive
def test_what_a_name_might_lead_to_later_the_firewall_drops(host: Host, outside: Outside, servers: Servers) -> None:
    """A second private address of the same machine, of which the settings say nothing."""
    opens = "timeout 2 bash -c ': </dev/tcp/{}/19350'"
    outside.output("ip address add 10.77.0.9/32 dev lo")
    host.check_output(f"ip route add 10.77.0.9/32 via {servers.address}")
    try:
        assert host.run(opens.format("10.77.0.9")).rc == 0, "the host itself reaches it"
        assert host.run(f"docker exec relay {opens.format(servers.address)}").rc == 0
        assert host.run(f"docker exec relay {opens.format('10.77.0.9')}").rc != 0
    finally:
        host.check_output("ip route del 10.77.0.9/32")
        outside.output("ip address del 10.77.0.9/32 dev lo")


@pytest.mark.slow
@pytest.mark.destructive
def test_a_relay_that_starts_again_goes_on(
    api: Api, host: Host, servers: Servers, live: Publisher, pass_on: Pass
) -> None:
    before = servers.log(PLAIN).count("ended")
    number = pass_on(f"rtmp://{servers.address}:{PLAIN}/live")
    becomes(api, number, ("running", None))
    host.check_output("docker restart relay")
    eventually(lambda: servers.log(PLAIN).count("ended") > before, 15, "the connection has ended")
    becomes(api, number, ("running", None), 30)
    said: list[dict[str, Any]] = [
        json.loads(line) for line in host.check_output("docker logs --since 2m relay").splitlines()
    ]
    assert any(line["event"] == "relay" and line["result"] == "running" for line in said)
    pid = host.check_output("docker top relay -o pid,args | awk '$2 == \"python3\" {print $1}'")
    host.check_output(f"kill -STOP {pid}")
    try:
        host.check_output("docker exec relay touch -d '30 seconds ago' /tmp/heartbeat")
        assert host.run("docker exec relay python3 -m supervisor.health").rc == 1
    finally:
        host.check_output(f"kill -CONT {pid}")
    eventually(lambda: host.run("docker exec relay python3 -m supervisor.health").rc == 0, 10, "it goes on")
