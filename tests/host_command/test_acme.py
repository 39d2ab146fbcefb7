"""The authority is asked once and only when needed, and what it or certbot says becomes one sentence with its cure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from streamkeep_host import acme, certificate, cli, settings

SERVER = "https://ca.streams.test/dir"
NAMES = ["live.streams.test", "also.streams.test"]
StandIn = Callable[..., Path]
Calls = Callable[[], list[str]]

CHALLENGE = """
Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: live.streams.test
  Type:   {kind}
  Detail: what the authority saw

Ask for help or search for solutions at https://community.letsencrypt.org.
"""
SAID = {
    CHALLENGE.format(kind="dns"): "the authority finds no address of live.streams.test (what the authority saw): give",
    CHALLENGE.format(kind="connection"): "reaches no answer at live.streams.test (what the authority saw): point its A",
    CHALLENGE.format(kind="unauthorized"): "another machine answers for live.streams.test (what the authority saw): p",
    CHALLENGE.format(
        kind="caa"
    ): "the CAA record of live.streams.test does not admit this authority (what the authority",
    "Error creating new order :: too many certificates already issued": "too often (Error creating new order :: too",
    "x\nurn:ietf:params:acme:error:rateLimited :: slow down\n": "error:rateLimited :: slow down): wait as long as it",
    "HTTPSConnectionPool: Max retries exceeded with url: /dir": f"the authority at {SERVER} does not answer: look at",
    "[Errno -3] Temporary failure in name resolution": f"the authority at {SERVER} does not answer: look at",
    "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate": f"the authority at {SERVER} is not known to this host",
    "urn:ietf:params:acme:error:accountDoesNotExist :: x": f"the authority at {SERVER} has forgotten our account",
    "Account at /etc/letsencrypt/accounts/x not found": f"the authority at {SERVER} has forgotten our account: remove",
    CHALLENGE.format(kind="x"): "certbot said:   Type:   x   Detail: what the authority saw",
    "Saving debug log to /x\none\n\ntwo\nthree\nSee the logfile\n": "certbot said: two three",
}


@pytest.mark.parametrize("said", SAID)
def test_what_certbot_says_becomes_a_sentence_with_its_cure(said: str) -> None:
    sentence = acme.explain(said, SERVER)
    assert SAID[said] in sentence
    assert "\n" not in sentence


def write(folder: Path, names: list[str], days: float) -> None:
    """Put a lineage there as certbot does."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    ).sign(key, hashes.SHA256())
    folder.mkdir(exist_ok=True)
    for name in ("cert.pem", "fullchain.pem"):
        (folder / name).write_bytes(built.public_bytes(serialization.Encoding.PEM))
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "privkey.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what the proxy is to take; how it does is tried by test_certificate.py."""
    done: list[str] = []
    monkeypatch.setattr(certificate, "ensure", lambda: done.append("ensure"))
    monkeypatch.setattr(certificate, "install", lambda chain, key: done.append(f"install {chain} {key}"))
    return done


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn, deployed: list[str]) -> Path:
    """A host whose proxy shows the challenge folder, and whose certbot gives a certificate."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    write(tmp_path / "tls", ["live.streams.test"], 10)
    write(tmp_path / "given", NAMES, 90)
    tell(tmp_path)
    told = {"directory": str(tmp_path / "tls"), "owner_uid": os.getuid(), "name": NAMES[0]}
    (tmp_path / "certificates.json").write_text(json.dumps(told))
    monkeypatch.setattr(settings, "CERTIFICATES", tmp_path / "certificates.json")
    monkeypatch.setattr(settings, "RENEWAL", tmp_path / "renewal.json")
    monkeypatch.setattr(acme, "LINEAGE", tmp_path / "live")
    monkeypatch.setattr(acme, "CONFIGURATION", tmp_path / "streamkeep.conf")
    (tmp_path / "streamkeep.conf").write_text(f"[renewalparams]\nserver = {SERVER}\n")
    stand_in("docker", f'last="${{@: -1}}"; cat "{tmp_path}/acme/.well-known/acme-challenge/${{last##*/}}"')
    stand_in(
        "certbot",
        f'echo "trusts $REQUESTS_CA_BUNDLE" >>{tmp_path}/trust; mkdir -p {tmp_path}/live;'
        f" cp {tmp_path}/given/* {tmp_path}/live/",
    )
    return tmp_path


def tell(folder: Path, **changed: object) -> None:
    """Write the settings of the role renewal."""
    authority = {"server": SERVER, "names": NAMES, "email": "", "ca_bundle": "", "webroot": str(folder / "acme")}
    told = {"alert_days": 14, "metrics_directory": str(folder), "authority": authority | changed}
    (folder / "renewal.json").write_text(json.dumps(told))


def asked(calls: Calls) -> list[str]:
    return [call for call in calls() if call.startswith("certbot")]


def test_the_first_certificate_is_asked_for_and_taken(
    host: Path, calls: Calls, deployed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tell(host, email="ops@streams.test", ca_bundle="/etc/streamkeep/acme-ca.pem")
    os.umask(0o077)
    assert cli.main(["acme", "issue"]) == 0
    assert asked(calls) == [
        "certbot certonly --keep-until-expiring --agree-tos --no-eff-email --email ops@streams.test --server"
        f" {SERVER} --cert-name streamkeep --key-type ecdsa --elliptic-curve secp256r1 --webroot --webroot-path"
        f" {host}/acme --deploy-hook /usr/local/sbin/streamkeep-host acme deploy --domain live.streams.test --domain"
        " also.streams.test --non-interactive"
    ]
    assert deployed == [f"install {host}/live/fullchain.pem {host}/live/privkey.pem"]
    assert capsys.readouterr().out == f"The authority at {SERVER} signed for live.streams.test also.streams.test.\n"
    assert (host / "trust").read_text() == "trusts /etc/streamkeep/acme-ca.pem\n"
    challenges = host / "acme/.well-known/acme-challenge"
    assert list(challenges.iterdir()) == []
    assert {path.stat().st_mode & 0o777 for path in (challenges, challenges.parent)} == {0o755}, "the proxy reads it"


def test_without_an_address_it_registers_without_one(host: Path, calls: Calls) -> None:
    assert cli.main(["acme", "issue"]) == 0
    assert "--register-unsafely-without-email" in asked(calls)[0]
    assert (host / "trust").read_text() == "trusts \n"


def test_what_lasts_is_not_asked_for_again(
    host: Path, calls: Calls, deployed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write(host / "live", NAMES[::-1], 31)
    write(host / "tls", NAMES, 31)
    for name in ("fullchain.pem", "privkey.pem"):
        (host / "tls" / name).write_bytes((host / "live" / name).read_bytes())
    assert cli.main(["acme", "issue"]) == 0
    assert (asked(calls), deployed, capsys.readouterr().out) == ([], ["ensure"], "")


@pytest.mark.parametrize(
    ("names", "days", "server", "how"),
    [
        (NAMES, 29, SERVER, "--keep-until-expiring"),
        (NAMES[:1], 60, SERVER, "--force-renewal --renew-with-new-domains"),
        (NAMES, 60, "https://another.streams.test/dir", "--force-renewal --renew-with-new-domains"),
        (NAMES, 60, SERVER[:-1], "--force-renewal --renew-with-new-domains"),
    ],
    ids=["due", "another name", "another authority", "another authority whose address begins so"],
)
def test_what_is_due_or_not_what_the_settings_say_is_asked_for(
    host: Path, calls: Calls, names: list[str], days: int, server: str, how: str
) -> None:
    write(host / "live", names, days)
    tell(host, server=server)
    assert cli.main(["acme", "issue"]) == 0
    assert [call.partition(" --agree-tos")[0] for call in asked(calls)] == [f"certbot certonly {how}"]


def test_a_proxy_that_does_not_show_the_challenge_saves_the_question(
    host: Path, calls: Calls, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in("docker", "exit 1")
    assert cli.main(["acme", "issue"]) == 1
    assert asked(calls) == []
    assert f"the proxy does not show {host}/acme: run the whole deployment" in capsys.readouterr().err
    assert list((host / "acme/.well-known/acme-challenge").iterdir()) == []


@pytest.mark.parametrize("command", ["issue", "renew"])
def test_a_refusal_is_told_with_what_stays(
    host: Path, calls: Calls, stand_in: StandIn, deployed: list[str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in("certbot", "echo 'Connection refused' >&2; exit 1")
    assert cli.main(["acme", command]) == 1
    assert len(asked(calls)) == 1, "whoever calls again at once only meets its rate limits"
    assert deployed == []
    said = capsys.readouterr().err
    until = datetime.now(UTC) + timedelta(days=10)
    assert said.startswith(f"streamkeep-host acme: no new certificate: the authority at {SERVER} does not answer")
    assert f"The one in use stays, until {until:%b} {until.day:>2} " in said
    assert "/var/log/letsencrypt/letsencrypt.log." in said


def test_a_renewal_is_taken(host: Path, calls: Calls, deployed: list[str]) -> None:
    assert cli.main(["acme", "renew"]) == 0
    # No hook among the words: it would become that of certificates which are not ours.
    assert asked(calls) == ["certbot renew --no-random-sleep-on-renew --non-interactive"]
    assert deployed == [f"install {host}/live/fullchain.pem {host}/live/privkey.pem"]
    assert cli.main(["acme", "deploy"]) == 0
    assert len(deployed) == 2


@pytest.mark.parametrize("command", ["issue", "renew", "deploy"])
def test_where_the_host_signs_for_itself_certbots_certificate_is_left_alone(
    host: Path, calls: Calls, deployed: list[str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(host / "live", NAMES, 60)
    told = {"alert_days": 14, "metrics_directory": str(host), "authority": None}
    (host / "renewal.json").write_text(json.dumps(told))
    assert cli.main(["acme", command]) == 1
    assert (asked(calls), deployed) == ([], [])
    assert "no authority signs for this host: set streamkeep_certificate_mode to acme" in capsys.readouterr().err
