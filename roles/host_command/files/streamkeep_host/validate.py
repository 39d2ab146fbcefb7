"""Ask a program whether it would take a file, before that file replaces the one in use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamkeep_host import settings
from streamkeep_host.programs import Failure, output, run

FAIL2BAN = Path("/etc/fail2ban")
SSH = Path("/etc/ssh")
SSHD = "/usr/sbin/sshd"
SSHD_DROP_IN = "00-streamkeep.conf"
SSHD_PROMISES = (
    "passwordauthentication no",
    "kbdinteractiveauthentication no",
    "pubkeyauthentication yes",
    "permitrootlogin no",
)
# An image's program reads, and can do nothing else.
CONTAINER = (
    *("docker", "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges"),
)

# Its temporary files, and the sockets that an nginx makes even when it is only asked.
NGINX_WRITES = ("--tmpfs", "/tmp", "--tmpfs", "/run/publish", "--tmpfs", "/run/play")  # noqa: S108  # the container's own


def dockerd(file: str) -> None:
    """Ask dockerd about a daemon.json."""
    if "--validate" in output("dockerd", "--help"):
        run("dockerd", "--validate", "--config-file", file)
        return
    # Debian 12's, 20.10, can't be asked. But it reads the whole configuration before it looks whether another one runs,
    # and then goes away: here that other one is this process.
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as pid:
        pid.write(f"{os.getpid()}\n")
        pid.flush()
        ask = ("timeout", "20", "dockerd", "--config-file", file, "--pidfile", pid.name)
        done = run(*ask, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode == 0 or "pid file found" not in done.stdout:
        raise Failure(done.stdout.rstrip() + ("" if done.returncode else " (it started)"))


def drop_in(file: str, unit: str) -> None:
    """Ask systemd about what we add to UNIT: in the place of the file that is there, and with that unit."""
    with _scratch() as folder:
        place = folder / f"{unit}.d"
        place.mkdir()
        shutil.copyfile(file, place / "streamkeep.conf")
        units = {"SYSTEMD_UNIT_PATH": f"{folder}:{os.environ.get('SYSTEMD_UNIT_PATH', '')}"}
        run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit, env=os.environ | units)


def fail2ban(file: str, place: str) -> None:
    """Ask fail2ban about a file for PLACE, which is relative to /etc/fail2ban."""
    with _scratch() as folder:
        copy = folder / "fail2ban"
        shutil.copytree(FAIL2BAN, copy)
        shutil.copyfile(file, copy / place)
        # An action is read only where a jail uses it, and ours comes before the jails that will.
        if place.startswith("action.d/"):
            jail = f"[sshd]\nenabled = true\nbackend = systemd\naction = {Path(place).stem}[name=test]\n"
            (copy / "jail.d/zz-test.local").write_text(jail, encoding="utf-8")
        run("fail2ban-client", "-c", str(copy), "--test", stdout=subprocess.DEVNULL)
        # The test reads filters, but compiles none.
        if place.startswith("filter.d/"):
            run("fail2ban-regex", "--config", str(copy), "a line", str(copy / place), stdout=subprocess.DEVNULL)


def nginx(image: str, tls_directory: str, file: str) -> None:
    """Ask the nginx of an image about a configuration."""
    test = "cat >/tmp/nginx.conf && nginx -t -q -c /tmp/nginx.conf"
    tls = f"{tls_directory}:/etc/streamkeep-tls:ro"
    with Path(file).open(encoding="utf-8") as content:
        run(
            *(*CONTAINER, "--interactive", "--volume", tls, *NGINX_WRITES),
            *("--entrypoint", "sh", image, "-euc", test),
            stdin=content,
        )


def orchestrator(image: str, secrets_directory: str, file: str) -> None:
    """Ask the orchestrator of an image whether it would start with these settings."""
    secrets = [
        word
        for secret in sorted(Path(secrets_directory).iterdir())
        for word in ("--volume", f"{secret}:/run/secrets/{secret.name}:ro")
    ]
    run(*CONTAINER, "--env-file", file, *secrets, image, "check")


def certificates_settings(file: str) -> None:
    """Ask the commands of `certificate` about their settings."""
    settings.certificates(Path(file))


def renewal_settings(file: str) -> None:
    """Ask the commands of `acme`, and `certificate check`, about their settings."""
    settings.renewal(Path(file))


def sshd(file: str, user: str, group: str) -> None:
    """Ask sshd about our drop-in, beside all else that is configured, and whether our promises then hold for USER.

    They are kept where other files, or a Match block, say nothing else; GROUP alone may log in.
    """
    with _scratch() as folder:
        drop_ins = folder / "sshd_config.d"
        drop_ins.mkdir()
        for other in (SSH / "sshd_config.d").glob("*.conf"):
            shutil.copyfile(other, drop_ins / other.name)
        shutil.copyfile(file, drop_ins / SSHD_DROP_IN)
        written = (SSH / "sshd_config").read_text(encoding="utf-8", errors="surrogateescape")
        moved = re.sub(r"^(Include +)(?:/etc/ssh/)?sshd_config\.d/", rf"\g<1>{drop_ins}/", written, flags=re.M)
        configuration = folder / "sshd_config"
        configuration.write_text(moved, encoding="utf-8", errors="surrogateescape")
        who = f"user={user},host=localhost,addr=127.0.0.1"
        effective = output(SSHD, "-T", "-C", who, "-f", str(configuration)).splitlines()
    for promise in (*SSHD_PROMISES, f"allowgroups {group}"):
        if promise not in effective:
            raise Failure(
                f"'{promise}' would not be in effect for {user}: look for another value in /etc/ssh/sshd_config (above"
                " its Include line, or in a Match block) and take it out."
            )


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="streamkeep-") as folder:
        yield Path(folder)


COMMANDS = {
    "certificates-settings": certificates_settings,
    "dockerd": dockerd,
    "drop-in": drop_in,
    "fail2ban": fail2ban,
    "nginx": nginx,
    "orchestrator": orchestrator,
    "renewal-settings": renewal_settings,
    "sshd": sshd,
}
