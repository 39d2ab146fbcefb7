"""A host that others used before: what of theirs is refused before anything is touched. On a bare host of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from controller import ROOT, Controller, Run
from outside import Outside

pytestmark = [pytest.mark.destructive, pytest.mark.brisk, pytest.mark.slow]

LAB = ROOT / ".streamkeep/lab/used"
PACKAGES = "docker.io docker-cli iptables nginx-light nftables podman crun"
# An image of one program; and no storage of podman's own kind, because the host is a container.
CONTAINERS = r"""
tar -chP /usr/bin/sleep /lib64/ld-linux-x86-64.so.2 /lib/x86_64-linux-gnu/libc.so.6 >/root/sleep.tar
docker import /root/sleep.tar probe
docker run --detach --name blog --publish 1935:80 probe /usr/bin/sleep infinity
docker create --name db --volume pgdata:/data probe /usr/bin/sleep infinity
printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' |
    install -D /dev/stdin /etc/containers/storage.conf
podman import --quiet /root/sleep.tar probe
podman run --detach --name kept --network none --cgroups=disabled probe /usr/bin/sleep infinity
"""
OBSTACLES = r"""
sed -i 's/listen 80 /listen 443 /' /etc/nginx/sites-available/default
systemctl restart nginx
systemd-run --unit rtmps --collect python3 -c \
    'import socket, time; server = socket.create_server(("127.0.0.1", 1936)); time.sleep(9999)'
systemctl enable nftables
printf '{"log-driver": "journald"}\n' >/etc/docker/daemon.json
printf 'net.ipv4.ip_forward = 0\n' >/etc/sysctl.d/99-theirs.conf
printf 'Package: docker-compose-plugin\nVersion: 1\nArchitecture: all\nMaintainer: probe\nDescription: probe\n' |
    install -D /dev/stdin /root/plugin/DEBIAN/control
dpkg-deb --build /root/plugin && dpkg --install /root/plugin.deb
mkdir -p /snap/docker
ip link add way1 type bridge && ip link set way1 up && ip address add 192.0.2.9/24 dev way1
ip route add default via 192.0.2.1 dev way1 metric 500
"""
# What looks alike and is in nobody's way.
HARMLESS = r"""
docker stop blog
sed -i '/listen 443 /d' /etc/nginx/sites-available/default
systemctl restart nginx && ss -Hltn | grep -F '[::]:80'
systemctl stop rtmps
systemd-run --unit elsewhere --collect python3 -m http.server 8080
systemctl disable nftables
mv /etc/sysctl.d/99-theirs.conf /etc/sysctl.d/50-theirs.conf
printf 'net.ipv4.ip_forward = 1\n' >/etc/sysctl.d/60-theirs.conf
rmdir /snap/docker
ip link delete way1 && ip route add default via "$(ip route show default | cut -d' ' -f3)" dev eth0 metric 500
"""
# What each of them is refused with; and whether a setting allows it.
REFUSALS = {
    "port of a service": ("port 443, which nginx has: run systemctl disable --now nginx.service", False),
    "port of a program": ("port 1936, which python3 has: run systemctl disable --now rtmps.service", False),
    "port of a container": ("port 1935, which the container blog has: stop it", False),
    "packages": ("apt-get remove docker-compose-plugin, or write streamkeep_replace_docker: true", True),
    "settings": ("/etc/docker/daemon.json is not Streamkeep's and sets log-driver: move it away", True),
    "containers": ("Docker has the containers blog, db and the volumes pgdata, which nobody would see", True),
    "podman": ("podman runs the containers kept, which", True),
    "snap": ("snap remove docker", False),
    "nftables": ("run systemctl disable nftables", False),
    "ways out": ("several ways out (eth0, way1)", True),
    "forwarding": ("/etc/sysctl.d/99-theirs.conf sets net.ipv4.ip_forward to 0", False),
}
ALLOWED = {"streamkeep_replace_docker": True, "base_rp_filter": 2}


def deploy(controller: Controller, **settings: object) -> Run:
    """Deploy to the host that others used, as far as to the first change."""
    return controller.run("--tags", "preflight", "-e", json.dumps({"disposable_host": str(LAB)} | settings))


@pytest.fixture(scope="module")
def used(controller: Controller) -> Iterator[Outside]:
    """A host on which others have installed what they wanted."""
    lab = ["-e", "lab_name=used"]
    assert controller.run(*lab, playbook="lab").succeeded
    machine = Outside((LAB / "host").read_text(encoding="utf-8"))
    try:
        machine.output("apt-get update --quiet=2")
        machine.output(f"apt-get install --yes --quiet=2 --no-install-recommends {PACKAGES}", timeout=240)
        machine.output(f"set -eu; {CONTAINERS}")
        yield machine
    finally:
        assert controller.run(*lab, "-e", "lab_state=absent", playbook="lab").succeeded


@pytest.fixture(scope="module")
def refused(controller: Controller, used: Outside) -> dict[bool, Run]:
    """Deploy where everything stands in the way at once; without and with what the operator may allow."""
    used.output(f"set -eu; {OBSTACLES}")
    return {False: deploy(controller), True: deploy(controller, **ALLOWED)}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_others_use_is_refused(refused: dict[bool, Run], name: str) -> None:
    sentence, may_go = REFUSALS[name]
    assert refused[False].refused(sentence)
    assert refused[True].refused(sentence) != may_go


def test_a_refusal_changes_nothing(refused: dict[bool, Run]) -> None:
    assert [run.changes for run in refused.values()] == [0, 0]


@pytest.fixture(scope="module")
def harmless(refused: dict[bool, Run], used: Outside) -> Outside:
    """The same host, rid of everything that no setting allows."""
    used.output(f"set -eu; {HARMLESS}")
    return used


def test_what_is_in_nobodys_way_is_not_refused(controller: Controller, harmless: Outside) -> None:
    assert deploy(controller, streamkeep_replace_docker=True).succeeded


def test_the_files_of_kernel_settings_are_read_as_systemd_reads_them(controller: Controller, harmless: Outside) -> None:
    harmless.output("/usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/ip_forward")
    assert harmless.output("cat /proc/sys/net/ipv4/ip_forward") == "1\n"
    harmless.output("mv /etc/sysctl.d/60-theirs.conf /etc/sysctl.d/40-theirs.conf")
    try:
        assert deploy(controller, streamkeep_replace_docker=True).refused(
            "/etc/sysctl.d/50-theirs.conf sets net.ipv4.ip_forward to 0"
        )
        harmless.output("/usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/ip_forward")
        assert harmless.output("cat /proc/sys/net/ipv4/ip_forward") == "0\n"
    finally:
        harmless.output("mv /etc/sysctl.d/40-theirs.conf /etc/sysctl.d/60-theirs.conf")


def test_apt_is_waited_for_and_whoever_keeps_it_is_named(controller: Controller, harmless: Outside) -> None:
    # As long as its standard input stays open, apt-get waits for an answer and holds its locks.
    harmless.output("systemd-run --unit updates --collect bash -c 'sleep 9999 | apt-get install --quiet mc'")
    locked = deploy(controller, streamkeep_replace_docker=True, preflight_apt_seconds=1)
    assert locked.refused("apt has been locked for 1 s by apt-get (process ")
    harmless.output("systemd-run --on-active=5 systemctl stop updates")
    assert deploy(controller, streamkeep_replace_docker=True).succeeded


@pytest.fixture
def cramped(used: Outside) -> Iterator[str]:
    """A container as anybody starts one, in which no other would run."""
    name = f"{used.container}-cramped"
    run = ["docker", "run", "--detach", "--init", "--name", name, used.image, "sleep", "infinity"]
    subprocess.run(run, check=True, capture_output=True)
    yield name
    subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)


def test_a_container_in_which_no_other_would_run_is_refused(cramped: str) -> None:
    ansible = [
        str(Path(sys.executable).parent / "ansible"),
        "all",
        "-i",
        f"{cramped},",
        "-c",
        "community.docker.docker",
    ]
    judge = ["-M", "roles/preflight/library", "-m", "host_conflicts", "-a"]
    settings = json.dumps({"ports": [], "replace_docker": False, "rp_filter": 1, "apt_seconds": 0})
    done = subprocess.run([*ansible, *judge, settings], cwd=ROOT, capture_output=True, text=True)
    said = Run(done.returncode, done.stdout, done.stderr)
    assert said.refused(
        "The host is a container (docker) and lacks user namespaces with a /proc of their own (nesting), and a volume"
        " at /var/lib/docker, because overlayfs does not lie on overlayfs: give it that, or use a machine."
    )
