"""Judge a host as it is, all of it at once, before anything is touched; nothing is changed here.

Every obstacle is one sentence that says what stands in the way and what to do about it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule

ROOT = Path("/")
ARCHITECTURE = "amd64"  # the only one that was tried
IDS = 1_000_000 + 65_536  # docker_userns_base, and what containers get from there on
SHOWN = 5  # names in a sentence
PROJECT = "streamkeep"  # compose.yaml's name, which all containers of ours carry as a label
# What brings an engine and does not go with Debian's.
ENGINE_PACKAGES = (
    "containerd.io",
    "docker-buildx-plugin",
    "docker-ce",
    "docker-ce-cli",
    "docker-ce-rootless-extras",
    "docker-compose-plugin",
    "docker-engine",
    "moby-engine",
)
DAEMON = "etc/docker/daemon.json"
# The role firewall writes this before the role docker writes DAEMON for the first time.
DAEMON_MARK = "etc/systemd/system/streamkeep-firewall.service"
# systemd-sysctl's folders; of files by the same name the first counts (sysctl.d(5)).
SYSCTL_FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d")
# Read after those, by `sysctl --system` and by ufw whenever it starts.
SYSCTL_LATER = ("etc/sysctl.conf", "etc/ufw/sysctl.conf")
FORWARDING = ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv4.conf.*.forwarding")
APT_LOCKS = ("var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock", "var/lib/apt/lists/lock", "var/cache/apt/archives/lock")
REPLACE = "streamkeep_replace_docker: true"

Ask = Callable[..., str]  # runs a program of the host: what it prints, or nothing where it fails
Problems = Iterable[str]


def named(names: Iterable[str]) -> str:
    """Say *names*, which others have chosen: neither too many nor too long."""
    found = sorted({re.sub(r"[^!-~]", "?", name)[:64] for name in names})
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more


def text(path: Path) -> str:
    """Return what a file holds; nothing where there is none."""
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def architecture(ask: Ask) -> Problems:
    """Judge for which processor the host's packages are."""
    found = ask("dpkg", "--print-architecture").strip()
    if found != ARCHITECTURE:
        yield f"The host's packages are for {found}, which nobody has tried: use a host of Debian's {ARCHITECTURE}."


def nesting(root: Path, ask: Ask) -> Problems:
    """Judge whether a host that is a container itself lets containers run in it."""
    kind = ask("systemd-detect-virt", "--container").strip()
    if kind in ("", "none"):
        return
    lacks = []
    tried = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc", "echo", "yes")
    if ask(*tried).strip() != "yes":
        lacks.append("user namespaces with a /proc of their own (nesting)")
    spans = [line.split() for line in text(root / "proc/self/uid_map").splitlines()]
    if max((int(first) + int(count) for first, _, count in spans), default=0) < IDS:
        lacks.append(f"user ids up to {IDS - 1} (its uid_map)")
    data = next(path for path in (root / "var/lib/docker", root / "var/lib") if path.is_dir())
    if ask("stat", "--file-system", "--format=%T", str(data)).strip() == "overlayfs":
        lacks.append("a volume at /var/lib/docker, because overlayfs does not lie on overlayfs")
    if lacks:
        yield f"The host is a container ({kind}) and lacks {', and '.join(lacks)}: give it that, or use a machine."


class Listener(NamedTuple):
    """Who listens on a port of the host."""

    port: int
    program: str
    pid: int


def listeners(shown: str) -> Iterable[Listener]:
    """Return who keeps TCP ports from being published by IPv4, as `ss -Hltnp` shows it."""
    for line in shown.splitlines():
        address, _, port = line.split()[3].rpartition(":")
        # [::] is IPv6 alone, and * is both.
        if not address.startswith("[") or address.startswith("[::ffff:"):
            holder = re.search(r'users:\(\("(.+?)",pid=([0-9]+)', line)
            yield Listener(int(port), holder[1] if holder else "", int(holder[2]) if holder else 0)


def unit(listener: Listener, ask: Ask, root: Path = ROOT) -> str:
    """Return what systemd calls it, or nothing."""
    if listener.pid == 1:
        sockets = ask("systemctl", "list-sockets", "--no-legend", "--plain", "--full")
        found = re.search(rf":{listener.port}\s+(\S+\.socket)", sockets)
    else:
        found = re.search(r"([^/\n]+\.service)$", text(root / f"proc/{listener.pid}/cgroup"), re.M)
    return found[1] if found else ""


def strangers(port: int, ask: Ask) -> list[str] | None:
    """Return which containers that publish *port* are not ours; None where none does."""
    shown = '{{.Names}} {{.Label "com.docker.compose.project"}}'
    lines = ask("docker", "ps", "--filter", f"publish={port}", "--format", shown).splitlines()
    found = [line.partition(" ") for line in lines]
    return [name for name, _, project in found if project != PROJECT] if found else None


def podman_container(path: Path) -> str:
    """Return which container a process minds for podman, by its command line; nothing for all others."""
    words = text(path).split("\0")
    return words[words.index("-n") + 1] if Path(words[0]).name == "conmon" and "-n" in words[:-1] else ""


def ports(wanted: Iterable[int], ask: Ask, root: Path = ROOT) -> Problems:
    """Judge whether the ports that are to be published are free, or ours."""
    held: dict[str, set[int]] = {}
    for listener in listeners(ask("ss", "-Hltnp")):
        if listener.port not in wanted:
            continue
        containers = strangers(listener.port, ask) if listener.program in ("dockerd", "docker-proxy") else None
        if name := podman_container(root / f"proc/{listener.pid}/cmdline"):
            containers = [name]
        if containers is not None:
            who = f"the container {named(containers)} has: stop it" if containers else ""
        elif service := unit(listener, ask, root):
            who = f"{named([listener.program])} has: run systemctl disable --now {named([service])}"
        elif listener.program:
            who = f"{named([listener.program])} (process {listener.pid}) has: end it"
        else:
            who = "somebody has whom ss can't name: end that"
        if who:
            held.setdefault(who, set()).add(listener.port)
    for who, numbers in sorted(held.items()):
        said = " and ".join(f"port {number}" for number in sorted(numbers))
        yield f"Streamkeep publishes {said}, which {who}, or give it other ports."


def packages(ask: Ask) -> list[str]:
    """Return which packages of another engine are installed."""
    shown = ask("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *ENGINE_PACKAGES)
    return [name for name, _, status in (line.partition(" ") for line in shown.splitlines()) if status == "installed"]


def configuration(root: Path) -> Mapping[str, Any] | None:
    """Return the engine's settings; None for those that nobody can read."""
    try:
        found = json.loads(text(root / DAEMON) or "{}")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def containers(data: Path, ask: Ask) -> list[str]:
    """Return the containers of an engine without user namespaces, whether it answers or not."""
    found = ask("docker", "ps", "--all", "--format", "{{.Names}}").split()
    for path in (data / "containers").glob("*/config.v2.json"):
        try:
            found.append(str(json.loads(text(path))["Name"]).removeprefix("/"))
        except (ValueError, KeyError, TypeError):
            found.append(path.parent.name[:12])
    return found


def volumes(data: Path, ask: Ask) -> list[str]:
    """Return its volumes; those without a name by the beginning of their number."""
    found = ask("docker", "volume", "ls", "--quiet").split()
    found += [path.name for path in (data / "volumes").glob("*") if path.is_dir()]
    return [name[:12] if re.fullmatch("[0-9a-f]{64}", name) else name for name in found]


def ours(root: Path) -> bool:
    """Tell whether the engine is Streamkeep's; what stands in its other folders has been out of sight since."""
    return (configuration(root) or {}).get("userns-remap") == "dockremap" and (root / DAEMON_MARK).exists()


def engine(root: Path, ask: Ask) -> Problems:
    """Judge whether containers run here, or an engine, that are somebody else's."""
    if others := packages(ask):
        yield (
            f"{named(others)} bring another engine than Debian's, which Streamkeep uses: apt-get remove "
            f"{' '.join(others)}, or write {REPLACE}, by which the deployment removes them."
        )
    if ours(root):
        return
    daemon = configuration(root)
    if daemon is None or daemon:
        said = f"sets {named(daemon)}" if daemon else "is no JSON object"
        yield f"/{DAEMON} is not Streamkeep's and {said}: move it away, or write {REPLACE}, by which ours replaces it."
    data = root / str((daemon or {}).get("data-root", "/var/lib/docker")).lstrip("/")
    here = [("containers", containers(data, ask)), ("volumes", volumes(data, ask))]
    if said := " and the ".join(f"{what} {named(names)}" for what, names in here if names):
        yield (
            f"Docker has the {said}, which nobody would see any longer, because Streamkeep's engine uses "
            f"user namespaces: move them to another host, or write {REPLACE}, which leaves them behind on the disk."
        )
    if names := [name for path in (root / "proc").glob("[0-9]*/cmdline") if (name := podman_container(path))]:
        yield (
            f"podman runs the containers {named(names)}, which Streamkeep's firewall would cut off from outside: move "
            f"them to another host, or write {REPLACE}, which leaves them so."
        )


def snap(root: Path) -> Problems:
    """Judge whether there is a second dockerd that apt knows nothing of."""
    if (root / "snap/docker").exists():
        yield "The snap docker brings another engine than Debian's, which Streamkeep uses: snap remove docker."


def nftables(ask: Ask) -> Problems:
    """Judge whether somebody flushes all rules at boot, ours among them."""
    if ask("systemctl", "is-enabled", "nftables.service").strip() in ("enabled", "enabled-runtime"):
        # Not `disable --now`: the unit flushes the rules of all when it stops.
        yield (
            "nftables.service is enabled, and flushes at boot and at every restart the rules of all, Streamkeep's wall "
            "among them: add what you need of /etc/nftables.conf to ufw, and run systemctl disable nftables."
        )


def sysctl_files(root: Path) -> list[Path]:
    """Return the files of kernel settings in the order in which they are read."""
    found = {path.name: path for folder in reversed(SYSCTL_FOLDERS) for path in (root / folder).glob("*.conf")}
    return [*(found[name] for name in sorted(found)), *(root / name for name in SYSCTL_LATER)]


def forwarding(root: Path) -> Problems:
    """Judge whether a file of kernel settings turns off what containers are reached by."""
    culprit = None
    for path in sysctl_files(root):
        for line in text(path).splitlines():
            key, _, value = line.partition("=")
            if key.strip().removeprefix("-").strip().replace("/", ".") in FORWARDING:
                culprit = path if value.strip() == "0" else None
    if culprit:
        yield (
            f"/{culprit.relative_to(root)} sets net.ipv4.ip_forward to 0, by which nobody reaches a container: "
            "take that line out."
        )


def ways_out(ask: Ask) -> Problems:
    """Judge whether packets may come by another way than that by which they are answered."""
    routes = ask("ip", "-4", "-oneline", "route", "show", "table", "all").splitlines()
    ways = {way for line in routes if line.startswith("default ") for way in re.findall(r" dev (\S+)", line)}
    if len(ways) > 1:
        yield (
            f"The host has several ways out ({named(ways)}), and what comes by another than its answer takes would be "
            "dropped, ssh among it: write base_rp_filter: 2."
        )


def lock_holder(path: Path) -> int | None:
    """Return the process that holds a lock of apt's; None where nobody does."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack("hhqqi", fcntl.fcntl(file, fcntl.F_GETLK, asked))
    finally:
        os.close(file)
    return None if kind == fcntl.F_UNLCK else int(pid)


def apt(root: Path, seconds: float) -> Problems:
    """Judge whether apt gets free within *seconds*."""
    end = time.monotonic() + seconds
    while holders := [pid for lock in APT_LOCKS if (pid := lock_holder(root / lock)) is not None]:
        if time.monotonic() >= end:
            program = named([text(ROOT / f"proc/{holders[0]}/comm").strip() or "somebody"])
            yield (
                f"apt has been locked for {seconds:.0f} s by {program} (process {holders[0]}): wait until it has ended,"
                " or see what it waits for, and deploy again."
            )
            return
        time.sleep(0.5)


def main() -> None:
    """Run as a module."""
    module = AnsibleModule(
        {
            "ports": {"type": "list", "elements": "int", "required": True},
            "replace_docker": {"type": "bool", "required": True},
            "rp_filter": {"type": "int", "required": True},
            "apt_seconds": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8"}

    def ask(*words: str) -> str:
        # Without these nothing is known; what the others say when they fail is an answer.
        needed = words[0] in ("dpkg", "ip", "ss")
        program = module.get_bin_path(words[0], required=needed)
        return str(module.run_command([program, *words[1:]], check_rc=needed)[1]) if program else ""

    problems = [*architecture(ask), *nesting(ROOT, ask), *ports(module.params["ports"], ask), *snap(ROOT)]
    if not module.params["replace_docker"]:
        problems += engine(ROOT, ask)
    if module.params["rp_filter"] == 1:
        problems += ways_out(ask)
    problems += [*nftables(ask), *forwarding(ROOT)]
    problems = problems or list(apt(ROOT, module.params["apt_seconds"]))  # the only one to wait for
    if problems:
        module.fail_json("\n".join(problems))
    # What makes room, once the operator has said so.
    running = ask("docker", "ps", "--quiet").split() if module.params["replace_docker"] and not ours(ROOT) else []
    module.exit_json(changed=False, engine_packages=packages(ask), engine_containers=running)


if __name__ == "__main__":
    main()
