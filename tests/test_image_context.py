"""An image's tag names what went in: it changes with the input, and with nothing else."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from image_context import context_files, digest_of, pack


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for name, content in {
        "Dockerfile": "FROM x",
        "app/a.py": "1",
        "tests/t.py": "2",
        "app/__pycache__/a.pyc": "3",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_the_digest_follows_what_goes_in(source: Path) -> None:
    first = digest_of(context_files(source))
    (source / "app/a.py").write_text("other")
    assert digest_of(context_files(source)) != first
    (source / "app/a.py").write_text("1")
    (source / "app/a.py").chmod(0o755)
    assert digest_of(context_files(source)) != first
    (source / "app/a.py").chmod(0o644)
    (source / "app/a.py").rename(source / "app/b.py")
    assert digest_of(context_files(source)) != first


def test_the_digest_follows_nothing_else(source: Path) -> None:
    first = digest_of(context_files(source))
    os.utime(source / "app/a.py", (0, 0))
    (source / "tests/t.py").write_text("a better test")
    (source / "README.md").write_text("words")
    assert digest_of(context_files(source)) == first


def test_the_archive_is_the_same_each_time(source: Path, tmp_path: Path) -> None:
    pack(context_files(source), tmp_path / "one.tar")
    os.utime(source / "app/a.py", (0, 0))
    pack(context_files(source), tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert tar.getnames() == ["Dockerfile", "app/a.py"]
        assert {entry.uid for entry in tar} == {0}
