"""Put a certificate where the proxy reads it, believe nothing until it is served, and watch when it ends."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamkeep_host import settings
from streamkeep_host.programs import Failure, output, run

LISTENING = {443: 8443, 1936: 1936}  # published ports, and by which the proxy answers inside
LOCK = Path("/run/lock/streamkeep-certificate")
LOCK_SECONDS = 120
# New workers of nginx take over within moments.
TRIES, PAUSE_SECONDS = 30, 0.5
CONNECT_SECONDS = 10
SHORTEST_SECONDS = 3600  # what ends sooner is not taken
DAY = 86_400
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)
NETWORK = '{{(index .NetworkSettings.Networks "streamkeep_frontend").IPAddress}}'

Pair = tuple[bytes, bytes]  # fullchain.pem and privkey.pem


def install(fullchain: str, privkey: str) -> None:
    """Take this pair; the old one stays unless the new one gets served."""
    with _locked():
        _take(Path(fullchain), Path(privkey))


def reload() -> None:
    """Let the proxy take the pair that is there."""
    with _locked():
        _require(_reloaded())


def ensure() -> None:
    """Let it take that pair where it has not, because a run was killed before; says nothing where it has."""
    with _locked():
        wanted = first_certificate(_folder() / "fullchain.pem")
        address = _proxy_address()
        if address and any(_served(address, port) != wanted for port in LISTENING):
            _require(_reloaded())


def served(port: str) -> None:
    """Print the certificate served on PORT (443 or 1936)."""
    if port not in map(str, LISTENING):
        raise Failure(f"nothing of ours is served on port {port}: say {' or '.join(map(str, LISTENING))}.")
    seen = _served(_proxy_address(), int(port))
    if seen is None:
        raise Failure(f"nothing is served on port {port}: is the proxy running?")
    print(seen, end="")


def check() -> None:
    """Look how long what is served lasts; writes metrics and one JSON line a port, and fails when one ends soon."""
    told = settings.renewal()
    cure = (
        "see journalctl -u certbot for why it is not renewed." if told.authority else "deploy again, which renews it."
    )
    now = int(time.time())
    lines = [
        "# HELP streamkeep_certificate_days_left Days until the certificate served on this port ends; -1 where none is"
        " served.",
        "# TYPE streamkeep_certificate_days_left gauge",
    ]
    alarms = []
    address = _proxy_address()
    for port in LISTENING:
        result, days, until = _lasting(_served(address, port), now, told.alert_days)
        lines.append(f'streamkeep_certificate_days_left{{port="{port}"}} {days}')
        event = {"time": _written(now), "event": "certificate", "port": port, "result": result}
        print(json.dumps(event | {"days_left": days, "until": until}, separators=(",", ":")))
        if result != "ok":
            alarms.append(f"The certificate on port {port} is {result} (days left: {days}): {cure}")
    lines += [
        "# HELP streamkeep_certificate_check_timestamp_seconds When the certificates were last looked at.",
        "# TYPE streamkeep_certificate_check_timestamp_seconds gauge",
        f"streamkeep_certificate_check_timestamp_seconds {now}",
    ]
    _replace(told.metrics_directory / "certificate.prom", "".join(f"{line}\n" for line in lines).encode(), 0o644)
    if alarms:
        raise Failure("\n".join(alarms))


def first_certificate(path: Path) -> str:
    """Return the first certificate of a file, in PEM as Python writes it.

    Raises:
        Failure: there is none.
    """
    found = PEM.search(path.read_text(encoding="ascii", errors="replace"))
    if found is None:
        raise Failure(f"{path} holds no certificate.")
    return _pem(ssl.PEM_cert_to_DER_cert(found[0]))


def ends(certificate: str) -> int:
    """Return when a certificate (PEM) ends, in seconds since 1970."""
    said = output("openssl", "x509", "-noout", "-enddate", input=certificate)
    return int(ssl.cert_time_to_seconds(said.partition("=")[2]))


def _pem(der: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(der)


def _folder() -> Path:
    return settings.certificates().directory


def _written(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _lasting(certificate: str | None, now: int, alert_days: int) -> tuple[str, int, str]:
    """Return how it is with *certificate*, the days that are left (-1 where there is none), and until when."""
    if certificate is None:
        return "not served", -1, ""
    until = ends(certificate)
    left = until - now
    days = max(left, 0) // DAY
    result = "ended" if left <= 0 else "ending" if days < alert_days else "ok"
    return result, days, _written(until)


def _proxy_address() -> str:
    """Return the address under which the host itself reaches the proxy; nothing where it does not run."""
    if not output("docker", "ps", "--quiet", "--filter", "name=^proxy$", check=False):
        return ""
    return output("docker", "inspect", "--format", NETWORK, "proxy", check=False)


def _served(address: str, port: int) -> str | None:
    """Return the certificate (PEM) that the proxy at *address* serves on a published *port*; None where none is."""
    if not address:
        return None
    # Whoever signed it: this looks at what is served, and trusts nobody by it.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, LISTENING[port]), timeout=CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=settings.certificates().name) as tls,
        ):
            seen = tls.getpeercert(binary_form=True)
    except OSError:
        return None
    return _pem(seen) if seen else None


def _serial(certificate: str) -> str:
    return output("openssl", "x509", "-noout", "-serial", input=certificate).partition("=")[2]


def _is_served(address: str, wanted: str) -> bool:
    """Tell whether both ports of the proxy at *address* serve *wanted*, after some tries."""
    for port in LISTENING:
        for _ in range(TRIES):
            seen = _served(address, port)
            if seen == wanted:
                break
            time.sleep(PAUSE_SECONDS)
        else:
            instead = _serial(seen) if seen else "nothing"
            print(f"port {port} serves {instead} instead of {_serial(wanted)}", file=sys.stderr)
            return False
    return True


def _reloaded() -> bool:
    wanted = first_certificate(_folder() / "fullchain.pem")
    address = _proxy_address()
    if not address:
        print(f"The proxy does not run; it will read the certificate {_serial(wanted)} when it starts.")
        return True
    nginx = ("docker", "exec", "proxy", "nginx", "-c", "/etc/streamkeep/nginx.conf")
    if any(run(*nginx, *asked, check=False).returncode for asked in (("-t", "-q"), ("-s", "reload"))):
        return False
    if not _is_served(address, wanted):
        return False
    print(f"443 and 1936 serve the certificate {_serial(wanted)}.")
    return True


def _require(is_served: bool) -> None:
    if not is_served:
        raise Failure(f"the proxy does not serve the certificate in {_folder()}: see docker logs proxy.")


def _replace(path: Path, content: bytes, mode: int, owner: int = -1) -> None:
    """Replace a file in one step; nobody but who may reads it meanwhile."""
    descriptor, new = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchown(file.fileno(), owner, -1)
            os.fchmod(file.fileno(), mode)
        Path(new).replace(path)
    except BaseException:
        Path(new).unlink()
        raise


def _pair(folder: Path) -> Pair:
    return (folder / "fullchain.pem").read_bytes(), (folder / "privkey.pem").read_bytes()


def _put(pair: Pair) -> None:
    told = settings.certificates()
    _replace(told.directory / "privkey.pem", pair[1], 0o400, told.owner_uid)
    _replace(told.directory / "fullchain.pem", pair[0], 0o444, told.owner_uid)


def _take(chain: Path, key: Path) -> None:
    lasts = ("-noout", "-checkend", str(SHORTEST_SECONDS))
    if run("openssl", "x509", "-in", str(chain), *lasts, check=False, stdout=subprocess.DEVNULL).returncode:
        raise Failure(f"{chain} has ended or is no certificate: it was not taken.")
    public = output("openssl", "x509", "-in", str(chain), "-noout", "-pubkey")
    if public != output("openssl", "pkey", "-in", str(key), "-pubout", check=False):
        raise Failure(f"{key} does not belong to {chain}: they were not taken.")
    old = _pair(_folder())
    _put((chain.read_bytes(), key.read_bytes()))
    if not _reloaded():
        _put(old)
        if not _reloaded():
            print("nor is the old certificate served: see docker logs proxy.", file=sys.stderr)
        raise Failure("the proxy does not serve the new certificate, so the old one is back: see docker logs proxy.")


@contextmanager
def _locked() -> Iterator[None]:
    """Let others wait; programs that are started do not inherit the lock."""
    until = time.monotonic() + LOCK_SECONDS
    with LOCK.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise Failure(f"another run holds the lock {LOCK}.") from None
                time.sleep(0.2)
        yield


COMMANDS = {"install": install, "reload": reload, "ensure": ensure, "served": served, "check": check}
