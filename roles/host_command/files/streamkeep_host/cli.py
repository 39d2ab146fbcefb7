"""The command line: streamkeep-host GROUP COMMAND ARGUMENTS, each command a function of a module."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from streamkeep_host.programs import Failure

# Modules, imported when they are asked for alone: the firewall has to load whatever ails the others.
GROUPS = ("acme", "certificate", "firewall", "firewall-rollback", "images", "integrity", "validate")
MISUSED = 2

Commands = Mapping[str, Callable[..., None]]


def main(arguments: Sequence[str]) -> int:
    """Run a command, and return its exit status; what failed is told in one sentence."""
    group, name, *values = (*arguments, "", "")[: max(len(arguments), 2)]
    if group == "help":
        print(usage())
        return 0
    command = commands(group).get(name) if group in GROUPS else None
    if command is None or len(values) != len(inspect.signature(command).parameters):
        print(usage([group] if group in GROUPS else GROUPS), file=sys.stderr)
        return MISUSED
    try:
        command(*values)
    except Failure as failure:
        sentence, status = str(failure), failure.status
    except (OSError, ValueError, KeyError, TypeError) as error:
        sentence, status = f"{type(error).__name__}: {error}", 1
    else:
        return 0
    if sentence:
        print(f"streamkeep-host {group}: {sentence}", file=sys.stderr)
    return status


def commands(group: str) -> Commands:
    """Return the commands of a group by their names."""
    found: Commands = import_module(f"streamkeep_host.{group.replace('-', '_')}").COMMANDS
    return found


def usage(groups: Sequence[str] = GROUPS) -> str:
    """Return what can be asked for, from the functions themselves."""
    lines = ["Usage:"]
    for group in groups:
        for name, command in commands(group).items():
            values = [value.upper() for value in inspect.signature(command).parameters]
            what = (command.__doc__ or "").partition("\n")[0]
            lines.append(f"  {' '.join(['streamkeep-host', group, name, *values])}\n      {what}")
    return "\n".join(lines)
