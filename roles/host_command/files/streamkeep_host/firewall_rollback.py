"""The way back from a firewall that locks its operator out.

A run that changes ufw arms this first, and disarms it when a new ssh connection has come through. Otherwise the timer,
or the next boot, brings back the rules of before.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from streamkeep_host.programs import COMMAND, Failure, run

ROOT = Path("/")
BEFORE = Path("/var/lib/streamkeep/firewall-before")
UNIT = "streamkeep-firewall-rollback"
FILES = ("etc/default/ufw", "etc/ufw/ufw.conf", "etc/ufw/user.rules", "etc/ufw/user6.rules")


def arm(seconds: str) -> None:
    """Save the rules that are there, and bring them back after SECONDS."""
    # What is saved already is the last state that was proven: a run that was killed left it.
    if not BEFORE.is_dir():
        new = _beside("new")
        new.mkdir(mode=0o700)
        # From the root: Debian 12's cp loses its way with absolute names (coreutils 9.1, mended in 9.2).
        run("cp", "--archive", "--parents", f"--target-directory={new}", *FILES, cwd=ROOT)
        new.rename(BEFORE)
    if run("systemctl", "--quiet", "is-active", f"{UNIT}.timer", check=False).returncode == 0:
        run("systemctl", "stop", f"{UNIT}.timer")
    timer = ("--unit", UNIT, "--on-active", seconds, "--timer-property", "AccuracySec=1s")
    run("systemd-run", "--quiet", "--collect", *timer, COMMAND, "firewall-rollback", "restore")


def pending() -> None:
    """Fail unless rules are saved that nobody has proven or brought back."""
    if not BEFORE.is_dir():
        raise Failure("nothing is pending")


def disarm() -> None:
    """Keep the rules that are there now, which have been proven."""
    if _claim("proven") is None:
        raise Failure("the rules of before are back already")
    run("systemctl", "stop", f"{UNIT}.timer")


def restore() -> None:
    """Bring back the rules of before, unless they have been proven."""
    returned = _claim("returned")
    if returned is None:
        return
    back = ("cp", "--archive", "--recursive", str(returned / "etc"), str(ROOT))
    if "ENABLED=yes" in (returned / "etc/ufw/ufw.conf").read_text(encoding="utf-8", errors="replace").splitlines():
        run(*back)
        run("ufw", "reload")
    else:
        run("ufw", "--force", "disable")
        run(*back)


def _beside(state: str) -> Path:
    """Return a name beside BEFORE that nothing has."""
    path = BEFORE.with_name(f"{BEFORE.name}.{state}")
    if path.exists():
        shutil.rmtree(path)
    return path


def _claim(state: str) -> Path | None:
    """Take what is saved; none where nothing is. Whoever renames first wins: the rules were proven, or they go back."""
    claimed = _beside(state)
    try:
        return BEFORE.rename(claimed)
    except FileNotFoundError:
        return None


COMMANDS = {"arm": arm, "pending": pending, "disarm": disarm, "restore": restore}
