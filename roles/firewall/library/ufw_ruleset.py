"""Bring ufw to a set of rules: ours are those whose comment begins with "streamkeep"; all others stay and are told.

Rules are added before any is taken away and before the default closes, so that no packet of ours is refused in between.
A way back (streamkeep-host firewall-rollback) is armed before the first change; whoever calls has to disarm it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule

OURS = "streamkeep "
ROLLBACK = ("/usr/local/sbin/streamkeep-host", "firewall-rollback")
ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
FILES = {4: Path("/etc/ufw/user.rules"), 6: Path("/etc/ufw/user6.rules")}
DEFAULTS = Path("/etc/default/ufw")
POLICIES = {"INPUT": ("DROP", ["default", "deny", "incoming"]), "OUTPUT": ("ACCEPT", ["default", "allow", "outgoing"])}


class Rule(NamedTuple):
    """One rule of one address family, as ufw keeps it."""

    action: str
    protocol: str
    ports: str
    source: str
    comment: str
    rest: str = ""

    def __str__(self) -> str:
        """Say it as ufw's users do."""
        where = {"0.0.0.0/0": "anywhere", "::/0": "anywhere (v6)"}.get(self.source, self.source)
        note = f"# {self.comment}" if self.comment else ""
        return " ".join(f"{self.action} {self.protocol} {self.ports} from {where} {self.rest} {note}".split())

    def words(self) -> list[str]:
        """Return the rule as arguments of ufw, without its comment."""
        return [self.action, "proto", self.protocol, "from", self.source, "to", "any", "port", self.ports]


def _network(source: str) -> str:
    try:
        return str(ip_network(source))
    except ValueError:
        return source


def parse(text: str) -> list[Rule]:
    """Return the rules of a user.rules file, which ufw itself reads back from these comments."""
    rules = []
    for line in re.findall(r"^### tuple ### (.*)$", text, re.M):
        line, _, comment = line.partition(" comment=")
        action, protocol, ports, target, source_ports, source, *rest = line.split()
        # What we never write makes a rule somebody else's: another target, a source port, an interface, an application.
        if target in ANYWHERE.values() and source_ports == "any" and rest == ["in"]:
            rest = []
        else:
            rest = [f"({' '.join([target, source_ports, *rest])})"]
        rules.append(
            Rule(action, protocol, ports, _network(source), bytes.fromhex(comment).decode(errors="replace"), *rest)
        )
    return rules


def wanted(rules: Iterable[Mapping[str, Any]], families: Iterable[int]) -> set[Rule]:
    """Return the rules that the settings ask for; without sources a rule is for anybody, of every family."""
    found = set()
    for rule in rules:
        for source in rule["sources"] or [ANYWHERE[family] for family in families]:
            network = ip_network(source)
            if network.version in families:
                ports = ",".join(str(port) for port in rule["ports"])
                found.add(Rule(rule["action"], "tcp", ports, str(network), OURS + rule["name"]))
    return found


def families() -> list[int]:
    """Return the address families that ufw guards here."""
    six = "\nIPV6=yes" in DEFAULTS.read_text(encoding="utf-8") and Path("/proc/sys/net/ipv6").exists()
    return [4, 6] if six else [4]


def present() -> set[Rule]:
    """Return all rules that ufw has."""
    return {rule for family in families() for rule in parse(FILES[family].read_text(encoding="utf-8"))}


def ours(rules: Iterable[Rule]) -> set[Rule]:
    """Return those of *rules* that we made."""
    return {rule for rule in rules if rule.comment.startswith(OURS)}


def strangers_in_docker_user(module: AnsibleModule) -> list[str]:
    """Return the rules of DOCKER-USER that are neither ours, nor fail2ban's, nor Docker's own last one."""
    known = re.compile(r"-N |.* -j (STREAMKEEP-CONTAINERS|f2b-\S+)$|-A DOCKER-USER -j RETURN$")
    found = []
    for tool in ("iptables", "ip6tables"):
        lines = module.run_command([tool, "--wait", "--list-rules", "DOCKER-USER"])[1].splitlines()
        found += [f"{tool} {line}" for line in lines if not known.match(line)]
    return found


def steps(module: AnsibleModule, goal: set[Rule]) -> list[list[str]]:
    """Return ufw's arguments from here to *goal*, but for the rules that have to go."""
    found = [[*rule.words(), "comment", rule.comment] for rule in sorted(goal - present())]
    policies = DEFAULTS.read_text(encoding="utf-8")
    for chain, (policy, words) in POLICIES.items():
        if f'\nDEFAULT_{chain}_POLICY="{policy}"' not in policies:
            found.append(words)
    if "Status: active" not in module.run_command(["ufw", "status"], check_rc=True)[1]:
        found.append(["--force", "enable"])
    return found


def main() -> None:
    """Run as a module."""
    rule = {
        "name": {"type": "str", "required": True},
        "action": {"type": "str", "choices": ["allow", "limit"], "required": True},
        "ports": {"type": "list", "elements": "int", "required": True},
        "sources": {"type": "list", "elements": "str", "required": True},
    }
    module = AnsibleModule(
        {
            "rules": {"type": "list", "elements": "dict", "options": rule, "required": True},
            "rollback_seconds": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8"}
    goal = wanted(module.params["rules"], families())
    before = present()
    todo = steps(module, goal)
    stale = ours(before) - goal
    # A run that was killed before it proved its rules left the way back armed: they are to be proven now.
    unproven = Path(ROLLBACK[0]).exists() and module.run_command([*ROLLBACK, "pending"])[0] == 0
    changed = bool(todo or stale or unproven)
    if changed and not module.check_mode:
        module.run_command([*ROLLBACK, "arm", str(module.params["rollback_seconds"])], check_rc=True)
        for words in todo:
            module.run_command(["ufw", *words], check_rc=True)
        for old in sorted(ours(present()) - goal):
            module.run_command(["ufw", "delete", *old.words()], check_rc=True)
        if ours(present()) != goal:
            module.fail_json("ufw does not hold the rules that it took: look at `ufw show added` on the host.")
    after = (before - stale) | goal if module.check_mode else present()
    for foreign in sorted(before - ours(before) & after):
        module.warn(f"ufw has a rule that is not Streamkeep's; it stays: {foreign}")
    for line in strangers_in_docker_user(module):
        module.warn(f"DOCKER-USER has a rule that is not Streamkeep's; it stays: {line}")
    shown = ["".join(f"{line}\n" for line in sorted(map(str, rules))) for rules in (before, after)]
    module.exit_json(changed=changed, diff={"before": shown[0], "after": shown[1]})


if __name__ == "__main__":
    main()
