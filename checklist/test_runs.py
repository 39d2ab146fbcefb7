"""How a deployment behaves when it is repeated, rehearsed, refused, broken or killed. For disposable hosts only."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex

import pytest
from outside import Outside, Site, eventually
from testinfra.host import Host

ROOT = Path(__file__).parents[1]
PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
DEPLOYED = "find /etc/streamkeep/secrets -type f"
Deploy = Callable[..., subprocess.CompletedProcess[str]]
Runs = dict[str, Future[subprocess.CompletedProcess[str]]]
pytestmark = [pytest.mark.destructive, pytest.mark.brisk]


@pytest.fixture(scope="module")
def command(request: pytest.FixtureRequest, site: Site) -> list[str]:
    assert site.outside, "these tests break the host on purpose: only for disposable ones"
    return [PLAYBOOK, "-i", request.config.getoption("--inventory"), "playbooks/site.yml"]


@pytest.fixture(scope="module")
def deploy(command: list[str]) -> Deploy:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=280)

    return run


def changes(done: subprocess.CompletedProcess[str]) -> int:
    return sum(int(n) for n in re.findall(r"changed=(\d+)", done.stdout.partition("PLAY RECAP")[2]))


def outcome(done: subprocess.CompletedProcess[str], task: str) -> str:
    """Return what became of *task*, which names it to its closing bracket."""
    lines = iter(done.stdout.splitlines())
    assert any(line.startswith(f"TASK [{task}]") for line in lines), f"{task} did not come"
    return next(lines).partition(":")[0]


@pytest.mark.slow
def test_a_rehearsal_on_a_converged_host_shows_no_change(deploy: Deploy, host: Host) -> None:
    done = deploy("--check", "--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    assert changes(done) == 0


def test_a_rehearsal_shows_what_would_change_and_no_secret(deploy: Deploy, host: Host) -> None:
    secrets = [host.check_output(f"cat {p}") for p in host.check_output(f"{DEPLOYED} -size +0").split()]
    host.check_output("truncate --size 0 /etc/streamkeep/secrets/jwt_secret")
    done = deploy("--check", "--diff", "-vvv", "-e", "streamkeep_api_rate_limit=61", "--tags", "secrets,stack")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "+API_RATE_LIMIT_PER_MINUTE=61" in done.stdout
    assert changes(done) == 2  # the emptied secret and the settings
    assert not any(secret in done.stdout + done.stderr for secret in secrets)
    assert host.check_output("cat /etc/streamkeep/secrets/jwt_secret") == ""
    assert deploy("--tags", "secrets").returncode == 0
    assert host.check_output("cat /etc/streamkeep/secrets/jwt_secret") in secrets
    reads = "docker exec python-orchestrator flask streamkeep live"
    eventually(lambda: host.run(reads).rc == 0, 30, "the app reads the secret that is back")


REFUSALS = {
    "disk": (["-e", "preflight_disk_megabytes=99999999"], "make room or enlarge the disk"),
    "memory": (["-e", "preflight_memory_megabytes=99999999"], "give it more"),
    "typo": (["-e", "streamkeep_domian=x.test"], "did you mean streamkeep_domain?"),
    "placeholder": (["-e", "streamkeep_domain=your.domain.example"], "still the placeholder"),
    "root": (["-e", "ssh_login_user=root"], "make a user who logs in by key and may sudo"),
    "keyless user": (["-e", "ssh_login_user=nobody"], "nobody has no key on"),
    "unknown user": (["-e", '{"streamkeep_ssh_users": ["ghost"]}'], "create the user, or take the name out"),
}


@pytest.fixture(scope="module")
def refused(deploy: Deploy) -> Iterator[Runs]:
    """Deploy with each of the settings that are refused; side by side, because none gets as far as a change."""
    with ThreadPoolExecutor(3) as threads:
        yield {name: threads.submit(deploy, *arguments) for name, (arguments, _) in REFUSALS.items()}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_why_and_leaves_the_host_alone(refused: Runs, name: str) -> None:
    done = refused[name].result()
    assert done.returncode != 0
    assert REFUSALS[name][1] in " ".join(done.stdout.split())
    assert changes(done) == 0
    assert "Turn the host into" not in done.stdout


def test_another_system_is_refused(deploy: Deploy, host: Host) -> None:
    host.check_output("cp --dereference /etc/os-release /root/os-release && rm /etc/os-release")
    try:
        host.check_output(
            "printf 'NAME=Ubuntu\\nID=ubuntu\\nVERSION_ID=24.04\\n' | install -m 0644 /dev/stdin /etc/os-release"
        )
        done = deploy()
    finally:
        host.check_output("rm /etc/os-release && ln -s ../usr/lib/os-release /etc/os-release")
    assert done.returncode != 0
    assert "Streamkeep supports Debian 12 and 13" in " ".join(done.stdout.split())
    assert changes(done) == 0


BROKEN = {
    "nginx": ("stack", '{"stack_names": ["broken {"]}', "/opt/streamkeep/proxy/nginx.conf"),
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
def broken(deploy: Deploy, before: dict[str, str]) -> Iterator[Runs]:
    """Deploy each broken configuration; side by side, because each run ends where its file would be replaced."""
    with ThreadPoolExecutor(3) as threads:
        yield {
            name: threads.submit(deploy, "-e", setting, "--tags", role, "--skip-tags", "preflight")
            for name, (role, setting, _) in BROKEN.items()
        }


@pytest.mark.parametrize("name", BROKEN)
def test_a_configuration_that_its_program_refuses_never_replaces_the_running_one(
    broken: Runs, before: dict[str, str], host: Host, site: Site, outside: Outside, name: str
) -> None:
    done = broken[name].result()
    assert done.returncode != 0
    assert "failed to validate" in done.stdout
    assert changes(done) == 0
    file = BROKEN[name][2]
    assert host.file(file).sha256sum == before[file]
    assert outside.get(f"https://{site.address}/")[0] == 200


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_was_killed_converges_when_run_again(
    command: list[str], deploy: Deploy, host: Host, site: Site, outside: Outside
) -> None:
    host.check_output("docker rm --force proxy && docker image rm --force $(docker image ls --quiet streamkeep/proxy)")
    host.check_output("rm /etc/streamkeep/tls/fullchain.pem /opt/streamkeep/compose.yaml")
    host.check_output(
        "for start in 1 2 3 4 5 6; do systemctl restart streamkeep || result=$?; done; test $result -gt 0"
    )
    assert "repeated too quickly" in host.check_output("journalctl --unit streamkeep --lines 5 --no-pager")
    for moment in ("TASK [certificates : Generate", "TASK [images : Build the image of proxy"):
        run = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        assert run.stdout
        assert any(line.startswith(moment) for line in run.stdout), f"never came to {moment}"
        time.sleep(1)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        run.stdout.close()
    again = deploy()
    assert again.returncode == 0, again.stdout[-3000:]
    assert outside.get(f"https://{site.address}/")[0] == 200
    assert changes(deploy()) == 0


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
def test_the_base_comes_by_digest_from_a_registry_that_answers(deploy: Deploy, host: Host, registry: str) -> None:
    for reference, said in (
        (registry.replace("@sha256:", ":"), "can change under its name"),
        (registry[:-4] + "0000", "manifest unknown|not found"),
    ):
        refused = deploy("--tags", "images", "-e", f"images_base_reference={reference}")
        assert refused.returncode != 0
        assert re.search(said, " ".join(refused.stdout.split()))
    done = deploy("--tags", "images", "-e", f"images_base_reference={registry}")
    assert done.returncode == 0, done.stdout[-3000:]
    assert outcome(done, "images : Give it our name") == "changed"
    assert outcome(done, "images : Bootstrap the base") == "skipping"


@pytest.mark.slow
def test_a_bootstrap_that_breaks_off_leaves_no_base(deploy: Deploy, host: Host) -> None:
    bases = "docker image ls --format '{{.Tag}}' streamkeep/base"
    before = host.check_output(bases)
    done = deploy("--tags", "images", "--skip-tags", "preflight", "-e", "images_release=there-is-none")
    assert done.returncode != 0
    assert outcome(done, "images : Bootstrap the base") == "fatal"
    assert host.check_output(bases) == before


@pytest.mark.slow
def test_the_base_is_bootstrapped_where_no_registry_answers(deploy: Deploy) -> None:
    nobody = "127.0.0.1:5999/debian@sha256:" + token_hex(32)
    done = deploy("--tags", "images", "-e", f"images_base_reference={nobody}")
    assert done.returncode == 0, done.stdout[-3000:]
    assert outcome(done, "images : Give it our name") == "skipping"
    assert outcome(done, "images : Bootstrap the base") == "changed"
