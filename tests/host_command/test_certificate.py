"""A certificate is taken when it is served, and watched until it ends. OpenSSL and TLS are real, the engine is not."""

from __future__ import annotations

import json
import os
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from streamkeep_host import certificate, cli, settings

NAME = "live.streams.test"
StandIn = Callable[..., Path]
# Shows the proxy's address where it runs, takes the folder of the host into it, and refuses what a mark says.
DOCKER = """
cd {folder}
case "$*" in
    ps*) cat running ;;
    inspect*) echo 127.0.0.1 ;;
    *"-t -q"*) [ ! -e refusing ] || exit 1 ;;
    *reload*) [ -e deaf ] || cp --force tls/fullchain.pem tls/privkey.pem serving/ ;;
esac
"""


def make(folder: Path, ends: timedelta, starts: timedelta = timedelta(days=-400)) -> tuple[Path, Path]:
    """Make a pair that signs for itself; it ends and started so far from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + starts)
        .not_valid_after(now + ends)
    ).sign(key, hashes.SHA256())
    folder.mkdir(exist_ok=True)
    chain, private = folder / "fullchain.pem", folder / "privkey.pem"
    chain.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    return chain, private


@dataclass
class Proxy:
    """What answers on 443 and 1936, by the pair in *serving*."""

    folder: Path
    listeners: dict[socket.socket, threading.Thread] = field(default_factory=dict)
    names: list[str | None] = field(default_factory=list)  # that were asked for

    def listen(self) -> int:
        """Serve a port of its own, and return it."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.listeners[listener] = threading.Thread(target=self._serve, args=[listener], daemon=True)
        self.listeners[listener].start()
        return int(listener.getsockname()[1])

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain, suppress(OSError):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.sni_callback = lambda _, name, __: self.names.append(name)
                context.load_cert_chain(self.folder / "serving/fullchain.pem", self.folder / "serving/privkey.pem")
                with context.wrap_socket(plain, server_side=True):
                    pass

    def close(self) -> None:
        """Serve no more. Who still waits would take the calls of the next test, whose listener gets the same number."""
        while self.listeners:
            listener, thread = self.listeners.popitem()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            listener.close()

    def mark(self, *names: str) -> None:
        """Set the marks of the stand-in engine to these."""
        for name in ("running", "refusing", "deaf"):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "running").write_text("")
        for name in names:
            (self.folder / name).write_text("1a2b3c\n")

    def pair(self) -> tuple[bytes, bytes]:
        """Return what the host has for it."""
        return (self.folder / "tls/fullchain.pem").read_bytes(), (self.folder / "tls/privkey.pem").read_bytes()

    def shown(self) -> bytes:
        """Return what it serves."""
        return (self.folder / "serving/fullchain.pem").read_bytes()


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn) -> Iterator[Proxy]:
    make(tmp_path / "tls", timedelta(days=100))
    (tmp_path / "serving").mkdir()
    for name in ("fullchain.pem", "privkey.pem"):
        (tmp_path / "serving" / name).write_bytes((tmp_path / "tls" / name).read_bytes())
    told = {"directory": str(tmp_path / "tls"), "owner_uid": os.getuid(), "name": NAME}
    (tmp_path / "certificates.json").write_text(json.dumps(told))
    (tmp_path / "metrics").mkdir()
    told = {"alert_days": 14, "metrics_directory": str(tmp_path / "metrics"), "authority": None}
    (tmp_path / "renewal.json").write_text(json.dumps(told))
    monkeypatch.setattr(settings, "CERTIFICATES", tmp_path / "certificates.json")
    monkeypatch.setattr(settings, "RENEWAL", tmp_path / "renewal.json")
    monkeypatch.setattr(certificate, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(certificate, "TRIES", 3)
    monkeypatch.setattr(certificate, "PAUSE_SECONDS", 0.05)
    stand_in("docker", DOCKER.format(folder=tmp_path))
    made = Proxy(tmp_path)
    made.mark("running")
    monkeypatch.setattr(certificate, "LISTENING", {443: made.listen(), 1936: made.listen()})
    yield made
    made.close()


def ask(*words: object) -> int:
    return cli.main(["certificate", *map(str, words)])


def test_what_is_installed_is_served_and_the_key_is_its_owners_alone(
    proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain, key = make(tmp_path / "new", timedelta(days=90))
    assert ask("install", chain, key) == 0
    assert proxy.pair() == (chain.read_bytes(), key.read_bytes())
    assert proxy.shown() == chain.read_bytes()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").iterdir()}
    assert modes == {"fullchain.pem": 0o444, "privkey.pem": 0o400}
    assert capsys.readouterr().out.startswith("443 and 1936 serve the certificate ")
    assert set(proxy.names) == {NAME}


@pytest.mark.parametrize("fault", ["refusing", "deaf"])
def test_what_is_not_served_leaves_the_old_pair_in_place(
    proxy: Proxy, tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = proxy.pair()
    proxy.mark("running", fault)
    assert ask("install", *make(tmp_path / "new", timedelta(days=90))) == 1
    assert proxy.pair() == before
    assert proxy.shown() == before[0]
    said = capsys.readouterr().err
    assert "the proxy does not serve the new certificate, so the old one is back" in said
    # An engine that hears nothing goes on with the old one, which is then what is asked for.
    assert ("nor is the old certificate served" in said) == (fault == "refusing")
    assert (" instead of " in said) == (fault == "deaf")


def test_what_is_over_or_does_not_belong_together_is_not_taken(
    proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = proxy.pair()
    chain, key = make(tmp_path / "good", timedelta(days=90))
    ended, its_key = make(tmp_path / "ended", timedelta(minutes=50))
    for pair, said in (
        ((ended, its_key), "has ended or is no certificate: it was not taken"),
        ((key, key), "has ended or is no certificate: it was not taken"),
        ((chain, its_key), "does not belong to"),
        ((chain, tmp_path / "nothing"), "does not belong to"),
    ):
        assert ask("install", *pair) == 1
        assert said in capsys.readouterr().err
        assert (proxy.pair(), proxy.shown()) == (before, before[0])


def test_a_killed_run_is_made_good_and_nothing_is_done_twice(
    proxy: Proxy, tmp_path: Path, calls: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("ensure") == 0
    assert (capsys.readouterr().out, [call for call in calls() if "reload" in call]) == ("", [])
    chain, _ = make(tmp_path / "tls", timedelta(days=90))
    assert ask("ensure") == 0
    assert proxy.shown() == chain.read_bytes()
    assert "serve the certificate" in capsys.readouterr().out
    assert ask("ensure") == 0
    assert capsys.readouterr().out == ""
    make(tmp_path / "tls", timedelta(days=80))
    proxy.mark("running", "deaf")
    assert ask("ensure") == ask("reload") == 1
    assert f"the proxy does not serve the certificate in {tmp_path / 'tls'}" in capsys.readouterr().err


def test_a_proxy_that_does_not_run_reads_it_later(
    proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy.mark()
    chain, key = make(tmp_path / "new", timedelta(days=90))
    assert ask("install", chain, key) == 0
    assert proxy.pair() == (chain.read_bytes(), key.read_bytes())
    assert "The proxy does not run; it will read the certificate" in capsys.readouterr().out
    assert ask("ensure") == 0
    assert ask("served", 443) == 1
    assert "nothing is served on port 443: is the proxy running?" in capsys.readouterr().err


def test_what_is_served_is_shown(proxy: Proxy, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("served", 443) == ask("served", 1936) == 0
    assert capsys.readouterr().out.encode() == 2 * proxy.shown()
    assert ask("served", 80) == 1
    assert "say 443 or 1936" in capsys.readouterr().err


def test_two_runs_wait_for_each_other(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(certificate, "LOCK_SECONDS", 0.3)
    with certificate._locked():
        assert ask("reload") == 1
        assert ask("served", 443) == 0, "who looks waits for nobody"
    assert f"another run holds the lock {tmp_path / 'lock'}" in capsys.readouterr().err
    assert ask("reload") == 0


# How long it lasts from now, and what is told of that.
LASTS = {
    "ok": (timedelta(days=14, hours=1), 0, 14),
    "ending": (timedelta(days=14, hours=-1), 1, 13),
    "ended": (timedelta(days=-1), 1, 0),
}


@pytest.mark.parametrize("result", LASTS)
def test_the_alarm_comes_before_the_end(
    proxy: Proxy, tmp_path: Path, result: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lasts, status, days = LASTS[result]
    make(tmp_path / "serving", lasts)
    assert ask("check") == status
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [(line["event"], line["result"], line["days_left"]) for line in lines] == [("certificate", result, days)] * 2
    assert [line["port"] for line in lines] == [443, 1936]
    until = datetime.fromisoformat(lines[0]["until"])
    assert abs(until - datetime.now(UTC) - lasts) < timedelta(minutes=1)
    alarm = f"The certificate on port 1936 is {result} (days left: {days}): deploy again, which renews it."
    assert (alarm in said.err) == bool(status)
    metrics = tmp_path / "metrics/certificate.prom"
    assert f'\nstreamkeep_certificate_days_left{{port="443"}} {days}\n' in metrics.read_text()
    assert stat.S_IMODE(metrics.stat().st_mode) == 0o644
    assert list((tmp_path / "metrics").iterdir()) == [metrics]


def test_an_alarm_is_also_that_nothing_is_served(
    proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy.mark()
    assert ask("check") == 1
    said = capsys.readouterr()
    assert '"port":443,"result":"not served","days_left":-1,"until":""}' in said.out
    assert "is not served (days left: -1)" in said.err
    assert 'days_left{port="443"} -1\n' in (tmp_path / "metrics/certificate.prom").read_text()
    proxy.mark("running")
    proxy.close()
    assert ask("check") == 1


def test_a_file_without_a_certificate_is_told(proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tls/fullchain.pem").write_text("empty")
    assert ask("reload") == 1
    assert "fullchain.pem holds no certificate." in capsys.readouterr().err
