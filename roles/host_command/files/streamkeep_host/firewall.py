"""Load the rules that stand in front of every container.

Each table is replaced in one step, so that no packet meets a half-loaded set; DOCKER-USER itself is only added to,
because fail2ban and the operator keep rules there too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from streamkeep_host.programs import output, run

RULES = Path("/etc/streamkeep/firewall")
FAMILIES = {"iptables": "rules.v4", "ip6tables": "rules.v6"}
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def load() -> None:
    """Load the rules of both families, and let what leads to containers pass through them."""
    for tool, rules in FAMILIES.items():
        _load(tool, RULES / rules)


def _load(tool: str, rules: Path) -> None:
    # A kernel without this family has no packets of it either.
    if not _succeeds(tool, "--list-rules"):
        print(f"{tool} has no tables on this kernel, nothing to protect", file=sys.stderr)
        return
    run(f"{tool}-restore", "--wait", "--noflush", str(rules))
    _jump(tool, "raw", "PREROUTING", "STREAMKEEP-LOOPBACK")
    _jump(tool, "mangle", "FORWARD", "STREAMKEEP-CONTAINERS")
    _jump(tool, "mangle", "INPUT", "STREAMKEEP-HOST")
    if not _succeeds(tool, "--list-rules", "DOCKER-USER"):
        run(tool, "--wait", "--new-chain", "DOCKER-USER")
    # fail2ban's bans come first: what follows lets established connections pass. The first line is the chain itself.
    listed = output(tool, "--wait", "--list-rules", "DOCKER-USER").splitlines()
    bans = max((number for number, rule in enumerate(listed) if "-j f2b-" in rule), default=0)
    _jump(tool, "filter", "DOCKER-USER", "STREAMKEEP-CONTAINERS", bans)
    # Docker moves this jump to the top when it starts; until then it is ours.
    _jump(tool, "filter", "FORWARD", "DOCKER-USER")


def _succeeds(tool: str, *words: str) -> bool:
    return run(tool, "--wait", *words, check=False, **SILENT).returncode == 0


def _jump(tool: str, table: str, chain: str, target: str, skip: int = 0) -> None:
    """Make *chain* begin with a jump to *target*, below the first *skip* rules, unless it has that jump already."""
    if not _succeeds(tool, "--table", table, "--check", chain, "--jump", target):
        run(tool, "--wait", "--table", table, "--insert", chain, str(skip + 1), "--jump", target)


COMMANDS = {"load": load}
