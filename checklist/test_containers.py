"""What the running containers may do; asked of them, not of the compose file."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

CONTAINERS = ["proxy", "python-orchestrator", "python-worker", "nginx-rtmp", "ffmpeg"]


def inspected(host: Host, container: str) -> Any:
    return json.loads(host.check_output(f"docker inspect {container}"))[0]


@pytest.mark.parametrize("container", CONTAINERS)
def test_it_runs_without_rights(host: Host, container: str) -> None:
    pid = inspected(host, container)["State"]["Pid"]
    status = dict(line.split(":\t", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines())
    assert int(status["Uid"].split()[0]) > 1_000_000
    assert int(status["CapEff"], 16) == 0
    assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert host.check_output(f"cat /proc/{pid}/uid_map").split() == ["0", "1000000", "65536"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_it_cannot_change_itself(host: Host, container: str) -> None:
    assert host.run(f"docker exec --user 0 {container} touch /probe /usr/probe /etc/probe").rc != 0
    assert host.run(f"docker exec {container} touch /tmp/probe").rc == 0
    root = inspected(host, container)["GraphDriver"]["Data"]["MergedDir"]
    assert host.check_output(f"find {root} -xdev -perm /6000 -type f") == ""
    assert host.check_output(f"find {root}/etc/passwd -type f")


@pytest.mark.parametrize("container", CONTAINERS)
def test_it_is_limited_and_watched(host: Host, container: str) -> None:
    seen = inspected(host, container)
    assert seen["HostConfig"]["Memory"] > 0
    assert seen["HostConfig"]["PidsLimit"] > 0
    assert seen["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 5}
    assert seen["HostConfig"]["LogConfig"]["Config"]["max-size"]
    assert not seen["HostConfig"]["Privileged"]
    assert not any(mount["Source"].endswith("docker.sock") for mount in seen["Mounts"])
    assert seen["State"]["Health"]["Status"] == "healthy"
    assert seen["Config"]["Image"].startswith("streamkeep/")


@pytest.mark.destructive
def test_the_app_refuses_to_start_on_defaults(host: Host) -> None:
    image = inspected(host, "python-orchestrator")["Config"]["Image"]
    run = "docker run --rm --read-only --tmpfs /tmp --tmpfs /app/data:uid=10001 --network none"
    good = {"JWT_SECRET": "x" * 32, "ADMIN_PASSWORD": "Aa1!" * 5}
    for name, value in (("JWT_SECRET", "changeme"), ("JWT_SECRET", "y" * 31), ("ADMIN_PASSWORD", "changeme")):
        settings = " ".join(f"--env {n}={v}" for n, v in (good | {name: value}).items())
        started = host.run(f"timeout 20 {run} {settings} {image}")
        assert started.rc == 78
        assert name in started.stderr
        assert value not in started.stderr
