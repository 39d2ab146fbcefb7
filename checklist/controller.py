"""The controller's side: playbooks as an operator runs them, and what came of it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from outside import patient

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Run:
    """A playbook that has ended: its exit status and what it printed."""

    status: int
    output: str
    errors: str

    @property
    def said(self) -> str:
        """All that it printed, on one line: Ansible breaks lines where it likes."""
        return " ".join((self.output + self.errors).split())

    @property
    def changes(self) -> int:
        """How many tasks changed something."""
        return sum(int(n) for n in re.findall(r"changed=(\d+)", self.output.partition("PLAY RECAP")[2]))

    @property
    def succeeded(self) -> bool:
        """Whether it did what it was to do; prints why not, for pytest to show."""
        if self.status != 0:
            print(self.output[-3000:])
        return self.status == 0

    def refused(self, sentence: str) -> bool:
        """Tell whether it failed and said *sentence*."""
        return self.status != 0 and sentence in self.said

    def outcome(self, task: str) -> str:
        """Return what became of *task*, which names it to its closing bracket."""
        lines = iter(self.output.splitlines())
        assert any(line.startswith(f"TASK [{task}]") for line in lines), f"{task} did not come"
        return next(lines).partition(":")[0]


@dataclass(frozen=True)
class Controller:
    """Whoever runs the playbooks against *inventory*."""

    inventory: str

    def command(self, *arguments: str, playbook: str = "site") -> list[str]:
        """Return the plain command, which works in ROOT."""
        ansible = str(Path(sys.executable).parent / "ansible-playbook")
        return [ansible, "-i", self.inventory, f"playbooks/{playbook}.yml", *arguments]

    def run(self, *arguments: str, playbook: str = "site") -> Run:
        """Run *playbook* to its end."""
        done = subprocess.run(
            self.command(*arguments, playbook=playbook), cwd=ROOT, capture_output=True, text=True, timeout=patient(280)
        )
        return Run(done.returncode, done.stdout, done.stderr)
