"""The rules in front of the containers, in a network namespace of its own by the real iptables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FILES = Path(__file__).parents[2] / "roles/host_command/files"
TABLES = """*filter
:STREAMKEEP-CONTAINERS - [0:0]
-A STREAMKEEP-CONTAINERS -p tcp --dport {port} -j DROP
COMMIT
*mangle
:STREAMKEEP-CONTAINERS - [0:0]
:STREAMKEEP-HOST - [0:0]
COMMIT
*raw
:STREAMKEEP-LOOPBACK - [0:0]
COMMIT
"""
LOAD = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(FILES)!r})
from streamkeep_host import cli, firewall
firewall.RULES = Path(sys.argv[1])
sys.exit(cli.main(["firewall", "load"]))
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    for name, port in (("rules.v4", 80), ("rules.v6", 81)):
        (tmp_path / name).write_text(TABLES.format(port=port))
    (tmp_path / "load").write_text(LOAD)
    return tmp_path


def in_a_namespace(rules: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run shell commands where only they see the firewall; $LOAD loads it."""
    load = f"LOAD='{sys.executable} -I {rules / 'load'} {rules}'"
    words = ["unshare", "--user", "--map-root-user", "--net", "bash", "-euc", f"{load}; {script}"]
    return subprocess.run(words, capture_output=True, text=True)


def shown(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_each_family_is_loaded_and_jumped_to_once_however_often(rules: Path) -> None:
    seen = shown(
        in_a_namespace(
            rules,
            "$LOAD; $LOAD; for tool in iptables ip6tables; do"
            " $tool -S; $tool -t mangle -S | grep -e -j; $tool -t raw -S | grep -e -j; done",
        )
    )
    for port in (80, 81):
        assert f"-A STREAMKEEP-CONTAINERS -p tcp -m tcp --dport {port} -j DROP" in seen
    for jump, times in {
        "-A DOCKER-USER -j STREAMKEEP-CONTAINERS": 2,
        "-A FORWARD -j DOCKER-USER": 2,
        "-A FORWARD -j STREAMKEEP-CONTAINERS": 2,
        "-A INPUT -j STREAMKEEP-HOST": 2,
        "-A PREROUTING -j STREAMKEEP-LOOPBACK": 2,
    }.items():
        assert seen.count(jump) == times, jump


def test_bans_stay_above_and_what_others_wrote_below(rules: Path) -> None:
    seen = shown(
        in_a_namespace(
            rules,
            "for chain in DOCKER-USER f2b-one f2b-two; do iptables -N $chain; done;"
            " for rule in '-j f2b-one' '-s 192.0.2.1 -j f2b-two' '-s 192.0.2.2 -j ACCEPT' '-j RETURN';"
            " do iptables -A DOCKER-USER $rule; done; $LOAD; iptables -S DOCKER-USER",
        )
    )
    assert seen == [
        "-N DOCKER-USER",
        "-A DOCKER-USER -j f2b-one",
        "-A DOCKER-USER -s 192.0.2.1/32 -j f2b-two",
        "-A DOCKER-USER -j STREAMKEEP-CONTAINERS",
        "-A DOCKER-USER -s 192.0.2.2/32 -j ACCEPT",
        "-A DOCKER-USER -j RETURN",
    ]


def test_new_rules_replace_the_old_ones_and_bad_ones_do_not(rules: Path) -> None:
    (rules / "next").write_text(TABLES.format(port=8080))
    seen = shown(
        in_a_namespace(
            rules,
            f"$LOAD; cp {rules}/next {rules}/rules.v4; $LOAD; echo 'no rule' >>{rules}/rules.v4;"
            " ! $LOAD 2>/dev/null; iptables -S STREAMKEEP-CONTAINERS",
        )
    )
    assert seen == ["-N STREAMKEEP-CONTAINERS", "-A STREAMKEEP-CONTAINERS -p tcp -m tcp --dport 8080 -j DROP"]


def test_a_kernel_without_a_family_protects_the_other(rules: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ip6tables").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "bin/ip6tables").chmod(0o755)
    done = in_a_namespace(rules, f"export PATH={tmp_path}/bin:$PATH; $LOAD; iptables -S DOCKER-USER")
    assert "-A DOCKER-USER -j STREAMKEEP-CONTAINERS" in shown(done)
    assert "ip6tables has no tables on this kernel, nothing to protect" in done.stderr
