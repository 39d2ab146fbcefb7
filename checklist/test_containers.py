"""What the running containers may do; asked of them, not of the compose file."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

import pytest
from outside import Site, eventually, patient
from testinfra.host import Host

WRITES = {
    "python-orchestrator": {"/app/data", "/var/log/streamkeep"},
    "python-worker": {"/app/data"},
    "nginx-rtmp": {"/run/publish", "/run/play"},
    "ffmpeg": {"/var/hls", "/var/recordings"},
}
CONTAINERS = ["proxy", "python-orchestrator", "python-worker", "nginx-rtmp", "ffmpeg", "relay"]
each = pytest.mark.parametrize("container", CONTAINERS, indirect=True)


@pytest.fixture
def container(request: pytest.FixtureRequest, site: Site) -> str:
    """One of the containers that the host has."""
    name: str = request.param
    if name == "relay" and not site.relays:
        pytest.skip("not-testable: this host passes no streams on (streamkeep_relay)")
    return name


def inspected(host: Host, container: str) -> Any:
    return json.loads(host.check_output(f"docker inspect {container}"))[0]


@each
def test_it_runs_without_rights(host: Host, container: str) -> None:
    pid = inspected(host, container)["State"]["Pid"]
    status = dict(line.split(":\t", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines())
    assert int(status["Uid"].split()[0]) > 1_000_000
    assert int(status["CapEff"], 16) == 0
    assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert host.check_output(f"cat /proc/{pid}/uid_map").split() == ["0", "1000000", "65536"]


@each
def test_it_cannot_change_itself(host: Host, container: str) -> None:
    assert host.run(f"docker exec --user 0 {container} touch /probe /usr/probe /etc/probe").rc != 0
    assert host.run(f"docker exec {container} touch /tmp/probe").rc == 0
    root = inspected(host, container)["GraphDriver"]["Data"]["MergedDir"]
    assert host.check_output(f"find {root} -xdev -perm /6000 -type f") == ""
    assert host.check_output(f"find {root}/etc/passwd -type f")


@each
def test_it_shares_no_namespace_with_the_host(host: Host, container: str) -> None:
    """CIS 5.5, 5.10, 5.16 to 5.21, 5.31."""
    seen = inspected(host, container)
    for kind in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"):
        own, hosts = (host.check_output(f"readlink /proc/{pid}/ns/{kind}") for pid in (seen["State"]["Pid"], "self"))
        if kind != "cgroup" or host.file("/sys/fs/cgroup/cgroup.controllers").exists:
            assert own != hosts, kind
    assert not seen["HostConfig"]["Privileged"]
    assert not seen["HostConfig"]["CapAdd"]
    assert not seen["HostConfig"]["Devices"]
    assert not seen["HostConfig"]["DeviceCgroupRules"]
    assert not any("unconfined" in option for option in seen["HostConfig"]["SecurityOpt"])


@each
def test_apparmor_confines_it(host: Host, own_kernel: bool, container: str) -> None:
    """CIS 5.2."""
    if not own_kernel:
        pytest.skip("not-testable: a container cannot load profiles into the machine's kernel")
    pid = inspected(host, container)["State"]["Pid"]
    assert host.check_output(f"cat /proc/{pid}/attr/current") == "docker-default (enforce)"


@each
def test_it_writes_only_where_it_must(host: Host, container: str) -> None:
    pid = inspected(host, container)["State"]["Pid"]
    mounts = [line.split()[1:4] for line in host.check_output(f"cat /proc/{pid}/mounts").splitlines()]
    root = next(options for place, _, options in mounts if place == "/")
    assert "ro" in root.split(",")
    scratch = next(options.split(",") for place, _, options in mounts if place == "/tmp")
    assert {"nosuid", "nodev", "noexec"} <= set(scratch)
    assert any(option.startswith("size=") for option in scratch)
    written = {
        mount["Destination"] for mount in inspected(host, container)["Mounts"] if mount["RW"] and mount["Destination"]
    }
    assert written == WRITES.get(container, set())


@each
def test_the_kernel_holds_it_to_its_limits(host: Host, container: str) -> None:
    """What is in force inside, on cgroup v1 or v2, against what the engine was told."""
    seen = inspected(host, container)
    limits = host.check_output(f"cat /proc/{seen['State']['Pid']}/limits")
    assert re.search(r"^Max open files +16384 +16384 ", limits, re.M)
    assert re.search(r"^Max core file size +0 +0 ", limits, re.M)

    def inside(*names: str) -> str:
        tries = " || ".join(f"cat /sys/fs/cgroup/{name} 2>/dev/null" for name in names)
        return str(host.check_output(f"docker exec {container} sh -c '{tries}'"))

    memory = int(inside("memory.max", "memory/memory.limit_in_bytes"))
    assert 0 < seen["HostConfig"]["Memory"] - memory < 65536 or memory == seen["HostConfig"]["Memory"]
    assert int(inside("pids.max", "pids/pids.max")) == seen["HostConfig"]["PidsLimit"] > 0
    quota = int(inside("cpu.max", "cpu/cpu.cfs_quota_us").split()[0])
    assert quota == seen["HostConfig"]["NanoCpus"] / 10_000 > 0


@each
def test_it_always_comes_back_is_logged_in_measure_and_watched(host: Host, container: str) -> None:
    seen = inspected(host, container)
    assert seen["HostConfig"]["RestartPolicy"] == {"Name": "unless-stopped", "MaximumRetryCount": 0}
    assert seen["HostConfig"]["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}
    assert not any(mount["Source"].endswith("docker.sock") for mount in seen["Mounts"])
    assert seen["State"]["Health"]["Status"] == "healthy"
    assert seen["Config"]["Image"].startswith("streamkeep/")


@contextmanager
def halted(host: Host, *containers: str) -> Iterator[None]:
    """Let all that *containers* run stand still, but for the init that Docker watches."""
    pids: list[str] = []
    for container in containers:
        init = str(inspected(host, container)["State"]["Pid"])
        parents = dict(
            line.split() for line in host.check_output(f"docker top {container} -eo pid,ppid").splitlines()[1:]
        )
        family = {init}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        assert family > {init}, container
        pids += family - {init}
    host.check_output(f"kill -STOP {' '.join(pids)}")
    try:
        yield
    finally:
        host.run(f"kill -CONT {' '.join(pids)}")


def ill(host: Host, *containers: str) -> set[str]:
    """Ask of each what Docker asks every few seconds; return those whose healthcheck fails."""

    def is_ill(container: str) -> bool:
        kind, *words = inspected(host, container)["Config"]["Healthcheck"]["Test"]
        check = shlex.join(words if kind == "CMD" else ["sh", "-c", *words])
        return bool(host.run(f"docker exec {container} timeout {patient(10):.0f} {check}").rc != 0)

    with ThreadPoolExecutor(len(containers)) as threads:
        return {name for name, found in zip(containers, threads.map(is_ill, containers), strict=True) if found}


@pytest.mark.slow
@pytest.mark.destructive
def test_a_healthcheck_fails_when_the_function_does(host: Host) -> None:
    judged = ("proxy", "python-orchestrator", "nginx-rtmp")
    assert not ill(host, *judged)
    for halt, failing in (
        ("proxy", {"proxy"}),
        ("python-orchestrator", {"python-orchestrator"}),
        ("nginx-rtmp", {"nginx-rtmp", "proxy"}),  # which leads publishers nowhere then
    ):
        with halted(host, halt):
            assert ill(host, *judged) == failing
    eventually(lambda: not ill(host, *judged), 10, "all work again")


@pytest.mark.slow
@pytest.mark.destructive
def test_what_stands_still_is_unhealthy_until_it_goes_on(host: Host, site: Site) -> None:
    """Those that tell by a heartbeat are among them."""
    names = [name for name in CONTAINERS if name != "relay" or site.relays]

    def every(status: str) -> bool:
        return {inspected(host, name)["State"]["Health"]["Status"] for name in names} == {status}

    every_round = max(inspected(host, name)["Config"]["Healthcheck"]["Interval"] for name in names) / 1e9
    with halted(host, *names):
        eventually(lambda: every("unhealthy"), 20 + 4 * (every_round + 5), "all are unhealthy")
    eventually(lambda: every("healthy"), 2 * every_round + 20, "all are healthy")


@pytest.mark.slow
@pytest.mark.destructive
@pytest.mark.parametrize("name", ["python-worker", "nginx-rtmp"])
def test_what_dies_again_and_again_comes_back(host: Host, name: str) -> None:
    """Eight times within a minute, and without a hot loop: Docker waits longer each time.

    What nginx-rtmp leaves behind are its sockets, at which the next one could not listen.
    """
    killed = {0}  # a container that waits for its next try has 0

    def alive() -> set[int]:
        return {int(inspected(host, name)["State"]["Pid"])} - killed

    before, began = inspected(host, name)["RestartCount"], time.monotonic()
    for _ in range(8):
        found = eventually(alive, 60, "it runs again")
        host.check_output(f"kill -KILL {' '.join(map(str, found))}")
        killed.update(found)
    # Doubled each time from 0.1 s on: the seven waits between eight deaths alone are 12.7 s.
    assert 10 < time.monotonic() - began < patient(60)
    eventually(lambda: inspected(host, name)["State"]["Health"]["Status"] == "healthy", 120, "it works again")
    assert inspected(host, name)["RestartCount"] >= before + 8
    host.check_output(f"docker restart --time 5 {name}")  # which forgets how often it died
    eventually(lambda: inspected(host, name)["State"]["Health"]["Status"] == "healthy", 60, "it works")


@pytest.mark.slow
@pytest.mark.destructive
def test_what_was_stopped_stays_stopped_until_the_unit_starts_it(host: Host) -> None:
    state = "docker inspect --format '{{.State.Running}}' proxy python-worker"
    host.check_output("systemctl stop streamkeep")
    try:
        host.check_output("systemctl restart docker")
        assert host.check_output(state).split() == ["false", "false"]
    finally:
        host.check_output("systemctl start streamkeep")
    assert host.check_output(state).split() == ["true", "true"]


@pytest.mark.destructive
def test_the_app_refuses_to_start_on_defaults(host: Host) -> None:
    image = inspected(host, "python-orchestrator")["Config"]["Image"]
    run = "docker run --rm --read-only --tmpfs /tmp --tmpfs /app/data:uid=10001 --network none"
    good = {"JWT_SECRET": token_hex(16), "ADMIN_PASSWORD": "A-horse-4-a-stem", "DATA_KEY": token_hex(16)}
    bad = {
        "JWT_SECRET": ("changeme", "changeme" * 5, "y" * 64, token_hex(16)[1:]),
        "ADMIN_PASSWORD": ("changeme", "Changeme-1" * 2),
        "DATA_KEY": ("y" * 64, token_hex(16)[1:]),
    }
    for name, value in ((name, value) for name, values in bad.items() for value in values):
        settings = " ".join(f"--env {n}={v}" for n, v in (good | {name: value}).items())
        started = host.run(f"timeout {patient(20):.0f} {run} {settings} {image}")
        assert started.rc == 78
        assert name in started.stderr
        assert value not in started.stderr
