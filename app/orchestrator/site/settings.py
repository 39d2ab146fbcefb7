"""Settings from the environment; refuses to start on what the security guide (section 2) forbids.

A secret comes as a file (``NAME_FILE``), so that ``docker inspect`` shows none; ``NAME`` itself is read where no file
is named. A refusal names the setting and never its value.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

from flask import current_app

# Defaults seen in the wild are made of these words: changeme, REPLACE_ME, your-secret-here, please_change_this_key ...
PLACEHOLDER_WORDS = (
    "admin change data default dev enter example fixme generate here in insert is it jwt key long me must my of or "
    "pass please prod production random replace secret set some string super test the this to todo token "
    "use value very with word you your"
)
PLACEHOLDER = re.compile(f"(?:{'|'.join(PLACEHOLDER_WORDS.split())}|[^a-z])+")
FEWEST_DIFFERENT = 8  # characters; 16 random bytes have as few once in 25 million times, and longer secrets never
# As browsers write it in the header Origin (RFC 6454); it becomes part of a header of ours.
ORIGIN = re.compile(r"https://[a-z0-9.-]{1,253}(:[0-9]{1,5})?")
KEY_CHARACTERS = 32
ADMIN_PASSWORD_CHARACTERS = 16


class RefusedSetting(ValueError):
    """A setting with which the orchestrator will not start; the message is one sentence for the operator."""


Networks = tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True)
class Settings:
    """What the orchestrator was told. Addresses are IP addresses, limits are counts.

    *jwt_secret_previous* is the secret before the last rotation: what it signed holds until it expires. Empty: none.
    *data_key* encrypts what others entrusted to us, *data_key_previous* did so before the last rotation.
    *media_url* is where the supervisor is told what begins, *rtmp_control_url* where nginx-rtmp is told whom to drop;
    empty: nobody is told.
    *relay_peers* ask what is to be passed on to other servers; empty: this host passes nothing on.
    *embed_origins* are those whose pages may show public streams, such as https://www.streams.test; empty: nobody's.
    *log_file* is where fail2ban reads what also goes to standard output; None: nowhere.
    """

    database_path: Path
    jwt_secret: str
    jwt_secret_previous: str
    admin_username: str
    admin_password: str
    data_key: str
    data_key_previous: str
    max_concurrent_streams: int
    api_rate_limit_per_minute: int
    login_rate_limit_per_minute: int
    public_domain: str
    embed_origins: tuple[str, ...]
    security_contact: str
    trusted_proxy: str
    rtmp_peers: frozenset[str]
    media_peers: frozenset[str]
    relay_peers: frozenset[str]
    metrics_peers: Networks
    rtmp_stat_url: str
    rtmp_control_url: str
    media_url: str
    hls_path: Path
    recordings_path: Path
    reports_path: Path
    log_level: str
    log_file: Path | None

    @property
    def ingest_server(self) -> str:
        """The server to write into OBS."""
        return f"rtmps://{self.public_domain}:1936/live"


def _secret(environment: Mapping[str, str], name: str) -> str:
    """Return the secret *name* from its file or, without one, from the environment."""
    path = environment.get(f"{name}_FILE")
    if not path:
        return environment.get(name, "")
    try:
        return Path(path).read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedSetting(
            f"{name}_FILE can't be read ({type(error).__name__}): let the file belong to the orchestrator's uid."
        ) from None


def _is_placeholder(value: str) -> bool:
    """Tell whether *value* has a letter, and no letters but those of words that stand in for a secret."""
    text = value.lower()
    return PLACEHOLDER.fullmatch(text) is not None and any(character in string.ascii_lowercase for character in text)


def _repeats_itself(value: str) -> bool:
    """Tell whether *value* is one text written at least twice, the last time in part perhaps."""
    return any(value.startswith(value[period:]) for period in range(1, len(value) // 2 + 1))


def _checked_secret(environment: Mapping[str, str], name: str, characters: int) -> str:
    """Return the secret *name*, refused if empty, anything like a known default, or under *characters* long."""
    value = _secret(environment, name)
    if not value.strip():
        raise RefusedSetting(f"{name} is empty: generate one, for example with `openssl rand -hex 32`.")
    if _is_placeholder(value):
        raise RefusedSetting(f"{name} is a placeholder that everybody knows: generate one of your own.")
    if len(value) < characters:
        raise RefusedSetting(f"{name} is shorter than {characters} characters: generate a longer one.")
    if len(set(value)) < FEWEST_DIFFERENT or _repeats_itself(value):
        raise RefusedSetting(f"{name} repeats itself, and is guessed soon: generate one that is random.")
    return value


def _admin_password(environment: Mapping[str, str]) -> str:
    """Return the admin's password, refused unless it has all four classes of characters (guide, section 1)."""
    value = _checked_secret(environment, "ADMIN_PASSWORD", ADMIN_PASSWORD_CHARACTERS)
    classes = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
    if not all(any(c in kind for c in value) for kind in classes) or value.isalnum():
        raise RefusedSetting(
            "ADMIN_PASSWORD lacks a class of characters: use lower and upper case, digits and special characters."
        )
    return value


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    """Return the positive count *name*."""
    text = environment.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise RefusedSetting(f"{name} is not a positive number: write one, such as {default}.")
    return int(text)


def _peers(environment: Mapping[str, str], name: str) -> frozenset[str]:
    """Return the IP addresses in the comma separated list *name*."""
    peers = frozenset(part.strip() for part in environment.get(name, "").split(",") if part.strip())
    for peer in peers:
        try:
            ip_address(peer)
        except ValueError:
            raise RefusedSetting(f"{name} holds something that is not an IP address: list addresses only.") from None
    return peers


def _log_level(environment: Mapping[str, str]) -> str:
    """Return the level from which on the log is written."""
    level = environment.get("LOG_LEVEL", "INFO")
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise RefusedSetting("LOG_LEVEL is not one of DEBUG, INFO, WARNING, ERROR: write one of these.")
    return level


def _networks(environment: Mapping[str, str], name: str) -> Networks:
    """Return the networks in the comma separated list *name*."""
    try:
        return tuple(ip_network(part.strip()) for part in environment.get(name, "").split(",") if part.strip())
    except ValueError:
        raise RefusedSetting(
            f"{name} holds something that is not a network in CIDR form: list networks only."
        ) from None


def _origins(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the https origins in the list *name*, which spaces separate."""
    origins = tuple(environment.get(name, "").split())
    if not all(ORIGIN.fullmatch(origin) for origin in origins):
        raise RefusedSetting(
            f"{name} holds something that is no https origin: write such as https://www.your-organisation.org."
        )
    return origins


def _previous_secret(environment: Mapping[str, str], name: str) -> str:
    """Return the secret *name* before the last rotation, empty where there was none."""
    if not _secret(environment, f"{name}_PREVIOUS"):
        return ""
    return _checked_secret(environment, f"{name}_PREVIOUS", KEY_CHARACTERS)


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Return the settings in *environment*.

    Raises:
        RefusedSetting: the first setting that is missing, a known default, too short or malformed.
    """
    return Settings(
        database_path=Path(environment.get("DATABASE_PATH", "/app/data/database.db")),
        jwt_secret=_checked_secret(environment, "JWT_SECRET", KEY_CHARACTERS),
        jwt_secret_previous=_previous_secret(environment, "JWT_SECRET"),
        admin_username=environment.get("ADMIN_USERNAME", "admin"),
        admin_password=_admin_password(environment),
        data_key=_checked_secret(environment, "DATA_KEY", KEY_CHARACTERS),
        data_key_previous=_previous_secret(environment, "DATA_KEY"),
        max_concurrent_streams=_count(environment, "MAX_CONCURRENT_STREAMS", 10),
        api_rate_limit_per_minute=_count(environment, "API_RATE_LIMIT_PER_MINUTE", 60),
        login_rate_limit_per_minute=_count(environment, "LOGIN_RATE_LIMIT_PER_MINUTE", 10),
        public_domain=environment.get("PUBLIC_DOMAIN", "localhost"),
        embed_origins=_origins(environment, "EMBED_ORIGINS"),
        security_contact=environment.get("SECURITY_CONTACT", ""),
        trusted_proxy=environment.get("TRUSTED_PROXY", ""),
        rtmp_peers=_peers(environment, "RTMP_PEERS"),
        media_peers=_peers(environment, "MEDIA_PEERS"),
        relay_peers=_peers(environment, "RELAY_PEERS"),
        metrics_peers=_networks(environment, "METRICS_PEERS"),
        rtmp_stat_url=environment.get("RTMP_STAT_URL", ""),
        rtmp_control_url=environment.get("RTMP_CONTROL_URL", "").rstrip("/"),
        media_url=environment.get("MEDIA_URL", "").rstrip("/"),
        hls_path=Path(environment.get("HLS_PATH", "/var/hls")),
        recordings_path=Path(environment.get("RECORDINGS_PATH", "/var/recordings")),
        reports_path=Path(environment.get("REPORTS_PATH", "/var/reports")),
        log_level=_log_level(environment),
        log_file=Path(environment["LOG_FILE"]) if environment.get("LOG_FILE") else None,
    )


def current_settings() -> Settings:
    """Return the settings of the application that is at work."""
    settings: Settings = current_app.config["STREAMKEEP"]
    return settings
