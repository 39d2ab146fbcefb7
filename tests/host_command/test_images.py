"""Which images nothing needs; with real ones it is tried by checklist/test_docker.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamkeep_host import cli
from streamkeep_host.images import needless

IMAGES = [
    ("streamkeep/proxy", "new", "1"),
    ("debian", "trixie", "2"),
    ("streamkeep/proxy", "used", "3"),
    ("streamkeep/proxy", "old", "4"),
    ("<none>", "<none>", "5"),
    ("<none>", "<none>", "6"),
    ("<none>", "<none>", "7"),
    ("streamkeep/app", "only", "8"),
    ("streamkeeper/app", "old", "9"),
]


def test_the_newest_the_used_and_what_is_not_ours_stay() -> None:
    assert needless(IMAGES, used={"3", "6"}, ours={"1", "3", "4", "5", "6", "8"}) == ["streamkeep/proxy:old", "5"]
    assert needless([], used=[], ours=[]) == []


@pytest.mark.parametrize("running", ["", "c1 c2"])
def test_they_are_removed_and_told(
    running: str, stand_in: Callable[..., Path], calls: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    listed = "\\n".join(map(" ".join, IMAGES))
    stand_in(
        "docker",
        f"""
        case "$*" in
            ps*) echo "{running}" ;;
            inspect*) printf '3\\n3\\n' ;;
            *--filter*) echo 5 ;;
            *--format*) printf '{listed}\\n' ;;
            "image rm 5") exit 1 ;;
        esac""",
    )
    assert cli.main(["images", "prune", "streamkeep=image"]) == 1, "the engine refuses what is in use, and that is told"
    removed = [call.split()[-1] for call in calls() if " rm " in call]
    assert removed == ([] if running else ["streamkeep/proxy:used"]) + ["streamkeep/proxy:old", "5"]
    assert "removed streamkeep/proxy:old\n" in capsys.readouterr().out
