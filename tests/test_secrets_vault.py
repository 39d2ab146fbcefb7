"""Generated secrets: strong, kept, vaulted, and never shown. Real ansible-playbook runs on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail
from vaulted_secrets import CLASSES, GENERATORS, completed, password

ROOT = Path(__file__).parents[1]
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - vaulted_secrets:
        path: "{{ inventory_dir }}/secrets.yml"
        password_file: "{{ inventory_dir }}/outside/password"
    - ansible.builtin.copy:
        content: "{{ secrets_jwt_secret }} {{ secrets_admin_password }}"
        dest: "{{ inventory_dir }}/seen"
        mode: "0600"
      check_mode: false
      no_log: true
      diff: false
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    (tmp_path / "hosts.yml").write_text("all: {hosts: {here: {ansible_connection: local}}}\n")
    (tmp_path / "play.yml").write_text(PLAY)
    return tmp_path


def play(environment: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "play.yml", *arguments],
        cwd=environment,
        env=os.environ
        | {
            "ANSIBLE_ACTION_PLUGINS": str(ROOT / "roles/secrets/action_plugins"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        },
        capture_output=True,
        text=True,
    )


def test_passwords_are_long_and_have_all_classes() -> None:
    made = [password() for _ in range(2000)]
    assert len(set(made)) == len(made)
    assert {len(value) for value in made} == {28}
    assert all(any(c in kind for c in value) for value in made for kind in CLASSES)
    assert len(bytes.fromhex(GENERATORS["jwt_secret"]())) == 32


def test_secrets_are_made_once_vaulted_and_never_shown(environment: Path) -> None:
    first = play(environment, "-vvv", "--diff")
    assert first.returncode == 0, first.stdout
    seen = (environment / "seen").read_text()
    vaulted, opener = environment / "secrets.yml", environment / "outside/password"
    assert vaulted.read_text().startswith("$ANSIBLE_VAULT;")
    for file in (vaulted, opener):
        assert file.stat().st_mode & 0o777 == 0o600
    assert opener.parent.stat().st_mode & 0o777 == 0o700
    for secret in [*seen.split(), opener.read_text().strip()]:
        assert secret not in first.stdout + first.stderr
    before = vaulted.read_bytes()
    second = play(environment)
    assert "changed=0" in second.stdout
    assert (environment / "seen").read_text() == seen
    assert vaulted.read_bytes() == before


def test_a_dry_run_writes_nothing(environment: Path) -> None:
    assert play(environment, "--check").returncode == 0
    assert len((environment / "seen").read_text().split()[0]) == 64
    assert not (environment / "secrets.yml").exists()
    assert not (environment / "outside").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("rm outside/password", "the password that opens it is not"),
        ("printf wrong >outside/password", "does not open with"),
        ("chmod 0644 outside/password", "can be read by others"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_lost(environment: Path, spoil: str, said: str) -> None:
    play(environment)
    before = (environment / "secrets.yml").read_bytes()
    subprocess.run(["sh", "-c", spoil], cwd=environment, check=True)
    done = play(environment)
    assert done.returncode != 0
    assert (environment / "secrets.yml").read_bytes() == before
    assert said in " ".join((done.stdout + done.stderr).split())


def test_a_rotated_secret_is_new_and_the_former_one_is_kept_where_it_is_needed() -> None:
    first = completed({}, [])
    assert first["jwt_secret_previous"] == first["data_key_previous"] == ""
    assert completed(first, []) == first
    second = completed(first, ["jwt_secret", "data_key", "admin_password"])
    for name in ("jwt_secret", "data_key"):
        assert len(first[name]) == 64
        assert second[name] != first[name]
        assert second[f"{name}_previous"] == first[name]
    assert "admin_password_previous" not in second
    assert second["admin_password"] != first["admin_password"]
    assert second["metrics_password"] == first["metrics_password"]


def test_what_is_no_secret_is_not_rotated() -> None:
    with pytest.raises(AnsibleActionFail, match="jwt_secrett is no secret that can be rotated: jwt_secret, "):
        completed({}, ["jwt_secrett"])
