"""What the processes of the media container print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PACKAGE = str(Path(__file__).parents[1])
WRITER = "import sys; from supervisor.log import note; [note('x', slug=sys.argv[1] * 40) for _ in range(2000)]"


def test_lines_of_several_processes_are_whole(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": PACKAGE, "PYTHONUNBUFFERED": "1"}  # as in the image
    with (tmp_path / "log").open("ab") as log:
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, letter], env=environment, stdout=log) for letter in "abcd"
        ]
        assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(lines) == 8000
