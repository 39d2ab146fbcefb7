"""Ask the certificate authority, through Debian's certbot, and let the proxy take what it gives.

Each command asks the authority once: whoever calls again at once only meets its rate limits.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from pathlib import Path

from streamkeep_host import certificate, settings
from streamkeep_host.programs import COMMAND, Failure, output, run

LINEAGE = Path("/etc/letsencrypt/live/streamkeep")
CONFIGURATION = Path("/etc/letsencrypt/renewal/streamkeep.conf")
RENEW_SECONDS = 30 * certificate.DAY  # before its end, as certbot renews by itself
CHALLENGES = ".well-known/acme-challenge"


def issue() -> None:
    """Make sure that there is a certificate for our names by this authority; asks only when needed."""
    authority = _authority()
    how = ["--keep-until-expiring"]
    if (LINEAGE / "cert.pem").exists():
        if _issued_names() != sorted(authority.names) or f"server = {authority.server}" not in _configured():
            how = ["--force-renewal", "--renew-with-new-domains"]
        elif _lasts(LINEAGE / "cert.pem"):
            _deploy()
            return
    _try_webroot(authority)
    email = ["--no-eff-email", "--email", authority.email] if authority.email else ["--register-unsafely-without-email"]
    kept = ["--cert-name", "streamkeep", "--key-type", "ecdsa", "--elliptic-curve", "secp256r1"]
    challenge = ["--webroot", "--webroot-path", str(authority.webroot)]
    domains = [word for name in authority.names for word in ("--domain", name)]
    _ask(
        authority,
        *("certonly", *how, "--agree-tos", *email, "--server", authority.server),
        *(*kept, *challenge, "--deploy-hook", f"{COMMAND} acme deploy", *domains),
    )
    _deploy()  # where the hook's own failure was only noted by certbot, this one is told
    print(f"The authority at {authority.server} signed for {' '.join(authority.names)}.")


def renew() -> None:
    """Renew what is due; certbot.timer runs this."""
    _ask(_authority(), "renew", "--no-random-sleep-on-renew")
    _deploy()


def deploy() -> None:
    """Let the proxy take the certificate: certbot's deploy hook."""
    _authority()
    _deploy()


def explain(said: str, server: str) -> str:
    """Return one sentence of what certbot *said*, with its cure."""
    domain, kind, detail = (_first(rf"^ *{word}: *(.*)$", said) for word in ("Domain", "Type", "Detail"))
    match kind:
        case "dns":
            return (
                f"the authority finds no address of {domain} ({detail}): give the name an A record with this host's"
                " public address, and deploy again when it is known."
            )
        case "connection":
            return (
                f"the authority reaches no answer at {domain} ({detail}): point its A record at this host alone, let"
                " it have no AAAA record, and let port 80 through to it."
            )
        case "unauthorized":
            return (
                f"another machine answers for {domain} ({detail}): point its A record at this host alone, and let it"
                " have no AAAA record."
            )
        case "caa":
            return f"the CAA record of {domain} does not admit this authority ({detail}): add it there."
    if limited := _first(r"(?i)^(.*(?:too many|rateLimited).*)$", said):
        return (
            f"the authority has been asked too often ({limited}): wait as long as it says; streamkeep_acme_staging:"
            " true is for trying."
        )
    if re.search(r"(?i)Connection refused|Max retries|timed out|Name or service not known|name resolution", said):
        return (
            f"the authority at {server} does not answer: look at its status and at this host's way out; certbot.timer"
            " asks again twice a day."
        )
    if re.search(r"(?i)CERTIFICATE_VERIFY_FAILED|certificate verify failed", said):
        return (
            f"the authority at {server} is not known to this host: name its CA certificate in"
            " streamkeep_acme_ca_bundle."
        )
    if re.search(r"accountDoesNotExist|Account .* not found", said):
        return (
            f"the authority at {server} has forgotten our account: remove its folder under /etc/letsencrypt/accounts,"
            " and deploy again."
        )
    passed_over = re.compile(r" *$|Ask for help|See the logfile|Saving debug log")
    lines = [line for line in said.splitlines() if not passed_over.match(line)]
    return f"certbot said: {' '.join(lines[-2:])}"


def _first(pattern: str, said: str) -> str:
    found = re.search(pattern, said, re.M)
    return found[1] if found else ""


def _authority() -> settings.Authority:
    """Return whom to ask.

    Raises:
        Failure: nobody, because the host signs for itself.
    """
    os.umask(0o022)  # the proxy reads what the authority asks for, whatever the operator's own umask keeps from others
    authority = settings.renewal().authority
    if authority is None:
        raise Failure("no authority signs for this host: set streamkeep_certificate_mode to acme, and deploy.")
    return authority


def _ask(authority: settings.Authority, *words: str) -> None:
    """Run certbot once, and explain its failure."""
    trust = {"REQUESTS_CA_BUNDLE": authority.ca_bundle} if authority.ca_bundle else {}
    merged = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = run("certbot", *words, "--non-interactive", check=False, env=os.environ | trust, **merged)
    if done.returncode == 0:
        return
    chain = settings.certificates().directory / "fullchain.pem"
    until = output("openssl", "x509", "-noout", "-enddate", "-in", str(chain), check=False).partition("=")[2]
    raise Failure(
        f"no new certificate: {explain(done.stdout, authority.server)} The one in use stays, until {until}. More in"
        " /var/log/letsencrypt/letsencrypt.log."
    )


def _deploy() -> None:
    served = settings.certificates().directory
    if all((LINEAGE / name).read_bytes() == (served / name).read_bytes() for name in ("fullchain.pem", "privkey.pem")):
        certificate.ensure()
    else:
        certificate.install(str(LINEAGE / "fullchain.pem"), str(LINEAGE / "privkey.pem"))


def _try_webroot(authority: settings.Authority) -> None:
    """Try what a challenge will need, before the authority counts the failure."""
    token = f"streamkeep-{secrets.token_hex(8)}"
    path = authority.webroot / CHALLENGES / token
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{token}\n", encoding="ascii")
    try:
        curl = ("curl", "-sf", "-m", "5", "-H", f"Host: {authority.names[0]}")
        seen = output("docker", "exec", "proxy", *curl, f"http://127.0.0.1:8080/{CHALLENGES}/{token}", check=False)
    finally:
        path.unlink()
    if seen != token:
        raise Failure(
            f"the proxy does not show {authority.webroot}: run the whole deployment, and see docker logs proxy."
        )


def _issued_names() -> list[str]:
    said = output("openssl", "x509", "-in", str(LINEAGE / "cert.pem"), "-noout", "-ext", "subjectAltName")
    return sorted(re.findall(r"DNS:([^, \n]*)", said))


def _configured() -> list[str]:
    return CONFIGURATION.read_text(encoding="utf-8").splitlines() if CONFIGURATION.exists() else []


def _lasts(path: Path) -> bool:
    asked = ("-noout", "-checkend", str(RENEW_SECONDS))
    return run("openssl", "x509", "-in", str(path), *asked, check=False, stdout=subprocess.DEVNULL).returncode == 0


COMMANDS = {"issue": issue, "renew": renew, "deploy": deploy}
