"""The certificate's life: watched daily, issued and renewed by an authority, and replaced only by one that is served.

The authority is Debian's pebble on the machine outside, which looks for the host by names of its own DNS server.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from controller import Controller, Run
from outside import NewKey, Outside, Publish, Site, eventually, wait_until_it_plays
from testinfra.host import Host

PORTS = (443, 1936)
METRICS = "/var/lib/streamkeep/metrics/certificate.prom"
SERVED = "/etc/streamkeep/tls"
# Everything is due that ends within ten years.
RENEWAL = "/etc/letsencrypt/renewal/streamkeep.conf"
MAKE_DUE = f"grep -q ^renew_before {RENEWAL} || sed -i '1i renew_before_expiry = 3650 days' {RENEWAL}"
LISTENERS = "-dns01 127.0.0.1:8053 -doh '' -http01 '' -https01 '' -tlsalpn01 ''"
Deploy = Callable[..., Run]


def shown(outside: Outside, site: Site, port: int, what: str = "-serial") -> str:
    """Return what the certificate says that the outside is served on *port*."""
    connect = f"openssl s_client -connect {site.address}:{port} -servername {site.domain}"
    return outside.output(f"{connect} </dev/null 2>/dev/null | openssl x509 -noout {what}").strip()


def serials(outside: Outside, site: Site) -> set[str]:
    return {shown(outside, site, port) for port in PORTS}


def days_left(host: Host) -> dict[int, int]:
    pattern = r'^streamkeep_certificate_days_left\{port="(\d+)"\} (-?\d+)$'
    return {int(port): int(days) for port, days in re.findall(pattern, host.file(METRICS).content_string, re.M)}


def test_the_key_is_for_the_proxy_alone(host: Host) -> None:
    folder, key = host.file(SERVED), host.file(f"{SERVED}/privkey.pem")
    assert (folder.uid, folder.mode) == (1_000_101, 0o500)
    assert (key.uid, key.mode) == (1_000_101, 0o400)
    public = f"openssl pkey -in {SERVED}/privkey.pem -pubout"
    assert host.check_output(public) == host.check_output(f"openssl x509 -in {SERVED}/fullchain.pem -noout -pubkey")


def test_what_is_served_is_watched_daily_and_lasts(host: Host) -> None:
    timer = host.service("streamkeep-certificate-check.timer")
    assert timer.is_running
    assert timer.is_enabled
    assert host.check_output("systemctl is-failed streamkeep-certificate-check || test $? -eq 1") != "failed"
    left = days_left(host)
    assert set(left) == set(PORTS)
    assert min(left.values()) >= 14
    assert time.time() - host.file(METRICS).mtime.timestamp() < 26 * 3600


@pytest.fixture(scope="module")
def deploy(controller: Controller) -> Deploy:
    """Deploy the certificates, and the stack, which has to know the names."""
    return partial(controller.run, "--tags", "certificates,stack")


@dataclass
class Authority:
    """Pebble and its DNS server, on the machine outside."""

    outside: Outside
    address: str
    bundle: Path
    names: tuple[str, str]
    processes: list[str] = field(default_factory=list)

    def start(self, name: str, command: str) -> None:
        """Start a server, and remember its process."""
        started = f"cd /root/pebble && {{ {command} >{name}.log 2>&1 </dev/null & echo $!; }}"
        self.processes.append(self.outside.output(started).strip())

    @contextmanager
    def down(self, host: Host) -> Iterator[None]:
        """Let it answer the host no more; ending it would make it forget our account."""
        refuse = f"OUTPUT --protocol tcp --destination {self.address} --dport 14000 --jump REJECT"
        host.check_output(f"iptables --wait --insert {refuse} --reject-with tcp-reset")
        try:
            yield
        finally:
            host.check_output(f"iptables --wait --delete {refuse} --reject-with tcp-reset")

    def resolve(self, address: str) -> None:
        """Let our names lead to *address* in the authority's eyes."""
        for name, verb in product(self.names, ("clear-a", "add-a")):
            body = f'{{"host": "{name}", "addresses": ["{address}"]}}'
            self.outside.output(f"curl -sf -X POST -d '{body}' http://127.0.0.1:8055/{verb}")

    @property
    def settings(self) -> list[str]:
        """The settings by which a deployment asks here."""
        return [
            *("-e", "streamkeep_certificate_mode=acme"),
            *("-e", f"streamkeep_acme_directory_url=https://{self.address}:14000/dir"),
            *("-e", f"streamkeep_acme_ca_bundle={self.bundle}"),
            *("-e", json.dumps({"streamkeep_extra_names": ["{{ ansible_host }}", self.names[1]]})),
        ]


@pytest.fixture(scope="module")
def authority(
    site: Site, outside: Outside, host: Host, deploy: Deploy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Authority]:
    address = outside.output("hostname --all-ip-addresses").split()[0]
    outside.output(
        "rm -rf /root/pebble && mkdir /root/pebble && cd /root/pebble && openssl req -x509 -noenc -days 2"
        " -newkey ec -pkeyopt ec_paramgen_curve:P-256 -keyout key.pem -out cert.pem -subj /CN=probe"
        f" -addext subjectAltName=IP:{address} 2>/dev/null && echo '{{"
        '"pebble": {"listenAddress": "0.0.0.0:14000", "managementListenAddress": "127.0.0.1:15000",'
        ' "certificate": "cert.pem", "privateKey": "key.pem", "httpPort": 80, "tlsPort": 443,'
        ' "certificateValidityPeriod": 7776000}'
        "}' >config.json"
    )
    bundle = tmp_path_factory.mktemp("authority") / "ca.pem"
    bundle.write_text(outside.output("cat /root/pebble/cert.pem"), encoding="utf-8")
    authority = Authority(outside, address, bundle, (site.domain, f"also.{site.domain}"))
    authority.start("dns", f"exec pebble-challtestsrv {LISTENERS} -defaultIPv4 {site.address} -defaultIPv6 ''")
    settings = "PEBBLE_VA_NOSLEEP=1 PEBBLE_AUTHZREUSE=0"
    authority.start("pebble", f"{settings} exec pebble -config config.json -dnsserver 127.0.0.1:8053")
    eventually(lambda: outside.connects(address, 14000), 10, "the authority answers")
    # Each pebble is another authority under the same address, and knows no account of the one before.
    forget = f"rm -rf '/etc/letsencrypt/accounts/{address}:14000'"
    host.check_output(f"cp /etc/hosts /root/hosts && {forget}")
    yield authority
    host.check_output(f"cat /root/hosts >/etc/hosts && {forget}")
    host.run("certbot delete --non-interactive --cert-name streamkeep")
    outside.run(f"kill {' '.join(authority.processes)}")
    if "Pebble" in shown(outside, site, 443, "-issuer"):
        done = deploy()
        assert done.succeeded
    assert "Pebble" not in shown(outside, site, 443, "-issuer")


@pytest.fixture(scope="module")
def issued(site: Site, outside: Outside, host: Host, deploy: Deploy, authority: Authority) -> Authority:
    """Refused while the names lead elsewhere, and issued once they lead here."""
    name = site.domain
    assert deploy(*authority.settings).refused(f"{name} has no address in DNS: give it an A record")
    names = " ".join(authority.names)
    host.check_output(f"echo '203.0.113.9 {names}' >>/etc/hosts")
    assert deploy(*authority.settings).refused(f"{name} leads to 203.0.113.9, which is not this host")
    host.check_output(f"(cat /root/hosts; echo '{site.address} {names}') >/etc/hosts")

    authority.resolve(authority.address)
    assert re.search("reaches no answer at (also[.])?" + re.escape(name), deploy(*authority.settings).said)
    own = serials(outside, site)
    assert "Pebble" not in shown(outside, site, 443, "-issuer")
    with authority.down(host):
        assert "does not answer: look at its status" in host.run("streamkeep-host acme issue").stderr
    assert serials(outside, site) == own

    authority.resolve(site.address)
    done = deploy(*authority.settings)
    assert done.succeeded
    assert re.search(r"Make sure that there is a certificate .*\n+changed", done.output)
    return authority


@pytest.mark.slow
@pytest.mark.brisk
@pytest.mark.destructive
def test_an_authority_signs_for_our_name(
    site: Site, outside: Outside, host: Host, deploy: Deploy, issued: Authority
) -> None:
    assert len(serials(outside, site)) == 1
    for port in PORTS:
        text = shown(outside, site, port, "-issuer -ext subjectAltName -text")
        assert "Pebble" in text
        assert set(re.findall(r"DNS:([^,\s]+)", text)) == set(issued.names)
        assert "prime256v1" in text
    assert host.file("/etc/letsencrypt/live/streamkeep/privkey.pem").exists
    assert host.service("certbot.timer").is_enabled
    test_the_key_is_for_the_proxy_alone(host)
    again = deploy(*issued.settings)
    assert again.succeeded
    assert again.changes == 0
    # A second certificate was not asked for.
    assert host.check_output("ls /etc/letsencrypt/archive/streamkeep/cert*.pem | wc -l") == "1"


@pytest.fixture
def download(site: Site, outside: Outside, host: Host) -> Iterator[Callable[[], tuple[int, bool]]]:
    """A download that takes half a minute; gives how to ask (bytes so far, whether it still runs)."""
    host.check_output(
        "docker exec ffmpeg sh -c 'mkdir -p /var/hls/public/probe-slow && cd /var/hls/public/probe-slow"
        " && head -c 30M /dev/zero >x.ts'"
    )
    url = f"https://{site.address}/hls/probe-slow/x.ts"
    pid = outside.output(
        f"{{ curl -skf --limit-rate 1M -o /tmp/slow {url} </dev/null >/dev/null 2>&1 & echo $!; }}"
    ).strip()

    def ask() -> tuple[int, bool]:
        size = outside.run("stat -c %s /tmp/slow").stdout.strip()
        return int(size or 0), outside.run(f"test -d /proc/{pid}").returncode == 0

    yield ask
    outside.run(f"kill {pid}")
    host.check_output("docker exec ffmpeg rm -rf /var/hls/public/probe-slow")


@pytest.mark.slow
@pytest.mark.brisk
@pytest.mark.destructive
def test_a_renewal_cuts_nobody_off(
    site: Site,
    outside: Outside,
    host: Host,
    issued: Authority,
    new_key: NewKey,
    publish: Publish,
    download: Callable[[], tuple[int, bool]],
) -> None:
    publisher = publish(new_key("probe-renewal"))
    url = site.playlist("probe-renewal", "source")
    wait_until_it_plays(outside, site, "probe-renewal")
    before = serials(outside, site)
    assert download()[1]
    seen = set(outside.segments(url)[0])
    host.check_output(MAKE_DUE)
    host.check_output("systemctl start certbot.service")
    after = serials(outside, site)
    assert len(after) == 1
    assert not after & before
    newest = max(outside.segments(url)[0])
    assert download()[1], "the download ended before the renewal did, so this showed nothing"
    while download()[1]:
        seen |= set(outside.segments(url)[0])
        time.sleep(2)
    assert download()[0] == 30 * 1024 * 1024
    assert publisher.running
    seen |= set(outside.segments(url)[0])
    assert seen == set(range(min(seen), max(seen) + 1)), "segments are missing"
    assert max(seen) > newest + 2, "the stream did not go on"


@pytest.mark.slow
@pytest.mark.brisk
@pytest.mark.destructive
def test_a_failed_renewal_is_loud_and_keeps_the_old_one(
    site: Site, outside: Outside, host: Host, issued: Authority
) -> None:
    since = host.check_output("date +%s")
    before: set[str] = set()

    def fails_saying(sentence: str) -> bool:
        # Pebble takes one authorization in a hundred for still valid, whatever it is told, and then asks nobody.
        for _ in range(3):
            host.check_output(MAKE_DUE)
            before.clear()
            before.update(serials(outside, site))
            failed = host.run("systemctl start certbot.service").rc != 0
            if failed:
                break
        state = host.run("systemctl is-failed certbot.service").stdout.strip()
        told = host.check_output(f"journalctl --no-pager --unit certbot --since @{since}")
        host.check_output("systemctl reset-failed certbot.service")
        return failed and state == "failed" and sentence in told

    issued.resolve(issued.address)
    assert fails_saying("the authority reaches no answer at ")
    issued.resolve(site.address)
    with issued.down(host):
        assert fails_saying(f"the authority at https://{issued.address}:14000/dir does not answer")
    assert serials(outside, site) == before


# On the machine outside, because Debian 12's openssl cannot backdate.
MAKE = (
    "cd /tmp && openssl req -x509 -noenc -newkey {key} -keyout key.pem -out cert.pem -subj /CN={name} {days}"
    " 2>/dev/null"
)
EC = "ec -pkeyopt ec_paramgen_curve:P-256"
INSTALL = "streamkeep-host certificate install /root/probe/cert.pem /root/probe/key.pem"


@pytest.fixture
def made(site: Site, outside: Outside, host: Host) -> Iterator[Callable[[str, str], None]]:
    """Make a pair by oneself; the one that was served before returns after the test."""
    host.check_output(f"install -d -m 0700 /root/probe /root/probe/old && cp {SERVED}/* /root/probe/old/")

    def make(key: str, days: str) -> None:
        outside.output(MAKE.format(key=key, days=days, name=site.domain))
        for file in ("cert.pem", "key.pem"):
            content = outside.output(f"base64 --wrap 0 /tmp/{file}")
            host.check_output(f"echo {content} | base64 --decode >/root/probe/{file}")

    yield make
    host.check_output("streamkeep-host certificate install /root/probe/old/fullchain.pem /root/probe/old/privkey.pem")
    host.check_output(
        "rm -r /root/probe && streamkeep-host certificate check"
        # systemd starts what fails no more than five times in ten seconds
        " && systemctl reset-failed streamkeep-certificate-check && systemctl start streamkeep-certificate-check"
    )


@pytest.mark.brisk
@pytest.mark.destructive
def test_a_bad_pair_never_replaces_a_good_one(
    site: Site, outside: Outside, host: Host, made: Callable[[str, str], None]
) -> None:
    before = serials(outside, site), host.check_output(f"sha256sum {SERVED}/*")
    for key, days, said in (
        ("rsa:512", "-days 30", "the old one is back"),  # nginx refuses keys that short
        (EC, "-not_before 20200101000000Z -not_after 20200102000000Z", "has ended"),
    ):
        made(key, days)
        refused = host.run(INSTALL)
        assert refused.rc != 0
        assert said in refused.stderr
        assert (serials(outside, site), host.check_output(f"sha256sum {SERVED}/*")) == before
    made(EC, "-days 30")
    refused = host.run(INSTALL.replace("key.pem", "old/privkey.pem"))
    assert refused.rc != 0
    assert "does not belong" in refused.stderr
    assert (serials(outside, site), host.check_output(f"sha256sum {SERVED}/*")) == before


@pytest.mark.brisk
@pytest.mark.destructive
def test_what_a_killed_run_left_is_served_by_the_next(
    site: Site, outside: Outside, host: Host, made: Callable[[str, str], None]
) -> None:
    before = serials(outside, site)
    made(EC, "-days 30")
    host.check_output(f"cd /root/probe && cat cert.pem >{SERVED}/fullchain.pem && cat key.pem >{SERVED}/privkey.pem")
    assert serials(outside, site) == before
    assert "serve the certificate" in host.check_output("streamkeep-host certificate ensure")
    assert len(serials(outside, site)) == 1
    assert not serials(outside, site) & before
    assert host.check_output("streamkeep-host certificate ensure") == ""


@pytest.mark.destructive
def test_the_alarm_comes_before_the_end(host: Host, made: Callable[[str, str], None]) -> None:
    for hours, status in ((14 * 24 + 1, 0), (14 * 24 - 1, 1), (2, 1)):
        made(EC, f"-not_after $(date --utc --date '{hours} hours' +%Y%m%d%H%M%SZ)")
        host.check_output(INSTALL)
        assert host.run("systemctl start streamkeep-certificate-check").rc == status
        assert set(days_left(host).values()) == {hours // 24}
    # By and by, because its own timer may run it once more at this very moment.
    eventually(lambda: host.run("systemctl is-failed streamkeep-certificate-check").rc == 0, 10, "it stays failed")
    told = host.check_output("journalctl --no-pager --unit streamkeep-certificate-check --lines 10")
    assert '"result":"ending"' in told
    assert "The certificate on port 443 is ending (days left: 0)" in told
    # Installing refuses one that has ended, so this one is put there as by somebody in a hurry.
    made(EC, "-not_before 20200101000000Z -not_after 20200102000000Z")
    host.check_output(f"cd /root/probe && cat cert.pem >{SERVED}/fullchain.pem && cat key.pem >{SERVED}/privkey.pem")
    host.run("streamkeep-host certificate reload")
    assert host.run("streamkeep-host certificate check").stdout.count('"result":"ended"') == len(PORTS)
    assert set(days_left(host).values()) == {0}


@pytest.mark.slow
@pytest.mark.brisk
@pytest.mark.destructive
def test_a_self_signed_certificate_is_renewed_by_a_deployment(
    site: Site, outside: Outside, host: Host, deploy: Deploy, made: Callable[[str, str], None]
) -> None:
    made(EC, f"-days 20 -addext subjectAltName=DNS:{site.domain}")
    host.check_output(INSTALL)
    done = deploy()
    assert done.succeeded
    assert min(days_left(host).values()) > 300
    assert len(serials(outside, site)) == 1
