"""Where people look, and where a secret must therefore not show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from outside import Site
from testinfra.host import Host


def assert_hidden(host: Host, site: Site, secrets: Iterable[str], elsewhere: Mapping[str, str]) -> None:
    """Fail where one of *secrets* shows: in the places below or *elsewhere*, {place: command that prints it}."""
    containers = "proxy python-orchestrator python-worker nginx-rtmp ffmpeg" + " relay" * site.relays
    places = {
        "docker inspect": f"docker inspect {containers}",
        "logs": f"for c in {containers}; do docker logs $c 2>&1; done",
        "journal": "journalctl --no-pager --lines 5000",
        "arguments": "cat /proc/[0-9]*/cmdline | tr '\\0' ' '",
        "environments": "cat /proc/[0-9]*/environ | tr '\\0' ' '",
        "database": "cat /var/lib/streamkeep/data/* | tr -cd '[:print:]'",
    }
    hidden = list(secrets)
    for place, command in {**places, **elsewhere}.items():
        text = host.check_output(command)
        assert text, f"{place} could not be read"
        assert not any(value in text for value in hidden), f"a secret shows in {place}"
