"""One client can't ask without end."""

from __future__ import annotations

import re

import pytest
from outside import Outside, Site, Stranger
from testinfra.host import Host


@pytest.mark.slow
@pytest.mark.brisk
@pytest.mark.destructive
def test_who_asks_too_often_is_told_when_to_come_back(
    site: Site, host: Host, stranger: Stranger, outside: Outside
) -> None:
    limit = int(host.check_output("sed -n s/^API_RATE_LIMIT_PER_MINUTE=//p /opt/streamkeep/.env"))
    url = f"https://{site.address}/api/v1/streams"
    # Slower than the proxy's own limit, and each under another forged address: nobody can ask in somebody else's name.
    shown = "%{http_code} %header{ratelimit-limit} %header{ratelimit-remaining} %header{retry-after}\\n"
    ask = f"curl -sk --parallel --parallel-max 4 -o /dev/null -w '{shown}'"
    answers: list[str] = []
    refused: list[str] = []
    while not refused and len(answers) < 2 * limit + 100:  # a minute may begin in the midst of it
        forged = f"-H 'X-Forwarded-For: 203.0.113.{len(answers) // 20 % 250}'"
        answers += stranger.output(f"{ask} {forged} '{url}?n=[1-20]'; sleep 1").splitlines()
        refused = [answer for answer in answers if re.fullmatch(rf"429 {limit} 0 [0-9]+", answer)]
    assert refused
    assert all(0 < int(answer.split()[-1]) <= 60 for answer in refused)
    assert {answer.split()[0] for answer in answers} == {"401", "429"}
    assert outside.get(url)[0] == 401
