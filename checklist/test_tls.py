"""TLS on 443 and 1936 (guide, section 5): Mozilla's intermediate configuration, version 6.0."""

from __future__ import annotations

import re

import pytest
from outside import Outside, Site

PORTS = [443, 1936]
CIPHERS = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
}


def handshake(outside: Outside, site: Site, port: int, options: str) -> str:
    """Return what openssl says of a handshake; nothing when there was none."""
    done = outside.run(f"timeout 10 openssl s_client -connect {site.address}:{port} {options} </dev/null 2>&1")
    return done.stdout if done.returncode == 0 else ""


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(
    ("version", "spoken"), [("tls1", False), ("tls1_1", False), ("tls1_2", True), ("tls1_3", True)]
)
def test_only_current_versions_are_spoken(site: Site, outside: Outside, port: int, version: str, spoken: bool) -> None:
    # SECLEVEL=0 lets our side speak what it would refuse itself, so that the refusal is the server's.
    options = f"-servername {site.domain} -{version} -cipher ALL:@SECLEVEL=0"
    assert bool(handshake(outside, site, port, options)) is spoken


@pytest.mark.parametrize("port", PORTS)
def test_only_good_ciphers_are_spoken(site: Site, outside: Outside, port: int) -> None:
    every = outside.output("openssl ciphers -s -tls1_2 'ALL:COMPLEMENTOFALL:@SECLEVEL=0'").strip().split(":")
    others = ":".join(sorted(set(every) - CIPHERS))
    assert len(others.split(":")) > 50
    base = f"-servername {site.domain} -tls1_2 -cipher"
    assert not handshake(outside, site, port, f"{base} '{others}:@SECLEVEL=0'")
    for cipher in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"):
        assert re.search(rf"Cipher *: {cipher}|Cipher is {cipher}", handshake(outside, site, port, f"{base} {cipher}"))
    shown = handshake(outside, site, port, f"-servername {site.domain} -tls1_3")
    assert re.search("Cipher is (TLS_[A-Z0-9_]+)", shown)[1] in CIPHERS  # type: ignore[index]  # None fails as well


def need_current_openssl(outside: Outside) -> None:
    version = outside.output("openssl version").split()[1]
    if tuple(int(n) for n in version.split(".")[:2]) < (3, 5):
        pytest.skip(f"not-testable: the openssl from where we look ({version}) does not know X25519MLKEM768 itself")


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(
    ("group", "spoken"),
    [("X25519MLKEM768", True), ("X25519", True), ("prime256v1", True), ("secp384r1", True), ("secp521r1", False)],
)
def test_keys_are_agreed_upon_by_good_curves(site: Site, outside: Outside, port: int, group: str, spoken: bool) -> None:
    if group == "X25519MLKEM768":
        need_current_openssl(outside)
    assert bool(handshake(outside, site, port, f"-servername {site.domain} -tls1_3 -groups {group}")) is spoken


@pytest.mark.parametrize("port", PORTS)
def test_what_resists_a_quantum_computer_is_agreed_upon_first(site: Site, outside: Outside, port: int) -> None:
    need_current_openssl(outside)
    shown = handshake(outside, site, port, f"-servername {site.domain}")
    assert "Negotiated TLS1.3 group: X25519MLKEM768" in shown
    assert "No ALPN negotiated" in shown


@pytest.mark.parametrize("port", PORTS)
def test_no_tickets_no_compression_no_second_negotiation(site: Site, outside: Outside, port: int) -> None:
    # Whoever takes the key of session tickets could read what was said before.
    options = f"-servername {site.domain} -tls1_2"
    shown = handshake(outside, site, port, options)
    assert "TLS session ticket:" not in shown
    assert "Secure Renegotiation IS supported" in shown
    assert "Compression: NONE" in shown
    for asked, answered in (("", True), ("echo R; ", False)):
        client = f"timeout 10 openssl s_client -connect {site.address}:{port} {options}"
        assert (outside.run(f"(sleep 1; {asked}sleep 1) | {client} 2>&1").returncode == 0) is answered


def test_http_2_is_spoken(site: Site, outside: Outside) -> None:
    assert "ALPN protocol: h2" in handshake(outside, site, 443, f"-servername {site.domain} -alpn h2,http/1.1")


@pytest.mark.parametrize(
    ("options", "greeted"),
    [
        pytest.param("-servername {domain}", True, id="our name"),
        pytest.param("-servername elsewhere.test", False, id="another name"),
        pytest.param("-servername www.{domain}", False, id="a name below ours"),
        pytest.param("-servername x{domain}", False, id="a name that ends like ours"),
    ],
)
def test_another_name_gets_no_certificate(site: Site, outside: Outside, options: str, greeted: bool) -> None:
    assert bool(handshake(outside, site, 443, options.format(domain=site.domain))) is greeted


def test_who_goes_to_our_address_is_greeted_where_it_is_one_of_our_names(site: Site, outside: Outside) -> None:
    named = handshake(outside, site, 443, f"-servername {site.domain}")
    certificate = outside.output(f"openssl x509 -noout -ext subjectAltName <<'END'\n{named}\nEND")
    assert bool(handshake(outside, site, 443, "-noservername")) is (f"IP Address:{site.address}" in certificate)


@pytest.mark.parametrize("port", PORTS)
def test_the_certificate_names_the_site(site: Site, outside: Outside, port: int) -> None:
    shown = outside.output(
        f"openssl s_client -connect {site.address}:{port} -servername {site.domain} </dev/null 2>/dev/null"
        " | openssl x509 -noout -ext subjectAltName -checkend 604800 -text"
    )
    assert f"DNS:{site.domain}" in shown
    assert "prime256v1" in shown
    assert "Certificate will not expire" in shown
