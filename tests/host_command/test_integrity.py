"""What is accepted and told of files and packages; checklist/test_base.py tries it with the real aide and debsums."""

from __future__ import annotations

import os
import platform
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from streamkeep_host import cli, integrity

StandIn = Callable[..., Path]
# As aide does: a report on standard output, another database, and a status of what differs.
AIDE = "echo 'f > ...: /etc/changed'; [ \"$2\" = --check ] || echo {database} >{folder}/aide.db.new; exit {status}"


@pytest.fixture
def aide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn) -> Callable[..., None]:
    (tmp_path / "integrity").mkdir()
    monkeypatch.setattr(integrity, "FOLDER", tmp_path / "integrity")
    monkeypatch.setattr(integrity, "CLEAN", tmp_path / "clean")

    def finds(status: int, database: str = "new") -> None:
        stand_in("aide", AIDE.format(status=status, database=database, folder=tmp_path / "integrity"))

    return finds


def ask(*words: str) -> int:
    return cli.main(["integrity", *words])


def there(tmp_path: Path) -> dict[str, str]:
    return {path.name.partition("-")[0]: path.read_text() for path in (tmp_path / "integrity").iterdir()}


def test_the_first_baseline_is_made(
    tmp_path: Path, aide: Callable[..., None], calls: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    aide(0, "first")
    (tmp_path / "integrity/aide.db").touch()  # of a run that was killed
    assert ask("accept") == 0
    assert there(tmp_path) == {"aide.db": "first\n"}
    assert stat.S_IMODE((tmp_path / "integrity/aide.db").stat().st_mode) == 0o600
    assert calls() == ["aide --config=/etc/aide/aide.conf --init"]
    assert capsys.readouterr().out == "accepted as the first baseline\n"


@pytest.mark.parametrize("status", [1, 4, 7])
def test_what_differs_is_accepted_with_a_report(
    tmp_path: Path, aide: Callable[..., None], status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "integrity/aide.db").write_text("old\n")
    aide(status)
    assert ask("accept") == 0
    assert there(tmp_path) == {"aide.db": "new\n", "accepted": "f > ...: /etc/changed\n"}
    (report,) = (tmp_path / "integrity").glob("accepted-*")
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert capfd.readouterr().out == f"accepted: {report} says what\n"


def test_where_nothing_differs_nothing_is_kept(
    tmp_path: Path, aide: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    for name, days in (("accepted-long-ago", 401), ("accepted-lately", 399)):
        (tmp_path / "integrity" / name).write_text("kept\n")
        os.utime(tmp_path / "integrity" / name, (time.time() - days * 86_400,) * 2)
    (tmp_path / "integrity/aide.db").write_text("old\n")
    aide(0)
    assert ask("accept") == 0
    assert sorted(path.name for path in (tmp_path / "integrity").iterdir()) == ["accepted-lately", "aide.db"]
    assert there(tmp_path)["aide.db"] == "old\n"
    assert capfd.readouterr().out == "nothing differs\n"


def test_an_aide_that_fails_changes_no_baseline(
    tmp_path: Path, aide: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "integrity/aide.db").write_text("old\n")
    aide(14)
    assert ask("accept") == 14
    assert there(tmp_path)["aide.db"] == "old\n"
    assert "f > ...: /etc/changed" in capfd.readouterr().err


def test_a_check_fails_as_aide_does_and_says_what(aide: Callable[..., None], capfd: pytest.CaptureFixture[str]) -> None:
    for status in (0, 5):
        aide(status)
        assert ask("check") == status
        assert "/etc/changed" in capfd.readouterr().out


def test_upgrades_are_accepted_where_all_was_well_before(
    tmp_path: Path, aide: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "integrity/aide.db").write_text("old\n")
    for before, said in ((4, "nothing is accepted"), (0, "accepted: ")):
        aide(before)
        assert ask("before-upgrade") == 0
        aide(4)
        assert ask("after-upgrade") == 0
        assert said in capfd.readouterr().out
        assert (there(tmp_path)["aide.db"] == "new\n") == (before == 0)
    assert ask("after-upgrade") == 0
    assert "nothing is accepted" in capfd.readouterr().out, "what was noted holds for one upgrade"
    for before in (0, 4):  # the first of which was killed
        aide(before)
        assert ask("before-upgrade") == 0
    assert ask("after-upgrade") == 0
    assert "nothing is accepted" in capfd.readouterr().out


@pytest.mark.parametrize("sums", [0, 2])
@pytest.mark.parametrize("tracker", [0, 1])
def test_packages_are_told_and_a_changed_file_fails(
    tmp_path: Path,
    aide: Callable[..., None],
    stand_in: StandIn,
    calls: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sums: int,
    tracker: int,
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"VERSION_CODENAME": "trixie"})
    stand_in("debsums", f"echo 'changed file /usr/bin/env' >&2; exit {sums}")
    stand_in("debsecan", f"echo CVE-2026-0001 openssl; exit {tracker}")
    assert ask("packages") == sums
    told = (tmp_path / "integrity/packages").read_text()
    assert capsys.readouterr().out == told
    lines = [line for line in told.splitlines() if not line.startswith("# 20")]
    assert lines[:4] == [
        "# Files of packages that are not what the package brought:",
        "changed file /usr/bin/env",
        "# Vulnerabilities that have a fix:",
        "CVE-2026-0001 openssl",
    ]
    assert lines[4:] == ["# unknown: debsecan could not ask the security tracker"] * tracker
    assert calls() == ["debsums --silent", "debsecan --suite trixie --only-fixed"]
    assert stat.S_IMODE((tmp_path / "integrity/packages").stat().st_mode) == 0o600
