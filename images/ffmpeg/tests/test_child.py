"""What is kept of a program's complaints."""

from __future__ import annotations

import subprocess
import sys

from supervisor.child import LAST_WORDS, LONGEST_LINE, last_words


def complain(script: str) -> list[str]:
    return last_words(subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True))


def test_only_the_last_complaints_are_kept() -> None:
    said = complain("import sys; [print(n, file=sys.stderr) for n in range(10000)]")
    assert said == ["9997", "9998", "9999"]


def test_a_line_without_end_is_cut() -> None:
    said = complain("import sys; sys.stderr.write('x' * 1000000)")
    assert len(said) == LAST_WORDS
    assert all(len(line) <= LONGEST_LINE for line in said)
