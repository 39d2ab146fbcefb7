"""Judge what an operator set, all of it at once, before anything is touched.

Every problem is one sentence that says what is wrong and what to write instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

DNS_NAME = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])", re.I)
# RFC 2606 and 6761 keep these for documentation; the guide's own placeholders are the others.
PLACEHOLDER = re.compile(r"(^|[.@])(example(\.(com|net|org))?|(your)?domain\.(com|example)|changeme|replace_me)$", re.I)
# Names that exist inside a network only (RFC 2606, 6762, 8375, and ICANN's .internal).
PRIVATE_NAME = re.compile(r"\.(test|local|localhost|internal|invalid|lan|home\.arpa)$", re.I)
NOT_TEXT = {"bool": "true or false", "int": "a number", "list": "a list", "dict": "a dictionary"}
# As browsers write it in the header Origin (RFC 6454): a host in small letters, and a port unless it is 443.
ORIGIN = re.compile(r"https://(?P<host>[a-z0-9.-]{1,253})(:(?P<port>[0-9]{1,5}))?")
RENDITION = re.compile(r"[a-z0-9_-]{1,20}")

Settings = Mapping[str, Any]
Problems = Iterable[str]


def known_settings(roles: Path) -> dict[str, dict[str, Any]]:
    """Return {variable: its argument spec} from the specs of all *roles*."""
    known: dict[str, dict[str, Any]] = {}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            known |= entry["options"]
    return known


def unknown(names: Iterable[str], known: Iterable[str], prefixes: Iterable[str]) -> Problems:
    """Tell which of *names* carry one of our *prefixes* and mean nothing."""
    known, prefixes = list(known), tuple(prefixes)
    for name in sorted(set(names) - set(known)):
        if name.startswith(prefixes):
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]}?" if close else "remove it, or look it up in group_vars/all."
            yield f"{name} is no setting of Streamkeep: {hint}"


def mistyped(settings: Settings, known: Mapping[str, dict[str, Any]]) -> Problems:
    """Tell which *settings* do not have the type or the choices that their spec gives.

    Text that could be converted is refused as well: templates take the text "false" for true.
    """
    for name in sorted(set(settings) & set(known)):
        spec = {key: value for key, value in known[name].items() if key not in ("default", "required", "description")}
        messages = ArgumentSpecValidator({name: spec}).validate({name: settings[name]}).error_messages
        for message in messages:
            yield f"{name}: {message.rstrip('.')}."
        if not messages and isinstance(settings[name], str) and spec["type"] in NOT_TEXT:
            yield (
                f"{name} is text where {NOT_TEXT[spec['type']]} is meant: write it without quotes, "
                f"and behind -e as JSON: -e '{{\"{name}\": ...}}'."
            )


def _name(setting: str, value: str) -> Problems:
    """Judge a DNS name that must be the operator's own."""
    if PLACEHOLDER.search(value):
        yield f"{setting} is still the placeholder '{value}': write the host's public DNS name into your inventory."
    elif not DNS_NAME.fullmatch(value):
        yield f"{setting} is '{value}', which is no DNS name: write one such as live.your-organisation.org."


def domain(settings: Settings) -> Problems:
    """Judge the host's own name."""
    if not settings.get("streamkeep_domain"):
        yield "streamkeep_domain is not set: write the host's public DNS name into your inventory."
    else:
        yield from _name("streamkeep_domain", str(settings["streamkeep_domain"]))


def contact(settings: Settings) -> Problems:
    """Judge the address for security reports."""
    value = str(settings.get("streamkeep_contact") or "")
    mailbox, at, host = value.rpartition("@")
    if not value:
        yield "streamkeep_contact is not set: write the e-mail address for security reports into your inventory."
    elif PLACEHOLDER.search(value):
        yield f"streamkeep_contact is still the placeholder '{value}': write an address that somebody reads."
    elif not (at and DNS_NAME.fullmatch(host) and re.fullmatch(r"[A-Za-z0-9._%+-]{1,64}", mailbox)):
        yield f"streamkeep_contact is '{value}', which is no e-mail address: write one such as security@{host}."


def extra_names(settings: Settings) -> Problems:
    """Judge further names and addresses of the host."""
    for value in settings.get("streamkeep_extra_names") or []:
        try:
            ip_address(value)
        except ValueError:
            yield from _name("streamkeep_extra_names", str(value))


def _network(value: Any) -> IPv4Network | IPv6Network:
    """Return the network of a CIDR; ValueError for one that is spelled otherwise, such as with a netmask."""
    network = ip_network(value)
    _, slash, bits = str(value).partition("/")
    if slash and bits != str(network.prefixlen):
        raise ValueError(value)
    return network


def _networks(setting: str, values: Iterable[Any]) -> Problems:
    """Judge a list of CIDRs."""
    for value in values:
        try:
            _network(value)
        except ValueError:
            try:
                cure = f"write {ip_network(value, strict=False)}"
            except ValueError:
                cure = "write one such as 198.51.100.0/24"
            yield f"{setting} holds '{value}', which is no network in CIDR form: {cure}."


def _everybody(values: Iterable[Any]) -> str:
    """Return the family that a list of CIDRs holds entirely, be it in parts; nothing when it leaves anybody out."""
    networks = []
    for value in values:
        with suppress(ValueError):  # what is no network has been told already
            networks.append(_network(value))
    for family in (IPv4Network, IPv6Network):
        if any(network.prefixlen == 0 for network in collapse_addresses(n for n in networks if isinstance(n, family))):
            return "IPv4" if family is IPv4Network else "IPv6"
    return ""


def sources(settings: Settings) -> Problems:
    """Judge who may reach ssh and who may publish."""
    publishers = settings.get("streamkeep_publisher_sources") or []
    admins = settings.get("streamkeep_admin_sources") or []
    yield from _networks("streamkeep_admin_sources", admins)
    if (family := _everybody(admins)) and not any(str(value).endswith("/0") for value in admins):
        yield f"streamkeep_admin_sources holds all of {family} in parts: write 0.0.0.0/0 or ::/0, or list networks."
    yield from _networks("streamkeep_publisher_sources", publishers)
    if not publishers:
        yield (
            "streamkeep_publisher_sources is not set: list the networks that may publish, such as 198.51.100.0/24, "
            "in your inventory."
        )
    family = _everybody(publishers)
    if family and not settings.get("streamkeep_publishers_anywhere"):
        yield (
            f"streamkeep_publisher_sources holds all of {family}, which is everybody: list networks, or say so with "
            "streamkeep_publishers_anywhere: true."
        )


def bans(settings: Settings) -> Problems:
    """Judge who is never banned."""
    spared = settings.get("streamkeep_never_ban") or []
    yield from _networks("streamkeep_never_ban", spared)
    if family := _everybody(spared):
        yield f"streamkeep_never_ban holds all of {family}, which is everybody: list the few never to be banned."


def relay(settings: Settings) -> Problems:
    """Judge which private networks streams may be passed on to."""
    networks = settings.get("streamkeep_relay_networks") or []
    yield from _networks("streamkeep_relay_networks", networks)
    if family := _everybody(networks):
        yield (
            f"streamkeep_relay_networks holds all of {family}, which opens your own networks to every streamer: list "
            "the few that are meant; the internet needs no entry."
        )


def embedding(settings: Settings) -> Problems:
    """Judge whose pages may show public streams."""
    for origin in settings.get("streamkeep_embed_origins") or []:
        found = ORIGIN.fullmatch(str(origin))
        port = int(found["port"]) if found and found["port"] else None
        if not (found and DNS_NAME.fullmatch(found["host"]) and (port is None or (0 < port < 65_536 and port != 443))):
            yield (
                f"streamkeep_embed_origins holds '{origin}', which is no https origin as browsers send it: write one "
                "such as https://www.your-organisation.org, in small letters, without a path, a wildcard or :443."
            )


def firewall(settings: Settings) -> Problems:
    """Judge what an operator set for the firewall itself; the other rules judge what it takes from streamkeep_*."""
    for setting in ("firewall_ssh_sources", "firewall_publisher_sources", "firewall_egress_networks"):
        yield from _networks(setting, settings.get(setting) or [])
    for setting in ("firewall_public_ports", "firewall_publisher_ports"):
        for port in settings.get(setting) or []:
            if not isinstance(port, int) or not 1 <= port <= 65_535:
                yield f"{setting} holds {port}, which is no port: write numbers from 1 to 65535."


def numbers(settings: Settings) -> Problems:
    """Judge the limits."""
    ranges = {
        "streamkeep_max_concurrent_streams": (1, 200),
        "streamkeep_api_rate_limit": (1, 100_000),
        "streamkeep_login_rate_limit": (1, 1000),
        "streamkeep_hls_megabytes": (64, 65_536),
        "streamkeep_ban_retries": (1, 100),
        "streamkeep_ban_window_seconds": (10, 86_400),
        "streamkeep_ban_seconds": (10, 31_536_000),
        "streamkeep_ban_repeat_seconds": (10, 31_536_000),
        "streamkeep_takeover_seconds": (3, 20),
        "streamkeep_recording_days": (1, 3650),
        "streamkeep_recordings_megabytes": (256, 100_000_000),
    }
    for setting, (least, most) in ranges.items():
        value = settings.get(setting)
        if isinstance(value, int) and not least <= value <= most:
            yield f"{setting} is {value}: write a number from {least} to {most}."


def reboot_time(settings: Settings) -> Problems:
    """Judge when the host may boot by itself."""
    value = str(settings.get("streamkeep_reboot_time") or "")
    if value and not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
        yield f'streamkeep_reboot_time is "{value}": write a time of day such as "04:30" in quotes, or "" for never.'


def ladder(settings: Settings) -> Problems:
    """Judge the renditions."""
    renditions = settings.get("streamkeep_ladder")
    if not isinstance(renditions, list) or not all(isinstance(r, dict) for r in renditions):
        return  # its type has been judged already
    names = [str(r.get("name", "")) for r in renditions]
    if not renditions or renditions[0].get("height"):
        yield "streamkeep_ladder must begin with the source as it came: {name: source}, without a height."
    if len(set(names)) != len(names) or not all(RENDITION.fullmatch(name) for name in names):
        yield "streamkeep_ladder needs a name of its own (a-z, 0-9, -, _) for each rendition."
    for rendition in renditions[1:]:
        if not all(
            isinstance(rendition.get(f), int) and rendition[f] > 0 for f in ("height", "video_kbps", "audio_kbps")
        ):
            yield f"streamkeep_ladder's {rendition.get('name')} needs height, video_kbps and audio_kbps above 0."


def acme(settings: Settings) -> Problems:
    """Judge whom to ask for a certificate."""
    directory = str(settings.get("streamkeep_acme_directory_url") or "")
    bundle = str(settings.get("streamkeep_acme_ca_bundle") or "")
    if directory and not re.fullmatch(r"https://[^\s'\"$`\\]+", directory):
        yield f"streamkeep_acme_directory_url is '{directory}': write an address that begins with https://."
    if directory and settings.get("streamkeep_acme_staging"):
        yield "streamkeep_acme_staging is Let's Encrypt's: set it or streamkeep_acme_directory_url, not both."
    if bundle and not directory:
        yield "streamkeep_acme_ca_bundle needs the authority that it is for: set streamkeep_acme_directory_url as well."
    if bundle and not Path(bundle).is_file():
        yield f"streamkeep_acme_ca_bundle is '{bundle}', which is no file here: write the path of a PEM file."
    if settings.get("streamkeep_certificate_mode") == "acme" and not directory:
        for name in [settings.get("streamkeep_domain"), *(settings.get("streamkeep_extra_names") or [])]:
            if PRIVATE_NAME.search(str(name)):
                yield (
                    f"No public authority signs for {name}: use a public name, name your own authority in "
                    "streamkeep_acme_directory_url, or set streamkeep_certificate_mode: selfsigned."
                )


RULES: tuple[Callable[[Settings], Problems], ...] = (
    domain,
    contact,
    extra_names,
    sources,
    bans,
    relay,
    embedding,
    firewall,
    numbers,
    reboot_time,
    ladder,
    acme,
)


def validate(settings: Settings, roles: Path) -> list[str]:
    """Return all problems of *settings*, given the folder of our *roles*."""
    known = known_settings(roles)
    prefixes = ["streamkeep_", *(f"{path.parent.parent.name}_" for path in roles.glob("*/meta/argument_specs.yml"))]
    problems = [*unknown(settings, known, prefixes), *mistyped(settings, known)]
    return problems or [problem for rule in RULES for problem in rule(settings)]


class ActionModule(ActionBase):
    """Argument: *roles* (folder). Fails with all problems of this host's settings, or changes nothing."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge the variables of this host that carry one of our prefixes."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        roles = Path(self._task.args["roles"])
        prefixes = ("streamkeep_", *(f"{path.name}_" for path in roles.iterdir()))
        ours = {name: value for name, value in (task_vars or {}).items() if name.startswith(prefixes)}
        problems = validate({name: self._templar.template(value) for name, value in ours.items()}, roles)
        if problems:
            result.update(failed=True, msg="\n".join(problems))
        return result
