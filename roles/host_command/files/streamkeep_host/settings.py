"""What a deployment tells these commands, in JSON files that hold no secrets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

CERTIFICATES = Path("/etc/streamkeep/certificates.json")
RENEWAL = Path("/etc/streamkeep/renewal.json")


@dataclass(frozen=True)
class Certificates:
    """Where the proxy reads its certificate. The role certificates writes it."""

    directory: Path  # holds fullchain.pem and privkey.pem
    owner_uid: int  # alone reads the key
    name: str  # of the host, by which the proxy is asked


@dataclass(frozen=True)
class Authority:
    """Whom certbot asks, and for what."""

    server: str  # URL of its ACME directory
    names: tuple[str, ...]
    email: str  # empty registers without one
    ca_bundle: str  # PEM file by which the server is trusted; empty means Debian's
    webroot: Path  # where the proxy looks for the challenge


@dataclass(frozen=True)
class Renewal:
    """How long a certificate has to last, and who signs it. The role renewal writes it."""

    alert_days: int  # under so many days before its end the check fails
    metrics_directory: Path
    authority: Authority | None  # none where the host signs for itself


def certificates(path: Path | None = None) -> Certificates:
    """Read what the role certificates wrote.

    Raises:
        OSError, ValueError, KeyError, TypeError: the file is not there, or is not what that role writes.
    """
    read = json.loads((path or CERTIFICATES).read_text(encoding="utf-8"))
    return Certificates(Path(read["directory"]), int(read["owner_uid"]), read["name"])


def renewal(path: Path | None = None) -> Renewal:
    """Read what the role renewal wrote.

    Raises:
        OSError, ValueError, KeyError, TypeError: the file is not there, or is not what that role writes.
    """
    read = json.loads((path or RENEWAL).read_text(encoding="utf-8"))
    asked = read["authority"]
    authority = asked and Authority(
        asked["server"], tuple(asked["names"]), asked["email"], asked["ca_bundle"], Path(asked["webroot"])
    )
    return Renewal(int(read["alert_days"]), Path(read["metrics_directory"]), authority or None)
