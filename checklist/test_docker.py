"""The engine, by the numbers of CIS Docker: sections 2 (daemon), 3 (files), 4 (images) and 6 (operations)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra.host import Host


@pytest.fixture(scope="module")
def daemon(host: Host) -> Any:
    """What is written, which `dockerd` takes as it is; what the engine says of itself is asked below."""
    return json.loads(host.file("/etc/docker/daemon.json").content_string)


@pytest.fixture(scope="module")
def info(host: Host) -> Any:
    return json.loads(host.check_output("docker info --format '{{json .}}'"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        pytest.param("icc", False, id="2.2"),
        pytest.param("log-level", "info", id="2.3"),
        pytest.param("iptables", None, id="2.4"),
        pytest.param("insecure-registries", None, id="2.5"),
        pytest.param("userns-remap", "dockremap", id="2.9"),
        pytest.param("cgroup-parent", None, id="2.10"),
        pytest.param("no-new-privileges", True, id="2.14"),
        pytest.param("live-restore", True, id="2.15"),
        pytest.param("userland-proxy", False, id="2.16"),
        pytest.param("seccomp-profile", None, id="2.17"),
        pytest.param("experimental", None, id="2.18"),
        pytest.param("hosts", None, id="2.7"),
    ],
)
def test_the_daemon_is_told(daemon: Any, setting: str, value: Any) -> None:
    assert daemon.get(setting) == value


def test_the_daemon_does_as_it_is_told(host: Host, info: Any) -> None:
    options = " ".join(info["SecurityOptions"])
    assert re.search("name=seccomp,profile=(builtin|default)", options)  # its own, called either by the release
    assert "name=userns" in options
    assert info["LiveRestoreEnabled"]
    assert not info["ExperimentalBuild"]
    assert info["Driver"] == "overlay2"  # 2.6
    assert info["LoggingDriver"] == "json-file"
    assert host.run("pgrep --full '^/usr/.*docker-proxy'").rc != 0
    running = host.check_output("tr '\\0' ' ' </proc/$(pidof dockerd)/cmdline")
    assert "tcp://" not in running
    assert "--insecure" not in running


def test_a_container_that_says_nothing_gets_limits_and_no_neighbours(host: Host) -> None:
    """CIS 2.2 and 2.8, of a container that somebody starts by hand on the default bridge."""
    image = host.check_output("docker inspect --format '{{.Config.Image}}' ffmpeg")
    said = host.check_output(f"docker run --rm --entrypoint cat {image} /proc/self/limits /proc/self/status")
    assert re.search(r"^Max core file size +0 +0 ", said, re.M)
    assert re.search(r"^Max open files +16384 +16384 ", said, re.M)
    assert re.search(r"^NoNewPrivs:\s+1$", said, re.M)
    bridge = json.loads(host.check_output("docker network inspect bridge"))[0]
    assert bridge["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert bridge["Containers"] == {}  # 5.30


@pytest.mark.parametrize(
    ("path", "group", "mode"),
    [
        pytest.param("/usr/lib/systemd/system/docker.service", "root", 0o644, id="3.1-3.2"),
        pytest.param("/usr/lib/systemd/system/docker.socket", "root", 0o644, id="3.3-3.4"),
        pytest.param("/etc/docker", "root", 0o755, id="3.5-3.6"),
        pytest.param("/run/docker.sock", "docker", 0o660, id="3.15-3.16"),
        pytest.param("/etc/docker/daemon.json", "root", 0o644, id="3.17-3.18"),
        pytest.param("/etc/default/docker", "root", 0o644, id="3.19-3.20"),
        pytest.param("/run/containerd/containerd.sock", "root", 0o660, id="3.23-3.24"),
    ],
)
def test_the_engines_files_are_roots(host: Host, path: str, group: str, mode: int) -> None:
    seen = host.file(path)
    assert (seen.user, seen.group, seen.mode) == ("root", group, mode)


def test_nobody_is_in_the_docker_group(host: Host) -> None:
    """CIS 1.1.2: who is in it is root."""
    assert host.group("docker").members == []


def test_every_running_image_is_named_by_what_went_in(host: Host) -> None:
    """CIS 4: the hash of our inputs, or a registry's digest; never a name that can move."""
    images = host.check_output("docker ps --format '{{.Image}}'").splitlines()
    assert len(images) >= 4
    for image in images:
        assert re.fullmatch(r"streamkeep/[a-z-]+:[0-9a-f]{16}|.+@sha256:[0-9a-f]{64}", image), image


@pytest.fixture
def stale(host: Host) -> Iterator[dict[str, str]]:
    """Three images of one name, the oldest of which runs; a foreign one; and without a name one of each."""
    base = host.check_output("docker image ls --format '{{.Repository}}:{{.Tag}}' streamkeep/base").split()[0]
    build = f'printf \'FROM {base}\\nENV PROBE=%s\\nUSER 10001\\nENTRYPOINT ["sleep", "300"]\\n\''
    names = {
        "running": "streamkeep/probe-prune:" + "1" * 16,
        "stale": "streamkeep/probe-prune:" + "2" * 16,
        "newest": "streamkeep/probe-prune:" + "3" * 16,
        "foreign": "probe-foreign:latest",
    }
    for number, name in enumerate(names.values()):
        host.check_output(f"{build} {number} | DOCKER_BUILDKIT=0 docker build --quiet --tag {name} - && sleep 1")
    host.check_output(f"docker run --detach --name probe-prune {names['running']}")
    nameless = host.check_output(f"{build} nameless | DOCKER_BUILDKIT=0 docker build --quiet -").strip()
    foreign = host.check_output("tar --create --files-from /dev/null | docker import -").strip()
    yield names | {"nameless": nameless, "foreign nameless": foreign}
    host.check_output("docker rm --force probe-prune")
    host.run("docker image rm " + " ".join([*names.values(), nameless, foreign]))


@pytest.mark.destructive
def test_old_images_go_and_what_is_needed_stays(host: Host, stale: dict[str, str]) -> None:
    def there(name: str) -> bool:
        return bool(host.run(f"docker image inspect {name}").rc == 0)

    assert all(there(name) for name in stale.values())
    before = set(host.check_output("docker ps --quiet").split())
    host.check_output("systemctl start streamkeep-prune")
    assert {kind for kind, name in stale.items() if there(name)} == {
        "running",
        "newest",
        "foreign",
        "foreign nameless",
    }
    assert set(host.check_output("docker ps --quiet").split()) == before
    for image in host.check_output("docker ps --format '{{.Image}}'").splitlines():
        assert there(image)
    assert host.check_output("docker image ls --quiet streamkeep/base")


def test_images_are_pruned_every_week(host: Host) -> None:
    assert host.service("streamkeep-prune.timer").is_enabled
    assert host.service("streamkeep-prune.timer").is_running
