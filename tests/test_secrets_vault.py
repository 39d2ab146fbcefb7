"""Generated secrets: strong, kept, vaulted, and never shown. Real ansible-playbook runs on this machine."""

from __future__ import annotations

import os
import re
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
        path: "{{ inventory_dir }}/{{ inventory_hostname }}/secrets.yml"
        password_file: "{{ inventory_dir }}/{{ inventory_hostname }}/outside/password"
    - ansible.builtin.copy:
        content: "{{ secrets_jwt_secret }} {{ secrets_admin_password }}"
        dest: "{{ inventory_dir }}/{{ inventory_hostname }}/seen"
        mode: "0600"
      check_mode: false
      no_log: true
      diff: false
"""


# What is done to secrets that were made, and what the next deployment says to that.
SPOILT = {
    "lost": ("rm outside/password", "the password that opens it is not"),
    "wrong": ("printf wrong >outside/password", "does not open with"),
    "open": ("chmod 0644 outside/password", "can be read by others"),
}


def play(folder: Path, hosts: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Keep the secrets of several *hosts* in one run, each in a folder of its own in *folder*."""
    for host in hosts:
        (folder / host).mkdir(exist_ok=True)
    (folder / "hosts.yml").write_text(
        "all: {vars: {ansible_connection: local}, hosts: {" + ", ".join(f"{host}: {{}}" for host in hosts) + "}}\n"
    )
    (folder / "play.yml").write_text(PLAY)
    return subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "play.yml", *arguments],
        cwd=folder,
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


def test_secrets_are_made_once_vaulted_never_shown_and_never_lost(tmp_path: Path) -> None:
    hosts = ["kept", *SPOILT]
    first = play(tmp_path, hosts, "-vvv", "--diff")
    assert first.returncode == 0, first.stdout
    for host in hosts:
        vaulted, opener = tmp_path / host / "secrets.yml", tmp_path / host / "outside/password"
        assert vaulted.read_text().startswith("$ANSIBLE_VAULT;")
        for file in (vaulted, opener):
            assert file.stat().st_mode & 0o777 == 0o600
        assert opener.parent.stat().st_mode & 0o777 == 0o700
        for secret in [*(tmp_path / host / "seen").read_text().split(), opener.read_text().strip()]:
            assert secret not in first.stdout + first.stderr
    seen = (tmp_path / "kept/seen").read_text()
    before = {host: (tmp_path / host / "secrets.yml").read_bytes() for host in hosts}
    for host, (spoil, _) in SPOILT.items():
        subprocess.run(["sh", "-c", spoil], cwd=tmp_path / host, check=True)
    second = play(tmp_path, hosts)
    shown = " ".join((second.stdout + second.stderr).split())
    assert {host: (tmp_path / host / "secrets.yml").read_bytes() for host in hosts} == before
    assert re.search(r"kept : ok=2 changed=0 unreachable=0 failed=0 ", shown), shown
    assert (tmp_path / "kept/seen").read_text() == seen
    for host, (_, said) in SPOILT.items():
        assert re.search(rf"{host} : ok=0 changed=0 unreachable=0 failed=1 ", shown), shown
        assert said in shown


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    assert play(tmp_path, ["dry"], "--check").returncode == 0
    assert len((tmp_path / "dry/seen").read_text().split()[0]) == 64
    assert not (tmp_path / "dry/secrets.yml").exists()
    assert not (tmp_path / "dry/outside").exists()


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
