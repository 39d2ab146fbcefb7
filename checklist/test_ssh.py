"""Logging in: by key alone, for those who may, by algorithms of our choice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest
from controller import Controller
from outside import Outside, Site, patient
from testinfra.host import Host

DROP_IN = "/etc/ssh/sshd_config.d/00-streamkeep.conf"
VALIDATE = "streamkeep-host validate sshd"
# Said by the server to whoever asks: nothing that a quantum computer, or SHA-1, would open later.
KEX = {
    "bookworm": ["sntrup761x25519-sha512@openssh.com"],
    "trixie": ["mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com"],
}
EXTENSIONS = {"ext-info-s", "kex-strict-s-v00@openssh.com"}
HOST_KEYS = {"ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"}
CIPHERS = {
    "chacha20-poly1305@openssh.com",
    "aes256-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-gcm@openssh.com",
    "aes128-ctr",
}
MACS = {"hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "umac-128-etm@openssh.com"}

SSH = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes"


@pytest.fixture(scope="module")
def effective(host: Host, site: Site) -> dict[str, str]:
    """What is in effect for the user as whom the controller logs in, whatever file says it."""
    lines = host.check_output(f"/usr/sbin/sshd -T -C user={site.user},host=localhost,addr=127.0.0.1").splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("allowgroups", "streamkeep-ssh"),
        ("authenticationmethods", "publickey"),
        ("passwordauthentication", "no"),
        ("kbdinteractiveauthentication", "no"),
        ("permitrootlogin", "no"),
        ("permitemptypasswords", "no"),
        ("hostbasedauthentication", "no"),
        ("maxauthtries", "3"),
        ("logingracetime", "30"),
        ("maxstartups", "10:30:60"),
        ("loglevel", "VERBOSE"),
        ("disableforwarding", "yes"),
        ("allowtcpforwarding", "no"),
        ("allowagentforwarding", "no"),
        ("x11forwarding", "no"),
        ("permittunnel", "no"),
        ("banner", "/etc/issue.net"),
    ],
)
def test_the_setting_is_in_effect(effective: dict[str, str], setting: str, value: str) -> None:
    assert effective[setting] == value


def test_the_server_offers_our_algorithms_and_no_others(site: Site, outside: Outside, host: Host) -> None:
    said = outside.output(f"nmap -n -Pn -p 22 --script ssh2-enum-algos {site.address}")
    offered: dict[str, list[str]] = {}
    for line in said.splitlines():
        if group := re.match(r"\|\s+(\w+): \(\d+\)", line):
            offered[group[1]] = []
        elif offered and (name := re.match(r"\|_?\s{4,}(\S+)$", line)):
            offered[list(offered)[-1]].append(name[1])
    release = host.check_output(". /etc/os-release && echo $VERSION_CODENAME")
    assert [name for name in offered["kex_algorithms"] if name not in EXTENSIONS] == KEX[release]
    assert offered["server_host_key_algorithms"][0] == "ssh-ed25519"
    assert set(offered["server_host_key_algorithms"]) <= HOST_KEYS
    assert set(offered["encryption_algorithms"]) == CIPHERS
    assert set(offered["mac_algorithms"]) == MACS


def test_there_is_no_ecdsa_host_key(host: Host) -> None:
    assert host.file("/etc/ssh/ssh_host_ed25519_key").mode == 0o600
    assert not host.file("/etc/ssh/ssh_host_ecdsa_key").exists


def test_a_stranger_is_asked_for_a_key_and_told_whose_system_this_is(host: Host) -> None:
    """From the host itself, so that a penalty for failing hits nobody else."""
    asked = host.run(f"{SSH} -o PreferredAuthentications=none root@127.0.0.1 true || exit 1")
    assert asked.rc == 1
    assert "Permission denied (publickey)." in asked.stderr
    assert "This is a private system." in asked.stderr


@pytest.fixture
def stranger(host: Host, site: Site) -> Iterator[str]:
    """A user of the host who has the same key as the operator, and is not in the group."""
    name = "probe-stranger"
    host.check_output(f"useradd --create-home --shell /bin/bash {name}")
    host.check_output(f"cp --recursive ~{site.user}/.ssh /home/{name}/.ssh && chown -R {name}: /home/{name}/.ssh")
    yield name
    host.check_output(f"userdel --remove {name}")


@pytest.mark.destructive
def test_a_user_outside_the_group_is_refused_with_the_right_key(
    controller: Controller, host: Host, site: Site, stranger: str
) -> None:
    host.check_output(f"sudo -u {site.user} ssh-keygen -q -t ed25519 -N '' -f /tmp/probe-key")
    try:
        for user in (site.user, stranger):
            host.check_output(f"cat /tmp/probe-key.pub >>~{user}/.ssh/authorized_keys")
        log_in = f"{SSH} -i /tmp/probe-key"
        assert host.run(f"{log_in} {site.user}@127.0.0.1 true || exit 1").rc == 0
        assert host.run(f"{log_in} {stranger}@127.0.0.1 true || exit 1").rc == 1
        refused = host.check_output(f"journalctl --unit ssh --since -{patient(1):.0f}min --no-pager")
        assert f"User {stranger} from 127.0.0.1 not allowed because none of user's groups are listed" in refused
        host.check_output(f"gpasswd --add {stranger} streamkeep-ssh")
        assert host.run(f"{log_in} {stranger}@127.0.0.1 true || exit 1").rc == 0
        # Whom no setting names is taken out again.
        assert controller.run("--tags", "ssh").outcome("ssh : Remove other members of the ssh group") == "changed"
        assert host.check_output("getent group streamkeep-ssh").split(":")[3] == site.user
        assert host.run(f"{log_in} {stranger}@127.0.0.1 true || exit 1").rc == 1
    finally:
        drop = "\"\\#$(cut --delimiter=' ' --fields=2 /tmp/probe-key.pub)#d\""
        host.check_output(f"sed --in-place {drop} ~{site.user}/.ssh/authorized_keys")
        host.check_output("rm --force /tmp/probe-key /tmp/probe-key.pub")


@pytest.mark.destructive
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("NoSuchSetting yes", "Bad configuration option"),
        ("KexAlgorithms rot13", "Bad SSH2 KexAlgorithms"),
        ("PasswordAuthentication yes", "'passwordauthentication no' would not be in effect"),
        ("PermitRootLogin yes", "'permitrootlogin no' would not be in effect"),
    ],
)
def test_a_drop_in_that_breaks_a_promise_is_refused(host: Host, site: Site, line: str, said: str) -> None:
    ours = host.check_output(f"cat {DROP_IN}")
    host.run("rm --force /tmp/probe-drop-in")
    host.check_output(f"printf '%s\\n' '{line}' | cat - {DROP_IN} >/tmp/probe-drop-in")
    refused = host.run(f"{VALIDATE} /tmp/probe-drop-in {site.user} streamkeep-ssh")
    assert refused.rc != 0
    assert said in refused.stderr
    assert host.run(f"{VALIDATE} {DROP_IN} {site.user} streamkeep-ssh").rc == 0
    assert host.check_output(f"cat {DROP_IN}") == ours


@pytest.mark.destructive
def test_another_file_cannot_undo_it_unnoticed(host: Host, site: Site) -> None:
    """A Match block wins over ours: the next deployment refuses and says so."""
    other = "/etc/ssh/sshd_config.d/99-probe.conf"
    try:
        host.check_output(f"printf 'Match User {site.user}\\n  PermitRootLogin yes\\n' >{other}")
        refused = host.run(f"{VALIDATE} {DROP_IN} {site.user} streamkeep-ssh")
        assert refused.rc != 0
        assert "would not be in effect" in refused.stderr
    finally:
        host.check_output(f"rm {other}")
    assert host.run(f"{VALIDATE} {DROP_IN} {site.user} streamkeep-ssh").rc == 0


@pytest.fixture
def by_password(host: Host, site: Site, tmp_path: Path) -> Iterator[Path]:
    """A host whose ssh still takes passwords, and the settings of an operator who comes by one."""
    name, password, opened = "probe-operator", token_hex(16), "/etc/ssh/sshd_config.d/00-probe.conf"
    host.check_output(f"useradd --create-home --shell /bin/bash --groups streamkeep-ssh {name}")
    host.check_output(
        f"echo {name}:{password} | chpasswd && echo '{name} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{name}"
    )
    host.check_output(f"printf 'PasswordAuthentication yes\\nAuthenticationMethods any\\n' >{opened}")
    host.check_output("systemctl reload ssh")
    settings = tmp_path / "settings.json"
    login = {"ansible_user": name, "ansible_password": password, "streamkeep_ssh_users": [site.user]}
    settings.write_text(json.dumps(login), encoding="utf-8")
    settings.chmod(0o600)
    yield settings
    host.check_output(f"rm {opened} /etc/sudoers.d/{name} && systemctl reload ssh")
    host.run(f"pkill -KILL -u {name}")
    host.check_output(f"userdel --remove {name}")


@pytest.mark.slow
@pytest.mark.destructive
def test_who_comes_by_password_is_not_locked_out(
    controller: Controller, host: Host, site: Site, by_password: Path
) -> None:
    """sshd refuses a file of keys that others may write, though the controller's own key is in it."""
    home = "~probe-operator"
    host.check_output(f"cp --recursive ~{site.user}/.ssh {home}/ && chown -R probe-operator: {home}/.ssh")
    host.check_output(f"chmod o+w {home}/.ssh/authorized_keys")
    refused = controller.run("--tags", "ssh", "-e", f"@{by_password}")
    assert refused.refused("by key alone and could not come back")
    assert refused.changes == 0
    assert "Turn the host into" not in refused.output
    host.check_output(f"chmod o-w {home}/.ssh/authorized_keys")
    assert controller.run("--tags", "preflight", "-e", f"@{by_password}").succeeded
