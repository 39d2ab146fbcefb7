"""Who guesses is shut out: the right address, at every door, soon, and until somebody lets it in again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from secrets import randbelow, token_hex
from threading import Event

import pytest
from controller import Controller
from jails import walled
from outside import DOORS, Manage, NewKey, Outside, Publish, Site, Stranger, eventually, patient, stranger_to
from testinfra.host import Host

LOG = "/var/log/streamkeep/streaming-app.log"
JAILS = ("sshd", "streaming-app", "streaming-rtmp", "recidive")
pytestmark = pytest.mark.destructive


def jails_of(host: Host, address: str) -> list[str]:
    """Return which jails hold *address*."""
    (jails,) = json.loads(host.check_output(f"fail2ban-client banned {address}").replace("'", '"'))
    return sorted(jails)


def bad_key() -> str:
    """Return a play path with a key that nobody has: another one each time, because one tried again is one guess."""
    return f"probe-nobody?key={token_hex(16)}"


def somebody() -> str:
    """Return an address that is nobody's (RFC 2544), and most likely has not been banned before."""
    return f"198.18.{randbelow(256)}.{1 + randbelow(254)}"


def assert_shut_out(stranger: Stranger, site: Site, host: Host, jail: str = "streaming-rtmp") -> None:
    """No door opens to the stranger, and for this reason: the firewall shuts 22 to who only comes too often, too.

    fail2ban says that somebody is banned before its rules are laid.
    """
    eventually(lambda: walled(host, jail, stranger.address), 10, f"{jail} has laid its rules")
    assert stranger.open_among(site.address, DOORS) == set()


def ban(host: Host, stranger: Stranger, jail: str = "streaming-rtmp") -> None:
    host.check_output(f"fail2ban-client set {jail} banip {stranger.address}")
    eventually(lambda: walled(host, jail, stranger.address), 10, f"{jail} has laid its rules")


@pytest.fixture(scope="module", autouse=True)
def guesser(site: Site, host: Host) -> Iterator[tuple[Stranger, list[str]] | None]:
    """Guess ssh logins beside the other probes of this file; gives the machine and what it was answered.

    Slowly, so that it is the ban that shuts the door: the firewall and sshd refuse who comes too fast, too.
    """
    if not site.outside:
        yield None
        return
    options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    guess = f"ssh {options} -o ConnectTimeout={patient(4):.0f} probe-guesser@{site.address} true"
    answers: list[str] = []
    over = Event()

    def keep_guessing(machine: Stranger) -> None:
        while len(answers) < 10 and not over.wait(6):
            answers.append(machine.run(guess).stderr)

    with stranger_to(site, host, "guesser") as machine, ThreadPoolExecutor() as threads:
        guessing = threads.submit(keep_guessing, machine)
        try:
            yield machine, answers
        finally:
            over.set()
            guessing.result()


def test_the_numbers_are_the_guides(host: Host) -> None:
    for jail in JAILS:
        assert host.check_output(f"fail2ban-client get {jail} maxretry") == "5"
        assert host.check_output(f"fail2ban-client get {jail} bantime") == ("604800" if jail == "recidive" else "3600")
    assert LOG in host.check_output("fail2ban-client get streaming-app logpath")
    assert "691200seconds" in host.check_output("fail2ban-client get dbpurgeage")


def test_five_bad_keys_shut_the_publisher_out_and_nobody_else(
    site: Site,
    outside: Outside,
    host: Host,
    stranger: Stranger,
    new_key: NewKey,
    publish: Publish,
) -> None:
    server = f"rtmp://{site.address}:1935/live"
    playing = publish(new_key("probe-plays-on"))
    assert stranger.open_among(site.address, DOORS) == DOORS
    for _ in range(4):
        assert stranger.is_refused(server, bad_key())
    assert jails_of(host, stranger.address) == []
    assert stranger.is_refused(server, bad_key())
    eventually(lambda: jails_of(host, stranger.address) == ["streaming-rtmp"], 10, "the publisher is banned")
    assert_shut_out(stranger, site, host)
    assert outside.open_among(site.address, DOORS) == DOORS
    assert playing.running
    assert outside.get(f"https://{site.address}/")[0] == 200


def test_an_encoder_that_was_not_told_of_its_new_key_is_not_banned(
    site: Site, host: Host, stranger: Stranger, manage: Manage, new_key: NewKey
) -> None:
    """It tries again for as long as it runs, and so does one whose key has a typo in it."""
    server = f"rtmp://{site.address}:1935/live"
    former = new_key("probe-rotated")
    manage("key", "create", "probe-rotated", "--rotate")
    for playpath in (former, bad_key()):
        for _ in range(6):
            assert stranger.is_refused(server, playpath)
    told = [json.loads(text) for text in host.check_output(f"tail --lines 200 {LOG}").splitlines()]
    reasons = [
        one["reason"] for one in told if one.get("client") == stranger.address and one.get("result") == "refused"
    ]
    assert reasons[-12:] == ["rotated"] * 6 + ["key"] + ["repeated"] * 5
    # fail2ban has read all of it when it has read what comes after.
    witness = somebody()
    write(host, *[line("publish", "refused", witness, reason="key")] * 5)
    eventually(lambda: jails_of(host, witness) == ["streaming-rtmp"], 10, "somebody else is banned")
    host.check_output(f"fail2ban-client unban {witness}")
    assert jails_of(host, stranger.address) == []
    # And with the new key it is let in at once.
    assert not stranger.is_refused(server, new_key("probe-rotated"))


def sign_in(machine: Outside, site: Site, name: str, password: str) -> int:
    """Sign in by the API and return the status."""
    words = ["-H", "Content-Type: application/json", "-d", json.dumps({"name": name, "password": password})]
    return machine.get(f"https://{site.address}/api/v1/auth/login", *words)[0]


def test_five_failed_logins_shut_the_client_out(site: Site, outside: Outside, host: Host, stranger: Stranger) -> None:
    # The name tries to put the blame on somebody else.
    name = '", "client": "198.51.100.1", "x": "'
    assert [sign_in(stranger, site, name, f"not-the-one-{token_hex(4)}A!") for _ in range(5)] == [401] * 5
    eventually(lambda: jails_of(host, stranger.address) == ["streaming-app"], 10, "the client is banned")
    assert_shut_out(stranger, site, host, "streaming-app")
    assert outside.connects(site.address, 443)
    assert jails_of(host, "198.51.100.1") == []


def test_a_classroom_signs_in_from_one_address(site: Site, host: Host, stranger: Stranger, manage: Manage) -> None:
    """And what a program with a former password does beside it is one failure."""
    name = f"probe-{token_hex(4)}"
    (made,) = manage("user", "create", name, "--role", "streamer")
    former = token_hex(12)
    try:
        assert [sign_in(stranger, site, name, former) for _ in range(6)] == [401] * 6
        assert [sign_in(stranger, site, name, made["password"]) for _ in range(15)] == [200] * 15
        assert jails_of(host, stranger.address) == []
    finally:
        manage("user", "disable", name)


@pytest.mark.slow
def test_a_ban_outlives_restarts(site: Site, outside: Outside, host: Host, stranger: Stranger) -> None:
    ban(host, stranger)
    assert_shut_out(stranger, site, host)
    for disturbance in (
        "systemctl restart fail2ban",
        "systemctl restart docker",
        "ufw reload",
        "systemctl restart ufw",
    ):
        host.check_output(disturbance)
        eventually(lambda: outside.connects(site.address, 443), 20, f"the site answers after {disturbance}")
        eventually(lambda: host.run("fail2ban-client ping || exit 1").rc == 0, 20, "fail2ban answers")
        assert_shut_out(stranger, site, host)
        assert "streaming-rtmp" in jails_of(host, stranger.address)


def test_a_ban_comes_before_whatever_lets_through(site: Site, host: Host, stranger: Stranger) -> None:
    # Also where the rules of DOCKER-USER are laid anew after the ban.
    ban(host, stranger)
    host.check_output("iptables --delete DOCKER-USER --jump STREAMKEEP-CONTAINERS")
    host.check_output("systemctl reload streamkeep-firewall")
    lines = host.check_output("iptables --list-rules DOCKER-USER").splitlines()
    order = [line.split()[-1] for line in lines if line.startswith("-A")]
    assert order.index("f2b-streaming-rtmp-docker") < order.index("STREAMKEEP-CONTAINERS") < order.index("RETURN")
    assert_shut_out(stranger, site, host)


def test_a_ban_is_lifted_by_the_playbook(controller: Controller, site: Site, host: Host, stranger: Stranger) -> None:
    ban(host, stranger)
    assert_shut_out(stranger, site, host)
    for said in ("by streaming-rtmp; it is let in again.", "is not banned from"):
        done = controller.run("-e", f"unban_address={stranger.address}", playbook="unban")
        assert done.succeeded
        assert said in done.said
        assert stranger.open_among(site.address, DOORS) == DOORS


@pytest.mark.parametrize(
    ("file", "bad"),
    [
        ("filter.d/streaming-app.conf", "failregex = ^(<ADDR>"),
        ("action.d/streamkeep-drop.conf", "blocktype"),
        ("action.d/streamkeep-drop.conf", "[Definition]\nactionban = %(there-is-none)s"),
        ("jail.d/streamkeep.local", "action = iptables-allports[chain"),
        ("jail.d/streamkeep.local", "filter = there-is-none"),
    ],
)
def test_a_bad_file_is_noticed_before_it_is_used(host: Host, file: str, bad: str) -> None:
    assert host.run(f"streamkeep-host validate fail2ban /etc/fail2ban/{file} {file}").rc == 0
    host.check_output(f"cp /etc/fail2ban/{file} /root/probe-file && printf '%%s\\n' %s >>/root/probe-file", bad)
    assert host.run(f"streamkeep-host validate fail2ban /root/probe-file {file}").rc != 0


def test_rotation_keeps_the_log_readable_and_watched(host: Host) -> None:
    host.check_output("logrotate --force /etc/logrotate.d/streamkeep")
    log = host.file(LOG)
    assert (log.uid, log.mode) == (1010001, 0o640)
    witness = somebody()
    write(host, *[line("login", "failed", witness)] * 5)
    eventually(lambda: jails_of(host, witness) == ["streaming-app"], 10, "the new file is read")
    host.check_output(f"fail2ban-client unban {witness}")


def test_who_comes_back_too_often_stays_out_for_longer(site: Site, host: Host, stranger: Stranger) -> None:
    host.check_output(f"fail2ban-client set recidive delignoreip {stranger.address}")
    for command in ("banip", "unbanip") * 5:
        host.check_output(f"fail2ban-client set streaming-rtmp {command} {stranger.address}")
    eventually(lambda: jails_of(host, stranger.address) == ["recidive"], 10, "the stranger is banned for longer")
    assert_shut_out(stranger, site, host, "recidive")


@pytest.mark.parametrize("spared", ["{outside}", "172.31.242.2", "172.31.241.1", "127.0.0.1"])
def test_some_are_never_banned(site: Site, outside: Outside, host: Host, spared: str) -> None:
    address = spared.format(outside=outside.output("hostname --all-ip-addresses").split()[0])
    witness = somebody()
    write(host, *[line("login", "failed", address)] * 6, *[line("login", "failed", witness)] * 5)
    try:
        eventually(lambda: jails_of(host, witness) == ["streaming-app"], 10, "somebody else is banned")
        assert jails_of(host, address) == []
    finally:
        host.check_output(f"fail2ban-client unban {witness} {address}")


def test_an_ipv6_address_is_recognised(host: Host) -> None:
    write(host, *[line("publish", "refused", "2001:db8::66", reason="key")] * 5)
    if host.run("ip6tables --list-rules DOCKER-USER").rc != 0:
        pytest.skip("not-testable: this kernel has no IPv6 tables to put a ban into")
    eventually(lambda: jails_of(host, "2001:db8::66") == ["streaming-rtmp"], 10, "it is banned")
    try:
        for jail in JAILS:
            host.check_output(f"fail2ban-client set {jail} banip 2001:db8::66")
            eventually(lambda jail=jail: walled(host, jail, "2001:db8::66"), 10, f"{jail} has laid its rules")
    finally:
        host.check_output("fail2ban-client unban 2001:db8::66")
    assert jails_of(host, "2001:db8::66") == []
    assert not any(walled(host, jail, "2001:db8::66") for jail in JAILS)


def line(event: str, result: str, client: str | None, **details: object) -> str:
    """Return a line as the app writes it, now."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": time, "level": "info", "event": event, "result": result, "client": client, **details})


def write(host: Host, *lines: str) -> None:
    words = " ".join(shlex.quote(one) for one in lines)
    host.check_output(f"printf '%s\\n' {words} >>{LOG}")


def test_five_failed_ssh_logins_shut_the_guesser_out(
    site: Site, host: Host, guesser: tuple[Stranger, list[str]] | None
) -> None:
    if not guesser:
        pytest.skip("not-testable: nobody but a disposable host is attacked for a probe")
    machine, answers = guesser
    eventually(lambda: jails_of(host, machine.address) == ["sshd"], 120, "the guesser is banned")
    # The fifth may be cut off: sshd writes a failure down before it answers.
    eventually(lambda: len(answers) >= 4, 10, "the guesser has heard what it was told")
    assert ["Permission denied" in answer for answer in answers[:4]] == [True] * 4
    assert_shut_out(machine, site, host, "sshd")


GOOD = [
    ("streaming-app", line("login", "failed", "203.0.113.9", user="admin", request_id="x")),
    ("streaming-app", line("login", "failed", "2001:db8::9", user="admin")),
    ("streaming-app", line("login", "failed", "203.0.113.9")),
    ("streaming-rtmp", line("publish", "refused", "203.0.113.9", reason="key", slug=None)),
    ("streaming-rtmp", line("publish", "refused", "2001:db8::9", reason="key", slug="a")),
]
# What somebody types who wants another's address to be banned.
EVIL = '", "client": "198.51.100.1"} {"time": "2026-11-24T23:40:01.123+00:00", "level": "info", "event": "login"'
HARMLESS = [
    ("streaming-app", line("login", "repeated", "203.0.113.9", user="admin")),
    ("streaming-app", line("login", "success", "203.0.113.9", user="failed")),
    ("streaming-app", line("login", "success", "203.0.113.9", user=line("login", "failed", "198.51.100.1"))),
    ("streaming-app", line("login", "success", "203.0.113.9", user="\n" + line("login", "failed", "198.51.100.1"))),
    ("streaming-app", line("login", "success", "203.0.113.9", user=EVIL)),
    ("streaming-app", line("publish", "refused", "203.0.113.9", reason="key")),
    ("streaming-app", line("login", "failed", None, user="203.0.113.9")),
    ("streaming-app", line("login", "failed", "localhost", user="203.0.113.9")),
    ("streaming-app", "x" + line("login", "failed", "203.0.113.9")),
    ("streaming-rtmp", line("publish", "refused", "203.0.113.9", reason="already live")),
    ("streaming-rtmp", line("publish", "refused", "203.0.113.9", reason="limit")),
    ("streaming-rtmp", line("publish", "refused", "203.0.113.9", reason="rotated")),
    ("streaming-rtmp", line("publish", "refused", "203.0.113.9", reason="repeated")),
    ("streaming-rtmp", line("publish", "refused", "203.0.113.9", reason="keyless")),
    ("streaming-rtmp", line("publish", "accepted", "203.0.113.9", slug='", "reason": "key"')),
    (
        "streaming-rtmp",
        line("publish", "ended", "203.0.113.9", slug=line("publish", "refused", "1.2.3.4", reason="key")),
    ),
    ("streaming-rtmp", line("login", "failed", "203.0.113.9", reason="key")),
]


def matched(host: Host, filter_name: str, text: str) -> list[str]:
    """Return the addresses that a filter finds in one line."""
    done = host.run("fail2ban-regex --out ip %s /etc/fail2ban/filter.d/%s.conf", text, filter_name)
    return done.stdout.split()


@pytest.mark.parametrize(("filter_name", "text"), GOOD)
def test_a_failure_is_recognised(host: Host, filter_name: str, text: str) -> None:
    assert matched(host, filter_name, text) == [json.loads(text)["client"]]


@pytest.mark.parametrize(("filter_name", "text"), HARMLESS)
def test_nothing_else_is_a_failure(host: Host, filter_name: str, text: str) -> None:
    assert matched(host, filter_name, text) == []
