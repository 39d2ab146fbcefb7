"""Whether the host's files are what the last deployment left, and its packages what Debian brought."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from streamkeep_host.programs import failed, run

FOLDER = Path("/var/lib/streamkeep/integrity")
CLEAN = Path("/run/streamkeep-integrity-clean")
AIDE = ("aide", "--config=/etc/aide/aide.conf")
REPORT_SECONDS = 400 * 86_400  # how long a report of what was accepted is kept


def check() -> None:
    """Compare files with the baseline; fails when something differs, and says what."""
    run(*AIDE, "--check")


def accept() -> None:
    """Make what is there the baseline, and keep the report of what that was."""
    os.umask(0o077)
    new, baseline = FOLDER / "aide.db.new", FOLDER / "aide.db"
    if not baseline.exists() or baseline.stat().st_size == 0:
        run(*AIDE, "--init", stdout=subprocess.DEVNULL)
        new.replace(baseline)
        print("accepted as the first baseline")
        return
    report = FOLDER / f"accepted-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    with report.open("w", encoding="utf-8") as file:
        status = run(*AIDE, "--update", check=False, stdout=file).returncode
    # 1, 2 and 4 add up: new, removed and changed files. Beyond 7 something went wrong.
    if not 0 <= status <= 7:
        sys.stderr.write(report.read_text(encoding="utf-8", errors="replace"))
        raise failed(status)
    if status == 0:
        report.unlink()
        new.unlink()
        print("nothing differs")
    else:
        new.replace(baseline)
        print(f"accepted: {report} says what")
    for old in FOLDER.glob("accepted-*"):
        if old.stat().st_mtime < time.time() - REPORT_SECONDS:
            old.unlink()


def before_upgrade() -> None:
    """Note that files are as they should be, before apt changes some."""
    CLEAN.unlink(missing_ok=True)
    if run(*AIDE, "--check", check=False, stdout=subprocess.DEVNULL).returncode == 0:
        CLEAN.touch(mode=0o600)


def after_upgrade() -> None:
    """Accept what apt changed, if that was noted."""
    if not CLEAN.exists():
        print("files differed before the upgrade, so nothing is accepted; see: streamkeep-host integrity check")
        return
    CLEAN.unlink()
    accept()


def packages() -> None:
    """Compare packages with their checksums, which may fail, and ask for vulnerabilities that have a fix."""
    os.umask(0o077)
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    merged = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    sums = run("debsums", "--silent", check=False, **merged)
    known = run("debsecan", "--suite", suite, "--only-fixed", check=False, **merged)
    told = (
        f"# {datetime.now(UTC).isoformat(timespec='seconds')}\n"
        "# Files of packages that are not what the package brought:\n"
        f"{sums.stdout}"
        "# Vulnerabilities that have a fix:\n"
        f"{known.stdout}"
    )
    if known.returncode:
        told += "# unknown: debsecan could not ask the security tracker\n"
    new = FOLDER / "packages.new"
    new.write_text(told, encoding="utf-8")
    new.replace(FOLDER / "packages")
    print(told, end="")
    if sums.returncode:
        raise failed(sums.returncode)


COMMANDS = {
    "check": check,
    "accept": accept,
    "before-upgrade": before_upgrade,
    "after-upgrade": after_upgrade,
    "packages": packages,
}
