"""TLS on 443 and 1936 (guide, section 5)."""

from __future__ import annotations

import pytest
from outside import Outside, Site


def handshake(outside: Outside, site: Site, port: int, version: str) -> bool:
    # SECLEVEL=0 lets our side speak what it would refuse itself, so that the refusal is the server's.
    command = (
        f"openssl s_client -connect {site.address}:{port} -servername {site.domain} -{version} -cipher ALL:@SECLEVEL=0"
    )
    return outside.run(f"timeout 10 {command} </dev/null").returncode == 0


@pytest.mark.parametrize("port", [443, 1936])
@pytest.mark.parametrize(
    ("version", "spoken"), [("tls1", False), ("tls1_1", False), ("tls1_2", True), ("tls1_3", True)]
)
def test_only_current_versions_are_spoken(site: Site, outside: Outside, port: int, version: str, spoken: bool) -> None:
    assert handshake(outside, site, port, version) is spoken


@pytest.mark.parametrize("port", [443, 1936])
def test_the_certificate_names_the_site(site: Site, outside: Outside, port: int) -> None:
    shown = outside.output(
        f"openssl s_client -connect {site.address}:{port} -servername {site.domain} </dev/null 2>/dev/null"
        " | openssl x509 -noout -ext subjectAltName -checkend 604800 -text"
    )
    assert f"DNS:{site.domain}" in shown
    assert "prime256v1" in shown
    assert "Certificate will not expire" in shown
