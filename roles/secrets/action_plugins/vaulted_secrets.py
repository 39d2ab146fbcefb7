"""Keep an environment's secrets: generate what is missing, in an ansible-vault file beside the inventory.

People never type these. The file may be committed; the password that opens it lies outside the repository.
"""

from __future__ import annotations

import os
import secrets
import string
import tempfile
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.plugins.action import ActionBase

SPECIAL = "!#%+,-.:=?@_~"  # nothing that a shell, YAML or a URL reads in its own way
CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits, SPECIAL)


def password(length: int = 28) -> str:
    """Return a random password of *length* characters with all four classes (guide, section 1)."""
    while True:
        value = "".join(secrets.choice("".join(CLASSES)) for _ in range(length))
        if all(any(c in kind for c in value) for kind in CLASSES):
            return value


GENERATORS = {
    "jwt_secret": lambda: secrets.token_hex(32),  # 32 bytes: RFC 7518, section 3.2, for HS256
    "data_key": lambda: secrets.token_hex(32),
    "admin_password": password,
    "metrics_password": password,
    "grafana_admin_password": password,
}


# Where the former value of a secret is kept when it is rotated, so that what it signed holds until it expires, and what
# it sealed can be opened and sealed anew.
KEPT = {"jwt_secret": "jwt_secret_previous", "data_key": "data_key_previous"}


def completed(known: dict[str, str], rotate: list[str]) -> dict[str, str]:
    """Return *known* with what is missing generated, and those named in *rotate* replaced.

    Raises:
        AnsibleActionFail: *rotate* names something that is no secret of ours.
    """
    if unknown := sorted(set(rotate) - set(GENERATORS)):
        raise AnsibleActionFail(f"{', '.join(unknown)} is no secret that can be rotated: {', '.join(GENERATORS)} are.")
    made = {name: generate() for name, generate in GENERATORS.items() if not known.get(name) or name in rotate}
    kept = {KEPT[name]: known[name] for name in rotate if name in KEPT and known.get(name)}
    return dict.fromkeys(KEPT.values(), "") | known | made | kept


def write_private(path: Path, content: bytes) -> None:
    """Replace *path* with *content* in one step; nobody but its owner ever reads it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class Vault:
    """A vaulted file of secrets and the password file that opens it."""

    def __init__(self, path: Path, password_file: Path) -> None:
        self.path = path
        self.password_file = password_file

    def open(self, dry: bool) -> dict[str, str]:
        """Return what the file holds; nothing where neither it nor its password exists yet."""
        if not self.password_file.exists():
            if self.path.exists():
                raise AnsibleActionFail(
                    f"{self.path} is there, but the password that opens it is not: bring back {self.password_file}, "
                    "or remove the vaulted file to generate new secrets."
                )
            if not dry:
                write_private(self.password_file, (secrets.token_urlsafe(48) + "\n").encode())
            return {}
        if self.password_file.stat().st_mode & 0o077:
            raise AnsibleActionFail(f"{self.password_file} can be read by others: chmod 600 {self.password_file}")
        if not self.path.exists():
            return {}
        try:
            content = yaml.safe_load(self._library().decrypt(self.path.read_bytes()))
        except AnsibleError:
            raise AnsibleActionFail(
                f"{self.path} does not open with {self.password_file}: bring back the password it was made with."
            ) from None
        except yaml.YAMLError:
            content = None
        if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
            raise AnsibleActionFail(f"{self.path} does not hold names and texts: restore it from a backup.")
        return content

    def write(self, content: dict[str, str]) -> None:
        """Replace the file."""
        write_private(self.path, self._library().encrypt(yaml.safe_dump(content, sort_keys=True)))

    def _library(self) -> VaultLib:
        """Return ansible's vault with our password."""
        return VaultLib([("default", VaultSecret(self.password_file.read_bytes().strip()))])


class ActionModule(ActionBase):
    """Arguments: *path* (vaulted file), *password_file*, *rotate* (names). Returns facts ``secrets_<name>``."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Open the file, generate what is missing, and write it back, except in check mode."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        dry = bool(self._task.check_mode)
        vault = Vault(Path(self._task.args["path"]), Path(self._task.args["password_file"]).expanduser())
        known = vault.open(dry)
        wanted = completed(known, self._task.args.get("rotate") or [])
        if wanted != known and not dry:
            vault.write(wanted)
        facts = {f"secrets_{name}": value for name, value in wanted.items()}
        result.update(changed=wanted != known, ansible_facts=facts, _ansible_no_log=True)
        return result
