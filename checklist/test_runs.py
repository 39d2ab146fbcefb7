"""How a deployment behaves when it is repeated, rehearsed, refused, broken or killed. For disposable hosts only."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from secrets import token_hex

import pytest
from controller import ROOT, Controller, Run
from outside import Outside, Site, eventually
from testinfra.host import Host

DEPLOYED = "find /etc/streamkeep/secrets -type f"
Runs = dict[str, Future[Run]]
pytestmark = [pytest.mark.destructive, pytest.mark.brisk]


@pytest.mark.slow
def test_a_rehearsal_on_a_converged_host_shows_no_change(controller: Controller, host: Host) -> None:
    done = controller.run("--check", "--diff")
    assert done.succeeded
    assert done.changes == 0


def test_a_rehearsal_shows_what_would_change_and_no_secret(controller: Controller, host: Host) -> None:
    secrets = [host.check_output(f"cat {p}") for p in host.check_output(f"{DEPLOYED} -size +0").split()]
    host.check_output(
        "cp /etc/streamkeep/secrets/jwt_secret /root/ && truncate --size 0 /etc/streamkeep/secrets/jwt_secret"
    )
    try:
        done = controller.run(
            "--check", "--diff", "-vvv", "-e", '{"streamkeep_api_rate_limit": 61}', "--tags", "secrets,stack"
        )
        assert done.succeeded
        assert "+API_RATE_LIMIT_PER_MINUTE=61" in done.output
        assert done.changes == 2  # the emptied secret and the settings
        assert not any(secret in done.output + done.errors for secret in secrets)
        assert host.check_output("cat /etc/streamkeep/secrets/jwt_secret") == ""
    finally:  # the app can do nothing without it, nor can any probe after this
        host.check_output("cp /root/jwt_secret /etc/streamkeep/secrets/ && rm /root/jwt_secret")
    reads = "docker exec python-orchestrator flask streamkeep live"
    eventually(lambda: host.run(reads).rc == 0, 30, "the app reads the secret that is back")


REFUSALS = {
    "disk": (["-e", '{"preflight_disk_megabytes": 99999999}'], "make room or enlarge the disk"),
    "memory": (["-e", '{"preflight_memory_megabytes": 99999999}'], "give it more"),
    "typo": (["-e", "streamkeep_domian=x.test"], "did you mean streamkeep_domain?"),
    "placeholder": (["-e", "streamkeep_domain=your.domain.example"], "still the placeholder"),
    "root": (["-e", "ssh_login_user=root"], "make a user who logs in by key and may sudo"),
    "keyless user": (["-e", "ssh_login_user=nobody"], "nobody has no key on"),
    "unknown user": (["-e", '{"streamkeep_ssh_users": ["ghost"]}'], "create the user, or take the name out"),
    "port": (["-e", '{"preflight_ports": [22]}'], "port 22, which sshd has: run systemctl disable --now ssh.service"),
    "uplink": (["-e", '{"firewall_container_interfaces": ["sk-+", "eth+"]}'], "or its bridge another name"),
}


@pytest.fixture(scope="module")
def refused(controller: Controller) -> Iterator[Runs]:
    """Deploy with each of the settings that are refused; side by side, because none gets as far as a change."""
    with ThreadPoolExecutor(3) as threads:
        yield {name: threads.submit(controller.run, *arguments) for name, (arguments, _) in REFUSALS.items()}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_why_and_leaves_the_host_alone(refused: Runs, name: str) -> None:
    done = refused[name].result()
    assert done.refused(REFUSALS[name][1])
    assert done.changes == 0
    assert "Turn the host into" not in done.output


def test_another_system_is_refused(controller: Controller, host: Host) -> None:
    host.check_output("cp --dereference /etc/os-release /root/os-release && rm /etc/os-release")
    try:
        host.check_output(
            "printf 'NAME=Ubuntu\\nID=ubuntu\\nVERSION_ID=24.04\\n' | install -m 0644 /dev/stdin /etc/os-release"
        )
        done = controller.run()
    finally:
        host.check_output("rm /etc/os-release && ln -s ../usr/lib/os-release /etc/os-release")
    assert done.refused("Streamkeep supports Debian 12 and 13")
    assert done.changes == 0


BROKEN = {
    "nginx": ("stack", '{"stack_names": ["broken {"]}', "/opt/streamkeep/proxy/nginx.conf"),
    "nginx-rtmp": (
        "stack",
        '{"_stack_addresses": {"proxy": "172.31.242.2", "app": "172.31.242.3", "nginx_rtmp": "172.31.242.4", '
        '"ffmpeg": "no address", "worker": "172.31.242.6", "relay": "172.31.242.7"}}',
        "/opt/streamkeep/nginx-rtmp/nginx.conf",
    ),
    "orchestrator": ("stack", '{"stack_max_concurrent_streams": 0}', "/opt/streamkeep/.env"),
    "compose": (
        "stack",
        '{"stack_subnets": {"frontend": "nonsense: [", "backend": "172.31.242.0/28", '
        '"monitoring": "172.31.243.0/28", "egress": "172.31.244.0/28"}}',
        "/opt/streamkeep/compose.yaml",
    ),
    "dockerd": (
        "docker",
        '{"docker_log_max_size": "10m", "docker_log_max_files": 0, "_docker_daemon": {"icc": "maybe"}}',
        "/etc/docker/daemon.json",
    ),
    "sshd": ("ssh", '{"ssh_max_startups": "many"}', "/etc/ssh/sshd_config.d/00-streamkeep.conf"),
    "iptables": (
        "firewall",
        '{"firewall_container_interfaces": ["longer-than-any-interface"]}',
        "/etc/streamkeep/firewall/rules.v4",
    ),
}


@pytest.fixture(scope="module")
def before(host: Host) -> dict[str, str]:
    """What each file holds that is to be replaced."""
    return {file: host.file(file).sha256sum for _, _, file in BROKEN.values()}


@pytest.fixture(scope="module")
def broken(controller: Controller, before: dict[str, str]) -> Iterator[Runs]:
    """Deploy each broken configuration; side by side, because each run ends where its file would be replaced."""
    with ThreadPoolExecutor(3) as threads:
        yield {
            name: threads.submit(controller.run, "-e", setting, "--tags", role, "--skip-tags", "preflight")
            for name, (role, setting, _) in BROKEN.items()
        }


@pytest.mark.parametrize("name", BROKEN)
def test_a_configuration_that_its_program_refuses_never_replaces_the_running_one(
    broken: Runs, before: dict[str, str], host: Host, site: Site, outside: Outside, name: str
) -> None:
    done = broken[name].result()
    assert done.refused("failed to validate")
    assert done.changes == 0
    file = BROKEN[name][2]
    assert host.file(file).sha256sum == before[file]
    assert outside.get(f"https://{site.address}/")[0] == 200


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_was_killed_converges_when_run_again(
    controller: Controller, host: Host, site: Site, outside: Outside
) -> None:
    host.check_output("docker rm --force proxy && docker image rm --force $(docker image ls --quiet streamkeep/proxy)")
    host.check_output("rm /etc/streamkeep/tls/fullchain.pem /opt/streamkeep/compose.yaml")
    host.check_output(
        "for start in 1 2 3 4 5 6; do systemctl restart streamkeep || result=$?; done; test $result -gt 0"
    )
    assert "repeated too quickly" in host.check_output("journalctl --unit streamkeep --lines 5 --no-pager")
    for moment in ("TASK [certificates : Generate", "TASK [images : Build the image of proxy"):
        run = subprocess.Popen(
            controller.command(),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert run.stdout
        assert any(line.startswith(moment) for line in run.stdout), f"never came to {moment}"
        time.sleep(1)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        run.stdout.close()
    again = controller.run()
    assert again.succeeded
    assert outside.get(f"https://{site.address}/")[0] == 200
    assert controller.run().changes == 0


@pytest.fixture
def registry(host: Host) -> Iterator[str]:
    """A registry on the host that holds the base; gives the base's reference by digest."""
    host.check_output("apt-get install --yes --no-install-recommends docker-registry && systemctl stop docker-registry")
    settings = "version: 0.1\\nstorage: {inmemory: {}}\\nhttp: {addr: 127.0.0.1:5000}\\n"
    host.check_output(f"printf '{settings}' >/root/registry.yml")
    host.check_output("systemd-run --unit probe-registry docker-registry serve /root/registry.yml")
    base = host.check_output("docker image ls --format '{{.Repository}}:{{.Tag}}' streamkeep/base").split()[0]
    name = "127.0.0.1:5000/debian:probe"
    host.check_output(f"docker tag {base} {name}")
    eventually(lambda: host.run(f"docker push {name}").rc == 0, 20, "the registry takes the base")
    reference = host.check_output(f"docker inspect --format '{{{{index .RepoDigests 0}}}}' {name}")
    host.check_output(f"docker image rm {name}")
    yield reference
    host.check_output("systemctl stop probe-registry")


@pytest.mark.slow
def test_the_base_comes_by_digest_from_a_registry_that_answers(
    controller: Controller, host: Host, registry: str
) -> None:
    for reference, said in (
        (registry.replace("@sha256:", ":"), "can change under its name"),
        (registry[:-4] + "0000", "manifest unknown|not found"),
    ):
        refused = controller.run("--tags", "images", "-e", f"images_base_reference={reference}")
        assert refused.status != 0
        assert re.search(said, refused.said)
    done = controller.run("--tags", "images", "-e", f"images_base_reference={registry}")
    assert done.succeeded
    assert done.outcome("images : Tag and label the pulled base image") == "changed"
    assert done.outcome("images : Bootstrap the base image") == "skipping"


@pytest.mark.slow
def test_a_bootstrap_that_breaks_off_leaves_no_base(controller: Controller, host: Host) -> None:
    bases = "docker image ls --format '{{.Tag}}' streamkeep/base"
    before = host.check_output(bases)
    host.check_output("printf '#!/bin/sh\\nexit 25\\n' | install -m 0755 /dev/stdin /usr/local/sbin/mmdebstrap")
    try:
        done = controller.run("--tags", "images", "-e", "images_refresh=another")
    finally:
        host.check_output("rm /usr/local/sbin/mmdebstrap")
    assert done.status != 0
    assert done.outcome("images : Bootstrap the base image") == "[ERROR]"
    assert host.check_output(bases) == before


@pytest.mark.slow
def test_the_base_is_bootstrapped_where_no_registry_answers(controller: Controller) -> None:
    nobody = "127.0.0.1:5999/debian@sha256:" + token_hex(32)
    done = controller.run("--tags", "images", "-e", f"images_base_reference={nobody}")
    assert done.succeeded
    assert done.outcome("images : Tag and label the pulled base image") == "skipping"
    assert done.outcome("images : Bootstrap the base image") == "changed"
