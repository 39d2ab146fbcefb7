"""The way back from a firewall that locks its operator out; ufw and systemd are stand-ins, files are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamkeep_host import cli, firewall_rollback
from streamkeep_host.firewall_rollback import FILES

StandIn = Callable[..., Path]
Calls = Callable[[], list[str]]
TIMER = "streamkeep-firewall-rollback"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn) -> Path:
    """The files of a host whose ufw is enabled, by rules that were proven; systemd has no timer of ours."""
    write(tmp_path, "proven")
    monkeypatch.setattr(firewall_rollback, "ROOT", tmp_path)
    monkeypatch.setattr(firewall_rollback, "BEFORE", tmp_path / "firewall-before")
    stand_in("systemctl", '[ "$2" != is-active ]')
    stand_in("systemd-run")
    stand_in("ufw", f"cat {tmp_path}/etc/ufw/user.rules >>{tmp_path}/loaded")
    return tmp_path


def write(root: Path, rules: str, enabled: str = "yes") -> None:
    for name in FILES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"ENABLED={enabled}\n" if path.name == "ufw.conf" else rules)


def rules(root: Path) -> str:
    return (root / "etc/ufw/user.rules").read_text()


def ask(*words: str) -> int:
    return cli.main(["firewall-rollback", *words])


def test_what_nobody_proves_comes_back(root: Path, calls: Calls) -> None:
    assert ask("pending") == 1
    (root / "etc/ufw/user.rules").chmod(0o640)
    assert ask("arm", "120") == 0
    assert ask("pending") == 0
    assert calls() == [
        f"systemctl --quiet is-active {TIMER}.timer",
        f"systemd-run --quiet --collect --unit {TIMER} --on-active 120 --timer-property AccuracySec=1s"
        " /usr/local/sbin/streamkeep-host firewall-rollback restore",
    ]
    assert (root / "firewall-before").stat().st_mode & 0o777 == 0o700
    write(root, "locked out")
    (root / "etc/ufw/user.rules").chmod(0o600)
    assert ask("restore") == 0
    assert (rules(root), (root / "loaded").read_text()) == ("proven", "proven"), "the files are there before the reload"
    assert (root / "etc/ufw/user.rules").stat().st_mode & 0o777 == 0o640
    assert calls() == ["ufw reload"]
    assert ask("pending") == 1
    assert ask("disarm") == 1, "it came too late, and the run must say so"


def test_what_was_proven_stays(root: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("arm", "120") == 0
    write(root, "new and proven")
    calls()
    assert ask("disarm") == 0
    assert calls() == [f"systemctl stop {TIMER}.timer"]
    assert ask("restore") == 0, "a timer that fires at this very moment, or the next boot"
    assert (rules(root), calls()) == ("new and proven", [])
    assert ask("disarm") == 1
    assert "the rules of before are back already" in capsys.readouterr().err


def test_a_firewall_that_was_off_goes_off_again(root: Path, calls: Calls) -> None:
    write(root, "none", enabled="no")
    assert ask("arm", "120") == 0
    write(root, "locked out")
    calls()
    assert ask("restore") == 0
    assert calls() == ["ufw --force disable"]
    # ufw writes into its files that it is off: those of before come after it.
    assert ((root / "loaded").read_text(), rules(root)) == ("locked out", "none")


def test_a_killed_run_leaves_the_last_proven_rules_saved(root: Path, calls: Calls, stand_in: StandIn) -> None:
    (root / "firewall-before.new/etc").mkdir(parents=True)
    (root / "firewall-before.returned/etc").mkdir(parents=True)
    assert ask("arm", "120") == 0
    write(root, "never proven")
    calls()
    stand_in("systemctl")
    assert ask("arm", "60") == 0
    assert [call for call in calls() if call.startswith("systemctl")] == [
        f"systemctl --quiet is-active {TIMER}.timer",
        f"systemctl stop {TIMER}.timer",
    ]
    assert ask("restore") == 0
    assert rules(root) == "proven"


def test_nothing_is_changed_where_saving_fails(root: Path, calls: Calls) -> None:
    (root / "etc/ufw/user6.rules").unlink()
    assert ask("arm", "120") != 0
    assert ask("pending") == 1
    assert calls() == [], "no timer without a way back"
