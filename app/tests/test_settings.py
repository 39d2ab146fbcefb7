"""What the orchestrator refuses to start with (guide, section 2)."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from orchestrator.site.settings import RefusedSetting, from_environment


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_SECRET", ""),
        ("JWT_SECRET", "   "),
        ("JWT_SECRET", "replace_me"),
        ("JWT_SECRET", "Change-Me"),
        ("JWT_SECRET", "k" * 31),
        ("ADMIN_PASSWORD", ""),
        ("ADMIN_PASSWORD", "changeme"),
        ("ADMIN_PASSWORD", "Aa1!Aa1!Aa1!Aa1"),
        ("ADMIN_PASSWORD", "nouppercase1!nouppercase1!"),
        ("ADMIN_PASSWORD", "NOLOWERCASE1!NOLOWERCASE1!"),
        ("ADMIN_PASSWORD", "NoDigitsAtAll!NoDigits"),
        ("ADMIN_PASSWORD", "NoSpecials1NoSpecials1"),
        ("JWT_SECRET", "k" * 64),
        ("JWT_SECRET", "changeme" * 5),
        ("JWT_SECRET", "ChangeMe-ChangeMe-ChangeMe-ChangeM"),
        ("JWT_SECRET", "please_change_this_secret_key_in_production"),
        ("JWT_SECRET", "your-secret-password-default-admin-1"),
        ("JWT_SECRET", "0123456789abcdef" * 2),
        ("JWT_SECRET", "abcabcabdabcabcabcabdabcabcacbcba"),
        ("JWT_SECRET_PREVIOUS", "x" * 40),
        ("ADMIN_PASSWORD", "Aa1!" * 5),
        ("ADMIN_PASSWORD", "ChangeMe-123-ChangeMe-123"),
        ("ADMIN_PASSWORD", "Please-Change-Password-1"),
        ("DATA_KEY", ""),
        ("DATA_KEY", "secret" * 6),
        ("DATA_KEY", "k" * 31),
        ("DATA_KEY_PREVIOUS", "k" * 31),
        ("RELAY_PEERS", "relay"),
        ("MAX_CONCURRENT_STREAMS", "0"),
        ("MAX_CONCURRENT_STREAMS", "-3"),
        ("API_RATE_LIMIT_PER_MINUTE", "sixty"),
        ("API_RATE_LIMIT_PER_MINUTE", "٣"),
        ("EMBED_ORIGINS", "http://www.streams.test"),
        ("EMBED_ORIGINS", "https://www.streams.test https://a.test/path"),
        ("EMBED_ORIGINS", "https://a.test;script-src"),
        ("RTMP_PEERS", "nginx-rtmp"),
        ("MEDIA_PEERS", "10.0.0.1, 10.0.0.300"),
    ],
)
def test_a_bad_setting_is_refused_by_name(environment: dict[str, str], name: str, value: str) -> None:
    with pytest.raises(RefusedSetting) as refusal:
        from_environment(environment | {name: value})
    assert str(refusal.value).startswith(name)
    assert len(value.strip()) < 4 or value not in str(refusal.value)


def test_secrets_may_be_exactly_as_long_as_demanded(environment: dict[str, str]) -> None:
    jwt_secret, password = secrets.token_hex(16), "A horse 4 a stem"
    settings = from_environment(environment | {"JWT_SECRET": jwt_secret, "ADMIN_PASSWORD": password})
    assert (settings.jwt_secret, settings.admin_password) == (jwt_secret, password)


@pytest.mark.parametrize("made", [secrets.token_hex, secrets.token_urlsafe, lambda n: secrets.token_hex(n).upper()])
def test_what_a_generator_makes_is_never_taken_for_a_placeholder(
    environment: dict[str, str], made: Callable[[int], str]
) -> None:
    for _ in range(300):
        from_environment(environment | {"JWT_SECRET": made(32), "DATA_KEY": made(24)})


def test_a_secret_comes_from_its_file(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "jwt"
    secret = secrets.token_hex(32)
    file.write_text(secret + "\n", encoding="utf-8")
    settings = from_environment(environment | {"JWT_SECRET_FILE": str(file)})
    assert settings.jwt_secret == secret


def test_a_secret_file_that_is_not_there_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(RefusedSetting, match=r"JWT_SECRET_FILE can't be read \(FileNotFoundError\)"):
        from_environment(environment | {"JWT_SECRET_FILE": str(tmp_path / "none")})


def orchestrator(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        env=os.environ | environment | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_check_says_yes_and_touches_nothing(environment: dict[str, str]) -> None:
    done = orchestrator(environment, "check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(Path(environment["DATABASE_PATH"]).parent.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["check"]])
def test_the_process_ends_with_one_sentence(environment: dict[str, str], arguments: list[str]) -> None:
    secret = "changeme"
    done = orchestrator(environment | {"JWT_SECRET": secret}, *arguments)
    assert done.returncode == 78
    assert done.stderr.count("\n") == 1
    assert "JWT_SECRET" in done.stderr
    assert secret not in done.stderr
