"""The heartbeat and what the healthcheck makes of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from supervisor import health


@pytest.fixture
def heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(health, "HEARTBEAT", tmp_path / "heartbeat")
    return tmp_path / "heartbeat"


def test_no_round_yet_is_unhealthy(heartbeat: Path) -> None:
    assert not heartbeat.exists()
    assert health.main() == 1


def test_a_fresh_round_is_healthy_and_an_old_one_is_not(heartbeat: Path) -> None:
    health.beat()
    assert health.main() == 0
    old = time.time() - health.OLDEST - 1
    os.utime(heartbeat, (old, old))
    assert health.main() == 1
