"""What fail2ban has laid into the firewall."""

from __future__ import annotations

from testinfra.host import Host


def walled(host: Host, jail: str, address: str) -> bool:
    """Tell whether *jail* drops what comes from *address*, on its way to the host itself and to the containers."""
    tool, bits = ("ip6tables", 128) if ":" in address else ("iptables", 32)
    chains = {"INPUT": f"f2b-{jail}", "DOCKER-USER": f"f2b-{jail}-docker"}
    return all(
        f" -j {chain}\n" in host.run(f"{tool} --list-rules {way}").stdout
        and f"-s {address}/{bits} -j DROP" in host.run(f"{tool} --list-rules {chain}").stdout
        for way, chain in chains.items()
    )
