"""What the probes stand on: the host by ssh, a second machine outside it, and the site as viewers know it.

`pytest checklist --inventory inventories/ENV` judges the one host of that inventory. Where the inventory names a
disposable host, "outside" is the machine that the lab role started beside it; otherwise it is this machine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import testinfra
from api import Api
from controller import Controller
from minutes import Minute, a_minute
from outside import Manage, NewKey, Outside, Publish, Publisher, Site, Stranger, pace, patient, stranger_to
from testinfra.host import Host

VARIABLES = (
    "ansible_host",
    "ansible_user",
    "ansible_ssh_private_key_file",
    "ansible_ssh_common_args",
    "disposable_host",
    "disposable_host_slowness",
    "streamkeep_domain",
    "streamkeep_relay",
)


def counts(text: str) -> list[int]:
    """Return the numbers in *text*, which stand between commas."""
    return [int(each) for each in text.split(",")]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--inventory", required=False, help="inventory with exactly one host, e.g. inventories/demo")
    group = parser.getgroup("benchmarks/media.py")
    group.addoption(
        "--streams",
        type=counts,
        default=[1, 10],
        help="how many streams at once, such as 1,10 for one number after the other",
    )
    group.addoption("--ladder", default="copy", choices=["copy", "default"], help="what the host was deployed for")
    group.addoption("--scheme", default="rtmps", choices=["rtmps", "rtmp"], help="how publishers come")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell a failure when it happens: the whole checklist takes a while, and its summary comes last."""
    if report.failed:
        print(f"\n{report.nodeid} ({report.when})\n{report.longreprtext[-3000:]}", file=sys.__stderr__, flush=True)


@cache
def described(inventory: str) -> dict[str, str]:
    """Ask Ansible itself, so that an inventory means here what it means to a playbook."""
    wanted = ", ".join(f"'{name}': {name} | default('')" for name in VARIABLES)
    answer = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible"),
            "-i",
            inventory,
            "streamkeep",
            "-m",
            "ansible.builtin.debug",
            "-a",
            f"msg={{{{ {{{wanted}}} }}}}",
        ],
        capture_output=True,
        text=True,
        check=True,
        env=_plain_ansible(),
    )
    found = json.loads(answer.stdout)["plays"][0]["tasks"][0]["hosts"]
    assert len(found) == 1, f"{inventory} has {len(found)} hosts; judge them one by one"
    values: dict[str, str] = next(iter(found.values()))["msg"]
    return values


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give every probe the time that the host needs, and leave out what is about the pace itself."""
    inventory = config.getoption("--inventory")
    pace["factor"] = float(described(inventory)["disposable_host_slowness"] or 1) if inventory else 1.0
    if pace["factor"] == 1:
        return
    limit = pytest.mark.timeout(patient(float(config.getini("timeout"))))
    for item in items:
        item.add_marker(limit)
        if item.get_closest_marker("brisk"):
            item.add_marker(pytest.mark.skip("not-testable: an emulated host is too slow for it"))


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Site:
    """Give the host as its inventory describes it."""
    inventory = request.config.getoption("--inventory")
    if not inventory:
        pytest.fail("Say which host to judge: pytest checklist --inventory inventories/ENV")
    values = described(inventory)
    lab = values["disposable_host"]
    return Site(
        address=values["ansible_host"],
        user=values["ansible_user"],
        key_file=values["ansible_ssh_private_key_file"],
        ssh_arguments=values["ansible_ssh_common_args"],
        domain=values["streamkeep_domain"],
        outside=(Path(lab) / "outside").read_text(encoding="utf-8").strip() if lab else "",
        relays=bool(values["streamkeep_relay"]),
    )


def _plain_ansible() -> dict[str, str]:
    """Return an environment in which ad-hoc ansible prints JSON and nothing else."""
    return os.environ | {
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
    }


@pytest.fixture(scope="session")
def host(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Give the host, as root."""
    options = shlex.split(site.ssh_arguments)
    lines = [value.replace("=", " ", 1) for option, value in pairwise(options) if option == "-o"]
    if site.key_file:
        lines.append(f"IdentityFile {site.key_file}")
    config = tmp_path_factory.mktemp("ssh") / "config"
    # One connection for all probes: the host's firewall counts new ones.
    lines += ["ControlMaster auto", f"ControlPath {config.parent}/%C", "ControlPersist 60"]
    # And one that notices when the host has gone, to boot for instance.
    lines += ["ServerAliveInterval 15", "ServerAliveCountMax 4"]
    config.write_text("\n".join(["Host *", *lines, ""]), encoding="utf-8")
    return testinfra.get_host(f"ssh://{site.user}@{site.address}?controlpersist=0&sudo=true&ssh_config={config}")


@pytest.fixture(scope="session")
def controller(request: pytest.FixtureRequest, site: Site) -> Controller:
    """Give who deploys to the host, on purpose also what is wrong."""
    if not site.outside:
        pytest.skip("not-testable: only a disposable host is deployed to for a probe")
    return Controller(request.config.getoption("--inventory"))


@pytest.fixture(scope="session")
def own_kernel(host: Host) -> bool:
    """Tell whether the host's kernel is its own; a container's is the machine's underneath."""
    return bool(host.run("systemd-detect-virt --container --quiet").rc != 0)


@pytest.fixture(scope="session")
def address6(host: Host, site: Site, outside: Outside) -> str:
    """Give the host's IPv6 address, or nothing where it has none or the machine outside cannot come by IPv6."""
    card = host.check_output(f"ip -4 -oneline address show to {site.address} | awk '{{print $2}}'")
    shown = host.check_output(f"ip -6 address show dev {card or 'lo'} scope global")
    address = "".join(re.findall(r"inet6 ([0-9a-f:]+)/", shown)[:1])
    return address if address and outside.run(f"ip -6 route get {address}").returncode == 0 else ""


@pytest.fixture(scope="session")
def outside(site: Site) -> Outside:
    """Give a machine that is not the host."""
    return Outside(site.outside)


@pytest.fixture(scope="module")
def api(site: Site, outside: Outside, host: Host) -> Iterator[Api]:
    """The API for an admin who exists for the probes of a file alone."""
    manage = "docker exec python-orchestrator flask streamkeep user"
    host.run(f"{manage} create probe-admin --role admin")
    host.check_output(f"{manage} enable probe-admin")
    made = json.loads(host.check_output(f"{manage} reset-password probe-admin"))
    user = Api(site, outside)
    user.sign_in("probe-admin", made["password"])
    yield user
    host.check_output(f"{manage} disable probe-admin")


@pytest.fixture(scope="session")
def manage(host: Host) -> Manage:
    """Run `flask streamkeep ...` in the app's container and return what it prints."""

    def call(*arguments: str) -> list[dict[str, str]]:
        words = " ".join(arguments)
        lines = host.check_output(f"docker exec python-orchestrator flask streamkeep {words}").splitlines()
        return [json.loads(line) for line in lines]

    return call


@pytest.fixture
def new_key(manage: Manage) -> Iterator[NewKey]:
    """Make a stream key by name and return its play path; what a test made is revoked after it."""
    made = []

    def make(slug: str) -> str:
        (key,) = manage("key", "create", slug, "--rotate")
        made.append(slug)
        return f"{slug}?key={key['key']}"

    yield make
    for slug in made:
        manage("key", "revoke", slug)


@pytest.fixture(scope="session")
def minute(site: Site, outside: Outside, manage: Manage) -> Iterator[Minute]:
    """Give a stream that runs from the first probe that asks for it until one judges it."""
    with a_minute(site, outside, manage) as made:
        yield made


@pytest.fixture
def publish(site: Site, outside: Outside) -> Iterator[Publish]:
    """Begin to publish from outside; whatever still runs after the test is ended."""
    publishers: list[Publisher] = []

    def begin(playpath: str, scheme: str = "rtmps") -> Publisher:
        port = {"rtmp": 1935, "rtmps": 1936}[scheme]
        publishers.append(outside.publish(f"{scheme}://{site.address}:{port}/live", playpath))
        return publishers[-1]

    yield begin
    for publisher in publishers:
        publisher.stop()


@pytest.fixture
def stranger(site: Site, host: Host) -> Iterator[Stranger]:
    """Give a machine with an address of its own, which no ban of another probe concerns."""
    with stranger_to(site, host, "stranger") as machine:
        yield machine
