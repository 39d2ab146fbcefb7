"""Programs that stand in for those of a host; what this machine has is run as it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = """#!/bin/bash
printf '%s\\n' "{name} $*" >>{log}
{body}
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a program of this name first in PATH; it notes how it was called and does what *body* (shell) says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def program(name: str, body: str = "") -> Path:
        path = folder / name
        path.write_text(SCRIPT.format(name=name, log=tmp_path / "calls", body=body), encoding="utf-8")
        path.chmod(0o755)
        return path

    return program


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[str]]:
    """Give how the stand-ins have been called since it was asked last, one line each."""

    def asked() -> list[str]:
        log = tmp_path / "calls"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    return asked


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Give every test the usual umask, and take back what it changed."""
    before = os.umask(0o022)
    yield
    os.umask(before)
