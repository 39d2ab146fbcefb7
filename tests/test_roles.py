"""What roles decide by an expression or a task alone, tried without a host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment
from jinja2.nativetypes import NativeEnvironment

ROOT = Path(__file__).parents[1]
ANSIBLE = Path(sys.executable).parent / "ansible-playbook"
OWN, ELSEWHERE = "192.0.2.7", "203.0.113.9"


def variables(role: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text(encoding="utf-8"))
    return found


def judged(
    tmp_path: Path, tasks: str, variables: list[str], settings: dict[str, Any], facts: dict[str, dict[str, Any]]
) -> dict[str, str]:
    """Run *tasks* of a role here with its own *variables* and *settings* for hosts with these *facts*, all in one run.

    Return what each host was refused for, empty where it passed. Programs in the folder *tmp_path* / HOST stand in for
    those of the host.
    """
    play = {
        "name": "Judge",
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "environment": {"PATH": f"{tmp_path}/{{{{ inventory_hostname }}}}:{os.environ['PATH']}"},
        "vars_files": [str(ROOT / "roles" / each / "main.yml") for each in variables],
        "vars": settings | {"ansible_facts": "{{ facts_of_host }}", "ansible_python_interpreter": sys.executable},
        "tasks": [{"name": "Judge", "ansible.builtin.import_tasks": str(ROOT / "roles" / tasks)}],
    }
    (tmp_path / "play.json").write_text(json.dumps([play]))
    hosts = {host: {"facts_of_host": known} for host, known in facts.items()}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    done = subprocess.run(
        [ANSIBLE, "-i", "hosts.json", "play.json"],
        cwd=tmp_path,
        env=os.environ | {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
        capture_output=True,
        text=True,
    )
    told = json.loads(done.stdout)
    assert set(told["stats"]) == set(facts), done.stderr
    refused = dict.fromkeys(facts, "")
    for task in told["plays"][0]["tasks"]:
        for host, result in task["hosts"].items():
            if result.get("failed"):
                refused[host] = json.dumps(result)
    assert {host for host, stats in told["stats"].items() if stats["failures"] or stats["unreachable"]} == {
        host for host, why in refused.items() if why
    }
    return refused


@pytest.mark.parametrize(
    ("staging", "own", "server"),
    [
        (False, "", "https://acme-v02.api.letsencrypt.org/directory"),
        (True, "", "https://acme-staging-v02.api.letsencrypt.org/directory"),
        (False, "https://ca.streams.test/dir", "https://ca.streams.test/dir"),
    ],
)
def test_the_authority_that_is_asked_follows_from_the_settings(staging: bool, own: str, server: str) -> None:
    template = Environment().from_string(variables("renewal")["_renewal_server"])  # noqa: S701  # no page
    assert template.render(renewal_staging=staging, renewal_directory_url=own) == server


@pytest.mark.parametrize(
    ("cores", "renditions"),
    [
        (None, ["source", "480p"]),
        (2, ["source", "480p"]),
        (4, ["source", "720p", "480p"]),
        (8, ["source", "720p", "480p", "240p"]),
    ],
)
def test_a_host_offers_more_renditions_the_more_cores_it_has(cores: int | None, renditions: list[str]) -> None:
    ladder = yaml.safe_load((ROOT / "group_vars/all/streams.yml").read_text(encoding="utf-8"))["streamkeep_ladder"]
    template = NativeEnvironment().from_string(ladder)
    rungs = template.render(ansible_facts={"processor_vcpus": cores} if cores else {})
    assert [rung["name"] for rung in rungs] == renditions
    assert rungs[0] == {"name": "source"}
    assert all(rung["name"] == f"{rung['height']}p" for rung in rungs[1:])


# As the engine says it, by its Debian releases.
NO_ANSWER = [
    'Get "https://x.test/v2/": dial tcp: lookup x.test on 127.0.0.53:53: no such host',
    'Get "https://x.test/v2/": dial tcp: lookup x.test on 127.0.0.53:53: server misbehaving',
    'Get "https://x.test/v2/": dial tcp: lookup x.test: Temporary failure in name resolution',
    'Get "http://127.0.0.1:5999/v2/": dial tcp 127.0.0.1:5999: connect: connection refused',
    'Get "https://x.test/v2/": dial tcp 192.0.2.1:443: connect: no route to host',
    'Get "https://x.test/v2/": dial tcp 192.0.2.1:443: connect: network is unreachable',
    'Get "https://x.test/v2/": dial tcp 192.0.2.1:443: i/o timeout',
    'Get "https://x.test/v2/": net/http: TLS handshake timeout',
    'Get "https://x.test/v2/": net/http: request canceled while waiting for connection (Client.Timeout exceeded while'
    " awaiting headers)",
    'Get "https://x.test/v2/": context deadline exceeded',
]
REFUSED = [
    "manifest for x.test/debian@sha256:00 not found: manifest unknown: manifest unknown",
    "pull access denied for x.test/debian, repository does not exist or may require 'docker login'",
    'Get "https://x.test/v2/": x509: certificate signed by unknown authority',
    "toomanyrequests: You have reached your pull rate limit.",
]


@pytest.mark.parametrize("said", NO_ANSWER + REFUSED)
def test_only_a_registry_that_gives_no_answer_leads_to_the_bootstrap(said: str) -> None:
    seen = re.search("(?i)" + "|".join(variables("images")["_images_no_answer"]), said)
    assert bool(seen) == (said in NO_ANSWER)


# What DNS says of a name, and what a deployment says to that.
NAMES = {
    "ours": ([OWN], ""),
    "ours-and-loopback": (["127.0.1.1", OWN], ""),
    "ours-and-one": ([OWN, "::1"], ""),
    "a-second-by-ipv6": (
        [OWN, "2001:db8::7"],
        "has an AAAA record (2001:db8::7), and the site is served by IPv4 alone",
    ),
    "ipv6-alone": (["2001:db8::7"], "remove the record, because viewers and the authority would try IPv6 first"),
    "elsewhere": (
        [ELSEWHERE],
        f"live.streams.test leads to {ELSEWHERE}, which is not this host: give it an A record",
    ),
    "none": ([], "live.streams.test has no address in DNS: give it an A record"),
}


def test_names_that_do_not_lead_here_by_ipv4_alone_are_refused(tmp_path: Path) -> None:
    # The host has the second address, which changes nothing: no container listens there.
    known: dict[str, Any] = {
        "all_ipv4_addresses": [OWN],
        "all_ipv6_addresses": ["2001:db8::7"],
        "default_ipv4": {"address": OWN},
    }
    for host, (addresses, _) in NAMES.items():
        lines = "".join(f"{address} STREAM live.streams.test\n" for address in addresses)
        (tmp_path / host).mkdir()
        getent = tmp_path / host / "getent"
        getent.write_text(f"#!/bin/sh\nprintf '%s' '{lines}'\n{'true' if lines else 'exit 2'}\n")
        getent.chmod(0o755)
    refused = judged(
        tmp_path,
        "preflight/tasks/names.yml",
        ["preflight/vars"],
        {"streamkeep_domain": "live.streams.test", "streamkeep_extra_names": ["198.51.100.4"]},
        dict.fromkeys(NAMES, known),
    )
    for host, (_, said) in NAMES.items():
        assert bool(refused[host]) == bool(said), host
        assert said in refused[host], host


# The cards of a host, and which of them passes for a container.
CARDS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "bridge": (
        [{"device": "eth0", "type": "ether"}, {"device": "br-1a2b", "type": "bridge", "interfaces": ["veth1"]}],
        "",
    ),
    "docker": ([{"device": "docker0", "type": "bridge", "interfaces": []}, {"device": "lan", "type": "ether"}], ""),
    "own-bridge": ([{"device": "br0", "type": "bridge", "interfaces": ["eth1"]}], ""),
    "card-in-bridge": ([{"device": "br-lan", "type": "bridge", "interfaces": ["eth1", "veth1"]}], "eth1"),
    "card": ([{"device": "br-lan", "type": "ether"}], "br-lan"),
    "vlan": ([{"device": "sk-wan.5", "type": "ether"}], "sk-wan.5"),
}


def test_a_card_that_passes_for_a_container_is_refused(tmp_path: Path) -> None:
    facts: dict[str, dict[str, Any]] = {
        host: {re.sub("[-.]", "_", card["device"]): card for card in cards}
        | {"default_ipv4": {"interface": "eth0", "type": "ether"}}
        for host, (cards, _) in CARDS.items()
    }
    refused = judged(tmp_path, "firewall/tasks/validate.yml", ["firewall/defaults", "firewall/vars"], {}, facts)
    for host, (_, mistaken) in CARDS.items():
        assert bool(refused[host]) == bool(mistaken), host
        assert not mistaken or f"{host} reaches the outside by {mistaken}, which" in refused[host], host


@pytest.mark.parametrize(
    ("environment", "called", "port"),
    [
        ({"SSH_CONNECTION": "198.51.100.7 50022 192.0.2.7 22"}, 2222, 22),
        ({"SSH_CONNECTION": "2001:db8::7 50022 2001:db8::1 2200"}, None, 2200),
        ({}, 2222, 2222),
        ({}, None, 22),
        (None, None, 22),
    ],
    ids=["behind NAT", "by a jump host", "not by ssh", "not by ssh, nor told", "facts without an environment"],
)
def test_the_firewall_opens_the_port_by_which_the_controller_came(
    environment: dict[str, str] | None, called: int | None, port: int
) -> None:
    template = NativeEnvironment().from_string(variables("firewall")["_firewall_ssh_port"])
    known = {"ansible_facts": {} if environment is None else {"env": environment}}
    assert template.render(known | ({"ansible_port": called} if called else {})) == port
