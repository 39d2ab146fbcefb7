"""What is read from a host before a deployment, and what of it stands in the way."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from host_conflicts import (
    APT_LOCKS,
    DAEMON,
    DAEMON_MARK,
    IDS,
    Ask,
    Listener,
    apt,
    architecture,
    engine,
    forwarding,
    listeners,
    named,
    nesting,
    nftables,
    ports,
    snap,
    ways_out,
)

REPOSITORY = Path(__file__).parents[1]
# As ss shows it on Debian 13 with nginx, a container, a resolver, and what the kernel itself serves.
SHOWN = """\
LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=85,fd=6))
LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=776,fd=5),("nginx",pid=541,fd=5))
LISTEN 0 511 [::]:81 [::]:* users:(("nginx",pid=776,fd=6),("nginx",pid=541,fd=6))
LISTEN 0 4096 127.0.0.53%lo:443 0.0.0.0:* users:(("systemd-resolve",pid=99,fd=19))
LISTEN 0 4096 0.0.0.0:1935 0.0.0.0:* users:(("docker-proxy",pid=1513,fd=4))
LISTEN 0 4096 *:1936 *:* users:(("systemd",pid=1,fd=49))
LISTEN 0 64 [::ffff:127.0.0.1]:2049 *:*
"""


def says(**answers: str) -> Ask:
    """Stand in for the programs of a host; each word of a call may have the answer."""

    def ask(*words: str) -> str:
        return next((answers[word] for word in map(plain, words) if word in answers), "")

    def plain(word: str) -> str:
        return re.sub(r"\W", "_", word)

    return ask


def put(root: Path, name: str, text: str) -> Path:
    """Write a file of a host that stands under *root*."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_what_compose_publishes_is_what_is_judged() -> None:
    defaults = yaml.safe_load((REPOSITORY / "roles/preflight/defaults/main.yml").read_text(encoding="utf-8"))
    compose = (REPOSITORY / "templates/opt/streamkeep/compose.yaml.j2").read_text(encoding="utf-8")
    assert defaults["preflight_ports"] == [int(port) for port in re.findall(r'- "0\.0\.0\.0:(\d+):\d+"', compose)]


def test_whoever_listens_by_ipv6_alone_is_in_nobodys_way() -> None:
    assert list(listeners(SHOWN)) == [
        Listener(22, "sshd", 85),
        Listener(80, "nginx", 776),
        Listener(443, "systemd-resolve", 99),
        Listener(1935, "docker-proxy", 1513),
        Listener(1936, "systemd", 1),
        Listener(2049, "", 0),
    ]


def test_a_program_that_listens_here_is_named() -> None:
    def ask(*words: str) -> str:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (said,) = ports([port], ask)
        assert said.startswith(f"Streamkeep publishes port {port}, which py")
    assert list(ports([port], ask)) == []


def test_ports_are_told_by_who_has_them(tmp_path: Path) -> None:
    sockets = "127.0.0.1:19360 other.socket other.service\n0.0.0.0:1936 rtmps.socket rtmps.service\n"
    ask = says(ss=SHOWN.replace("systemd-resolve", "nginx").replace("=99", "=776"), docker="blog \n", systemctl=sockets)
    put(tmp_path, "proc/85/cmdline", "/usr/bin/conmon\0-n\0kept\0--exit-dir\0/x\0")
    assert list(ports([22, 80, 443, 1935, 1936, 2049, 5000], ask, tmp_path)) == [
        "Streamkeep publishes port 80 and port 443, which nginx (process 776) has: end it, or give it other ports.",
        "Streamkeep publishes port 2049, which somebody has whom ss can't name: end that, or give it other ports.",
        "Streamkeep publishes port 1936, which systemd has: run systemctl disable --now rtmps.socket, or give it other"
        " ports.",
        "Streamkeep publishes port 1935, which the container blog has: stop it, or give it other ports.",
        "Streamkeep publishes port 22, which the container kept has: stop it, or give it other ports.",
    ]


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ("proxy streamkeep\n", ""),
        ("proxy other\n", "which the container proxy has"),
        ("proxy \n", "which the container proxy has"),
        ("", "which docker-proxy (process 1513) has"),
    ],
    ids=["ours", "of another project", "of none", "dockerd itself"],
)
def test_a_container_of_ours_may_have_its_port(shown: str, said: str) -> None:
    found = list(ports([1935], says(ss=SHOWN, docker=shown)))
    assert [said in sentence for sentence in found] == ([True] if said else [])


@pytest.mark.parametrize(("found", "fine"), [("amd64\n", True), ("arm64\n", False), ("i386\n", False)])
def test_an_architecture_that_nobody_tried_is_refused(found: str, fine: bool) -> None:
    assert list(architecture(says(dpkg=found))) == (
        []
        if fine
        else [f"The host's packages are for {found.strip()}, which nobody has tried: use a host of Debian's amd64."]
    )


def test_the_ids_that_containers_get_are_those_of_the_role() -> None:
    defaults = yaml.safe_load((REPOSITORY / "roles/docker/defaults/main.yml").read_text(encoding="utf-8"))
    assert defaults["docker_userns_base"] + 65_536 == IDS


@pytest.mark.parametrize(
    ("kind", "unshared", "ids", "disk", "lacks"),
    [
        ("none\n", "", "0 0 1\n", "overlayfs", None),
        ("docker\n", "yes\n", "0 0 4294967295\n", "ext2/ext3\n", None),
        ("lxc\n", "yes\n", "0 100000 2000000\n", "zfs\n", None),
        (
            "docker\n",
            "",
            "0 0 4294967295\n",
            "xfs\n",
            "lacks user namespaces with a /proc of their own (nesting): give",
        ),
        (
            "lxc\n",
            "yes\n",
            "0 100000 65536\n",
            "xfs\n",
            "container (lxc) and lacks user ids up to 1065535 (its uid_map): give",
        ),
        ("docker\n", "yes\n", "0 0 4294967295\n", "overlayfs\n", "lacks a volume at /var/lib/docker, because"),
        ("lxc\n", "", "0 1 2\n", "overlayfs\n", "(nesting), and user ids up to 1065535 (its uid_map), and a volume at"),
    ],
)
def test_a_container_without_what_containers_need_is_refused(
    tmp_path: Path, kind: str, unshared: str, ids: str, disk: str, lacks: str | None
) -> None:
    put(tmp_path, "proc/self/uid_map", ids)
    (tmp_path / "var/lib").mkdir(parents=True)
    ask = says(systemd_detect_virt=kind, unshare=unshared, stat=disk)
    found = list(nesting(tmp_path, ask))
    assert len(found) == (0 if lacks is None else 1)
    assert (lacks or "") in "".join(found)


@pytest.mark.parametrize("state", ["enabled", "enabled-runtime", "disabled", "masked", "not-found", ""])
def test_only_a_flush_at_boot_is_refused(state: str) -> None:
    assert bool(list(nftables(says(systemctl=f"{state}\n")))) == state.startswith("enabled")


def test_a_second_dockerd_from_snap_is_refused(tmp_path: Path) -> None:
    assert list(snap(tmp_path)) == []
    put(tmp_path, "snap/docker/current/bin/dockerd", "")
    assert "snap remove docker" in " ".join(snap(tmp_path))


def container(root: Path, name: str, number: str = "0a1b", data: str = "var/lib/docker") -> None:
    put(root, f"{data}/containers/{number}/config.v2.json", json.dumps({"Name": f"/{name}", "Config": {}}))


def test_an_engine_without_anything_in_it_is_taken_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, "var/lib/docker/volumes/metadata.db", "")
    (tmp_path / "var/lib/docker/containers").mkdir()
    put(tmp_path, "proc/12/cmdline", "/usr/bin/python3\0-n\0conmon\0")
    assert list(engine(tmp_path, says(dpkg_query="docker-ce config-files\ncontainerd.io not-installed\n"))) == []


def test_an_engine_of_somebody_elses_is_refused_by_name(tmp_path: Path) -> None:
    container(tmp_path, "blog")
    put(tmp_path, "var/lib/docker/containers/c0ffee/config.v2.json", "torn {")
    put(tmp_path, "var/lib/docker/volumes/pgdata/_data/file", "")
    put(tmp_path, f"var/lib/docker/volumes/{'ab' * 32}/_data/file", "")
    put(tmp_path, "proc/12/cmdline", "/usr/bin/conmon\0--api-version\x001\0-n\0kept\0--exit-dir\0/x\0")
    put(tmp_path, "proc/13/cmdline", "/usr/bin/conmon\0-n")
    packages, docker, podman = engine(tmp_path, says(dpkg_query="docker-ce installed\ncontainerd.io installed\n"))
    assert packages.startswith("containerd.io, docker-ce bring another engine than Debian's")
    assert "apt-get remove docker-ce containerd.io, or write streamkeep_replace_docker: true" in packages
    assert docker.startswith("Docker has the containers blog, c0ffee and the volumes abababababab, pgdata, which")
    assert podman.startswith("podman runs the containers kept, which")


def test_an_engine_that_keeps_its_containers_elsewhere_is_asked(tmp_path: Path) -> None:
    assert list(engine(tmp_path, says(ps="", volume=""))) == []
    (said,) = engine(tmp_path, says(ps="blog\ndb\n", volume="pgdata\n"))
    assert said.startswith("Docker has the containers blog, db and the volumes pgdata, which")


OURS = {"icc": False, "userns-remap": "dockremap"}


@pytest.mark.parametrize(
    ("daemon", "mark", "said"),
    [
        (json.dumps(OURS), True, []),
        (json.dumps(OURS), False, ["not Streamkeep's and sets icc, userns-remap: move it", "containers blog"]),
        ('{"log-driver": "journald"}', True, ["not Streamkeep's and sets log-driver: move it", "containers blog"]),
        ('{"data-root": "/srv/docker"}', False, ["sets data-root: move it", "containers db"]),
        ("{}", False, ["containers blog"]),
        ("[]", False, ["is no JSON object", "containers blog"]),
        ("{", False, ["is no JSON object", "containers blog"]),
    ],
)
def test_settings_of_an_engine_that_are_not_ours_are_refused(
    tmp_path: Path, daemon: str, mark: bool, said: list[str]
) -> None:
    container(tmp_path, "blog")
    container(tmp_path, "db", data="srv/docker")
    put(tmp_path, DAEMON, daemon)
    if mark:
        put(tmp_path, DAEMON_MARK, "")
    found = list(engine(tmp_path, says()))
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True)), found


def test_the_mark_of_our_settings_is_written_before_them() -> None:
    site = yaml.safe_load((REPOSITORY / "playbooks/site.yml").read_text(encoding="utf-8"))
    written = []
    for name in [entry["role"] for play in site for entry in play["roles"]]:
        for file in sorted((REPOSITORY / "roles" / name / "tasks").glob("*.yml")):
            tasks = yaml.safe_load(file.read_text(encoding="utf-8"))
            written += [
                words["dest"]
                for task in tasks
                for words in task.values()
                if isinstance(words, dict) and "dest" in words
            ]
    assert written.index(f"/{DAEMON_MARK}") < written.index(f"/{DAEMON}")


def test_names_of_others_are_bounded() -> None:
    assert named(["b", "a", "b"]) == "a, b"
    many = named([f"{number}\n{'x' * 99}" for number in range(300)])
    assert many.endswith(" and 295 more")
    assert many.isprintable() and len(many) < 350


@pytest.mark.parametrize(
    ("files", "culprit"),
    [
        ({}, ""),
        ({"etc/sysctl.d/99-a.conf": "net.ipv4.ip_forward = 1\n"}, ""),
        ({"etc/sysctl.d/99-a.conf": "# net.ipv4.ip_forward = 0\n;net.ipv4.ip_forward=0\n"}, ""),
        ({"etc/sysctl.d/99-a.conf": "net.ipv4.ip_forward_use_pmtu = 0\nnet.ipv6.conf.all.forwarding = 0\n"}, ""),
        ({"etc/sysctl.d/99-a.bak": "net.ipv4.ip_forward = 0\n"}, ""),
        ({"etc/sysctl.d/99-a.conf": "net.ipv4.ip_forward = 0\n"}, "etc/sysctl.d/99-a.conf"),
        ({"etc/sysctl.d/99-a.conf": "a = 1\n -net/ipv4/ip_forward=0"}, "etc/sysctl.d/99-a.conf"),
        ({"etc/sysctl.d/99-a.conf": "net.ipv4.conf.all.forwarding=0"}, "etc/sysctl.d/99-a.conf"),
        ({"usr/lib/sysctl.d/99-a.conf": "net.ipv4.ip_forward = 0\n"}, "usr/lib/sysctl.d/99-a.conf"),
        ({"run/sysctl.d/a.conf": "net.ipv4.ip_forward = 0\n", "etc/sysctl.d/a.conf": ""}, ""),
        (
            {
                "usr/lib/sysctl.d/50-a.conf": "net.ipv4.ip_forward = 0\n",
                "etc/sysctl.d/40-b.conf": "net.ipv4.ip_forward=1",
            },
            "usr/lib/sysctl.d/50-a.conf",
        ),
        (
            {"etc/sysctl.d/50-a.conf": "net.ipv4.ip_forward = 0\n", "run/sysctl.d/60-b.conf": "net.ipv4.ip_forward=1"},
            "",
        ),
        (
            {"etc/sysctl.d/99-a.conf": "net.ipv4.ip_forward = 1\n", "etc/sysctl.conf": "net.ipv4.ip_forward=0"},
            "etc/sysctl.conf",
        ),
        ({"etc/ufw/sysctl.conf": "net/ipv4/ip_forward=0"}, "etc/ufw/sysctl.conf"),
    ],
)
def test_the_last_file_that_turns_forwarding_off_is_named(tmp_path: Path, files: dict[str, str], culprit: str) -> None:
    for name, text in files.items():
        put(tmp_path, name, text)
    said = list(forwarding(tmp_path))
    assert [sentence.split()[0] for sentence in said] == ([f"/{culprit}"] if culprit else [])


FIRST = "default via 192.0.2.1 dev eth0 \n192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.2 \n"


@pytest.mark.parametrize(
    ("routes", "ways"),
    [
        ("", ""),
        (FIRST, ""),
        (FIRST + "default via 192.0.2.3 dev eth0 metric 500 \n", ""),
        (FIRST + "203.0.113.0/24 via 198.51.100.1 dev eth1 \nunreachable default metric 9 \n", ""),
        (FIRST + "default via 198.51.100.1 dev eth1 metric 500 \n", "(eth0, eth1)"),
        (FIRST + "default dev wg0 table 51820 scope link \n", "(eth0, wg0)"),
        (
            "default proto static \\\tnexthop via 192.0.2.1 dev a \\\tnexthop via 198.51.100.1 dev b \n",
            "(a, b)",
        ),
    ],
)
def test_a_host_with_several_ways_out_is_refused_a_strict_filter(routes: str, ways: str) -> None:
    found = list(ways_out(says(ip=routes)))
    assert bool(found) == bool(ways)
    assert ways in "".join(found)


HOLD = """
import fcntl, sys, time
lock = open(sys.argv[1], "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def held(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process that holds one of apt's locks, as apt does, for so many seconds."""
    name, seconds = request.param
    lock = put(tmp_path, name, "")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, lock, str(seconds)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("held", [(name, 60) for name in APT_LOCKS], indirect=True)
def test_whoever_keeps_apt_locked_is_named(tmp_path: Path, held: subprocess.Popen[str]) -> None:
    (said,) = apt(tmp_path, 0.2)
    assert re.match(rf"apt has been locked for 0 s by py\S* \(process {held.pid}\): wait until it has ended", said)


@pytest.mark.parametrize("held", [(APT_LOCKS[0], 1)], indirect=True)
def test_apt_is_waited_for(tmp_path: Path, held: subprocess.Popen[str]) -> None:
    assert list(apt(tmp_path, 20)) == []
    assert held.wait(5) == 0  # by itself


def test_a_free_apt_is_not_waited_for(tmp_path: Path) -> None:
    put(tmp_path, APT_LOCKS[0], "")
    assert list(apt(tmp_path, 3600)) == []
