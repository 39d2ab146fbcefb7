"""Pack a folder of Python into one file that its interpreter runs, byte for byte the same for the same input.

One file is sent at once, compared at once, and replaced at once: no host ever runs half of one version and half of
another.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase


def packed(folder: Path, interpreter: str) -> bytes:
    """Return the application in *folder*, whose __main__.py *interpreter* (a path and one word of options) runs.

    What is in it is not compressed: another version of zlib would change the bytes, and people may read it as it is.
    """
    archive = io.BytesIO()
    archive.write(f"#!{interpreter}\n".encode())
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as content:
        for path in sorted(folder.rglob("*.py")):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())  # of 1980, whenever it was changed
            entry.create_system = 3  # Unix, whoever packs
            entry.external_attr = 0o100644 << 16
            content.writestr(entry, path.read_bytes())
    return archive.getvalue()


class LookupModule(LookupBase):
    """Terms: folders with a __main__.py; *interpreter*. Returns the file that each is packed into."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[str]:
        """Pack them into Ansible's own temporary folder, which goes with the run."""
        found = []
        for folder in map(Path, terms):
            if not (folder / "__main__.py").is_file():
                raise AnsibleLookupError(f"{folder} has no __main__.py to begin with.")
            application = packed(folder, options["interpreter"])
            path = Path(constants.DEFAULT_LOCAL_TMP) / f"{hashlib.sha256(application).hexdigest()}.pyz"
            # Several hosts ask at once.
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(application)
            Path(file.name).replace(path)
            found.append(str(path))
        return found
