"""What systemd owns, and what a second look at the host shows."""

from __future__ import annotations

import pytest
from outside import Site
from testinfra.host import Host


@pytest.mark.parametrize("unit", ["docker", "streamkeep", "streamkeep-firewall", "ufw"])
def test_it_runs_and_comes_back_after_a_boot(host: Host, unit: str) -> None:
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


def test_the_engine_is_configured(host: Host) -> None:
    info = host.check_output("docker info --format '{{json .SecurityOptions}} {{.LiveRestoreEnabled}}'")
    assert "name=userns" in info
    assert "name=seccomp" in info
    assert info.endswith("true")
    assert "0.0.0.0:2375" not in host.check_output("ss -ltn")


def test_the_stack_has_few_networks_and_two_lead_nowhere(host: Host, site: Site) -> None:
    form = "'{{.Name}} {{.Internal}}'"
    names = "$(docker network ls --quiet --filter label=com.docker.compose.project=streamkeep)"
    found = sorted(host.check_output(f"docker network inspect --format {form} {names}").splitlines())
    expected = ["streamkeep_backend true", "streamkeep_frontend false", "streamkeep_monitoring true"]
    assert found == sorted(expected + ["streamkeep_egress false"] * site.relays)


def test_the_database_is_for_the_app_alone(host: Host) -> None:
    folder = host.file("/var/lib/streamkeep/data")
    assert (folder.uid, folder.mode) == (1_010_001, 0o700)
    for path in host.check_output("find /var/lib/streamkeep/data -type f").split():
        assert (host.file(path).uid, host.file(path).mode) == (1_010_001, 0o600)


def test_the_firewall_denies_by_default(host: Host) -> None:
    status = host.check_output("ufw status verbose")
    assert "Status: active" in status
    assert "deny (incoming), allow (outgoing)" in status
    rules = host.check_output("iptables --list-rules STREAMKEEP-INGRESS").splitlines()
    assert rules[-1].endswith("-j DROP")
    assert "-A DOCKER-USER -j STREAMKEEP-CONTAINERS" in host.check_output("iptables --list-rules DOCKER-USER")
