"""Pack a Docker build context on the controller, byte for byte the same for the same input.

The digest of what went in becomes the image's tag, so that an unchanged input builds nothing.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

LEFT_OUT = ("tests", "__pycache__", "*.pyc", ".*_cache", ".hypothesis", ".coverage", "README.md", "*.egg-info")


def context_files(root: Path, left_out: tuple[str, ...] = LEFT_OUT) -> list[tuple[str, Path]]:
    """Return (name in the archive, file) of all files under *root*, sorted by name, without *left_out* patterns."""
    found = []
    for path in root.rglob("*"):
        name = path.relative_to(root)
        if path.is_file() and not any(fnmatch(part, pattern) for part in name.parts for pattern in left_out):
            found.append((name.as_posix(), path))
    return sorted(found)


def digest_of(files: list[tuple[str, Path]]) -> str:
    """Return the SHA-256 (hex) over names, executable bits and contents of *files*."""
    total = hashlib.sha256()
    for name, path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{name}\0{path.stat().st_mode & 0o111:o}\0{content}\n".encode())
    return total.hexdigest()


def pack(files: list[tuple[str, Path]], archive: Path) -> None:
    """Write *files* to the tar *archive* with owners, times and modes that do not depend on this machine."""
    with tarfile.open(archive, "w") as tar:
        for name, path in files:
            data = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            tar.addfile(entry, io.BytesIO(data))


class ActionModule(ActionBase):
    """Arguments: *source* (folder), *archive* (tar to write; optional), *extra* ({name in context: folder}).

    Returns *digest*: of *source* alone, because what *extra* holds is named by lock files in *source*.
    """

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Compute the digest and, where *archive* is given, pack the context."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        source = Path(self._task.args["source"])
        if not (source / "Dockerfile").is_file():
            raise AnsibleActionFail(f"{source} has no Dockerfile: name a folder under images/ or app/.")
        files = context_files(source)
        result.update(changed=False, digest=digest_of(files))
        if archive := self._task.args.get("archive"):
            for name, folder in self._task.args.get("extra", {}).items():
                extra = context_files(Path(folder), left_out=())
                files += [(f"{name}/{inner}", path) for inner, path in extra]
            Path(archive).parent.mkdir(parents=True, exist_ok=True)
            pack(files, Path(archive))
        return result
