"""Who comes by IPv6 finds the doors that IPv4 has, and no other."""

from __future__ import annotations

import re

import pytest
from outside import Outside

OPEN = {22, 80, 443, 1935, 1936}


@pytest.fixture
def address(address6: str) -> str:
    if not address6:
        pytest.skip("not-testable: the host has no IPv6 address, or the machine that looks has none")
    return address6


def test_no_door_is_open_that_ipv4_has_not(outside: Outside, address: str) -> None:
    scan = outside.output(f"nmap -6 -n -Pn -p- --min-rate 4000 --max-retries 2 -oG - {address}", timeout=280)
    found = {int(port) for port in re.findall(r"(\d+)/open/", scan)}
    assert 22 in found, "the scan sees nothing at all"
    assert found <= OPEN
