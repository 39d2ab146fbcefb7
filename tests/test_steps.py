"""What `./streamkeep test` does when a step fails; programs that only say their name stand in for the real ones."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ["yamllint", "ansible-lint", "ruff", "mypy", "shellcheck", "pytest", "molecule", "docker"]
STAND_IN = """#!/bin/bash
words="${0##*/} $*"
echo "ran $words" | tee -a calls
case "$words" in "$SLOW"*) [ -z "$SLOW" ] || { echo $$ >slow; exec sleep 60; } ;; esac
case "$words" in "molecule check"*) [ -z "$SLOW" ] || until [ -s slow ]; do sleep 0.1; done ;; esac
case "$words" in "$FAILING"*) [ -z "$FAILING" ] ;; esac
"""
Steps = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    """Run the test command in a tree of its own, where what begins with *failing* fails and *slow* takes a minute."""
    shutil.copy(ROOT / "streamkeep", tmp_path)
    tools = tmp_path / ".venv/bin"
    tools.mkdir(parents=True)
    for tool in TOOLS:
        (tools / tool).write_text(STAND_IN)
        (tools / tool).chmod(0o755)
    (tools / "dpkg-query").write_text("#!/bin/sh\necho installed\n")
    (tools / "dpkg-query").chmod(0o755)
    for lock in ("requirements.lock", "app/requirements.lock", "molecule/default/molecule.yml"):
        (tmp_path / lock).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / lock).write_text("x")
    (tmp_path / ".venv/locked").write_text(hashlib.sha256(b"xx").hexdigest())
    subprocess.run(["git", "init", "--quiet", "."], cwd=tmp_path, check=True)

    def run(failing: str = "", slow: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["./streamkeep", "test", "--yes"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "FAILING": failing, "SLOW": slow},
        )

    return run


def calls(tmp_path: Path) -> str:
    return (tmp_path / "calls").read_text()


def test_all_steps_are_done_and_the_probes_come_last(steps: Steps, tmp_path: Path) -> None:
    done = steps()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ran pytest tests app/tests images" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("ran pytest checklist")
    assert calls(tmp_path).splitlines()[-1] == "ran molecule destroy -s default"


@pytest.mark.parametrize("failing", ["mypy", "pytest tests"])
def test_what_fails_beside_fails_the_run_before_the_probes(steps: Steps, tmp_path: Path, failing: str) -> None:
    done = steps(failing=failing)
    assert done.returncode == 1
    assert f"ran {failing}" in done.stdout
    assert "lint or a unit test failed" in done.stderr
    assert "pytest checklist" not in calls(tmp_path)
    assert calls(tmp_path).splitlines()[-1] == "ran molecule destroy -s default"


def test_a_step_that_fails_ends_what_runs_beside(steps: Steps, tmp_path: Path) -> None:
    done = steps(failing="molecule check", slow="pytest tests")
    assert done.returncode == 1
    assert "molecule converge" not in calls(tmp_path)
    assert calls(tmp_path).splitlines()[-1] == "ran molecule destroy -s default"
    # Not the folder alone: that stays until somebody asks how the process ended.
    assert not Path(f"/proc/{(tmp_path / 'slow').read_text().strip()}/fd/0").exists()


def test_probes_that_fail_fail_the_run(steps: Steps, tmp_path: Path) -> None:
    assert steps(failing="pytest checklist").returncode == 1
    assert calls(tmp_path).splitlines()[-1] == "ran molecule destroy -s default"
