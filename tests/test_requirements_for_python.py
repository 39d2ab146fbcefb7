"""A lock file is read for the image's Python: the controller's own decides nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from requirements_for_python import requirements_for_python

ROOT = Path(__file__).parents[1]
HERE = ".".join(str(number) for number in sys.version_info[:3])
IMAGES = "3.13.5"
LOCK = """\
# a comment
always==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via something
marked==2.0 ; {marker} \\
    --hash=sha256:cc
"""


def names(text: str) -> list[str]:
    return [line.partition("==")[0] for line in text.splitlines()]


@pytest.mark.parametrize(
    "marker",
    [
        "python_full_version < '3.9'",
        "python_version == '3.8' and sys_platform == 'linux'",
        "python_version < '3.10' or sys_platform == 'win32'",
        "platform_machine == 'x86_64' and python_full_version < '3.9.1'",
        "implementation_name == 'cpython' and python_version < '3.9'",
    ],
)
def test_a_marker_is_judged_for_the_python_that_is_asked_for(marker: str) -> None:
    # All of the markers are false for the Python that runs this.
    assert names(requirements_for_python(LOCK.format(marker=marker), "3.8.0")) == ["always", "marked"]
    assert names(requirements_for_python(LOCK.format(marker=marker), HERE)) == ["always"]


@pytest.mark.parametrize("marker", ["sys_platform == 'win32'", "implementation_name == 'pypy'", "extra == 'redis'"])
def test_what_linux_does_not_need_is_left_out(marker: str) -> None:
    assert names(requirements_for_python(LOCK.format(marker=marker), HERE)) == ["always"]


def test_hashes_stay_and_markers_go() -> None:
    assert requirements_for_python(LOCK.format(marker="python_version >= '3'"), IMAGES) == (
        "always==1.0 --hash=sha256:aa --hash=sha256:bb\nmarked==2.0 --hash=sha256:cc\n"
    )


@pytest.mark.parametrize("bad", ["name==1.0\n", "name==1.0 ; python_version ~ 3 --hash=sha256:aa\n"])
def test_what_is_not_locked_is_refused(bad: str) -> None:
    with pytest.raises(AnsibleFilterError):
        requirements_for_python(bad, IMAGES)


def test_our_own_lock_is_read_whole() -> None:
    lock = (ROOT / "app/requirements.lock").read_text(encoding="utf-8")
    entries = [line for line in lock.splitlines() if "==" in line]
    read = requirements_for_python(lock, IMAGES)
    assert len(read.splitlines()) == len(entries) > 20
    assert read.count("--hash=") == lock.count("--hash=")
