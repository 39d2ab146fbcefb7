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


def test_the_same_ports_are_open(outside: Outside, address: str) -> None:
    scan = outside.output(f"nmap -6 -n -Pn -p- --min-rate 4000 --max-retries 2 -oG - {address}", timeout=280)
    assert {int(port) for port in re.findall(r"(\d+)/open/", scan)} == OPEN


def test_the_site_answers(outside: Outside, address: str) -> None:
    assert outside.get(f"https://[{address}]/")[0] == 200
