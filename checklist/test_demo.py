"""The demo as a new user sees it, on a host that is there already."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from controller import Controller
from outside import Manage, Outside, Site, eventually

pytestmark = [pytest.mark.destructive, pytest.mark.brisk, pytest.mark.slow]


def test_the_demo_publishes_says_where_to_look_and_ends(
    site: Site, outside: Outside, controller: Controller, manage: Manage
) -> None:
    settings = {"demo_state_directory": str(Path(site.key_file).parent), "demo_seconds": 25}
    done = controller.run("-e", json.dumps(settings), playbook="demo")
    assert done.succeeded
    told = dict(re.findall(r"- (Watch|Dashboard|OBS server|OBS key) +(\S+)", done.output))
    assert told["OBS server"] == f"rtmps://{site.address}:1936/live"
    assert outside.get(told["Watch"])[0] == 200
    assert outside.get(told["Dashboard"])[0] == 307  # to the sign-in
    assert re.fullmatch(r"my-stream\?key=\S{32,}", told["OBS key"])
    assert not outside.is_refused(told["OBS server"], told["OBS key"])
    eventually(lambda: not manage("live"), 60, "the clips end by themselves")
    for slug in ("demo", "demo-rtmp", "my-stream"):
        manage("key", "revoke", slug)
