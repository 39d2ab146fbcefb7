"""Every bad setting gets one sentence with its cure, before a host is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from validate_settings import validate

ROLES = Path(__file__).parents[1] / "roles"
GOOD: dict[str, Any] = {
    "streamkeep_domain": "live.streams.test",
    "streamkeep_contact": "security@streams.test",
    "streamkeep_extra_names": ["203.0.113.4", "2001:db8::4", "www.streams.test"],
    "streamkeep_admin_sources": ["198.51.100.0/24", "2001:db8::/32"],
    "streamkeep_publisher_sources": ["198.51.100.7/32"],
    "streamkeep_publishers_anywhere": False,
    "streamkeep_max_concurrent_streams": 10,
    "streamkeep_api_rate_limit": 60,
    "streamkeep_hls_megabytes": 512,
    "streamkeep_ssh_users": ["carol"],
    "streamkeep_reboot_time": "23:59",
    "streamkeep_ladder": [{"name": "source"}, {"name": "480p", "height": 480, "video_kbps": 900, "audio_kbps": 96}],
    "streamkeep_never_ban": ["203.0.113.9", "2001:db8::/48"],
    "streamkeep_ban_retries": 5,
    "streamkeep_relay": True,
    "streamkeep_relay_networks": ["192.168.7.0/24", "fd00:7::/64"],
    "streamkeep_embed_origins": ["https://www.streams.test", "https://streams.test:8443"],
    "streamkeep_hsts_subdomains": True,
    "docker_log_max_files": 3,
}
PRIVATE = {"streamkeep_acme_directory_url": "https://ca.streams.test/acme/directory"}
ACME: dict[str, Any] = {"streamkeep_certificate_mode": "acme", "streamkeep_extra_names": []}
RUNG = {"name": "480p", "height": 480, "video_kbps": 900, "audio_kbps": 96}


def test_good_settings_are_let_through() -> None:
    assert validate(GOOD, ROLES) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"streamkeep_domian": "x"}, "streamkeep_domian is no setting of Streamkeep: did you mean streamkeep_domain?"),
        ({"docker_log_max_filez": 3}, "did you mean docker_log_max_files?"),
        ({"stack_zzzz": 1}, "remove it"),
        ({"streamkeep_reboot_time": "4:30"}, 'streamkeep_reboot_time is "4:30"'),
        ({"streamkeep_reboot_time": "24:00"}, 'write a time of day such as "04:30"'),
        ({"streamkeep_reboot_time": 16200}, 'streamkeep_reboot_time is "16200"'),
        ({"streamkeep_domain": ""}, "streamkeep_domain is not set"),
        ({"streamkeep_domain": "live.example.com"}, "still the placeholder"),
        ({"streamkeep_domain": "your.domain.example"}, "still the placeholder"),
        ({"streamkeep_domain": "no dots"}, "which is no DNS name"),
        ({"streamkeep_domain": "-a.test"}, "which is no DNS name"),
        ({"streamkeep_domain": "203.0.113.4"}, "which is no DNS name"),
        ({"streamkeep_domain": "a.test; reboot"}, "which is no DNS name"),
        ({"streamkeep_extra_names": ["x y"]}, "streamkeep_extra_names is 'x y'"),
        ({"streamkeep_contact": ""}, "streamkeep_contact is not set"),
        ({"streamkeep_contact": "security@yourdomain.com"}, "still the placeholder"),
        ({"streamkeep_contact": "nobody"}, "which is no e-mail address"),
        ({"streamkeep_admin_sources": ["10.0.0.5/8"]}, "write 10.0.0.0/8"),
        ({"streamkeep_admin_sources": ["everybody"]}, "write one such as 198.51.100.0/24"),
        ({"streamkeep_admin_sources": ["0.0.0.0/1", "128.0.0.0/1"]}, "holds all of IPv4 in parts"),
        ({"streamkeep_publisher_sources": []}, "streamkeep_publisher_sources is not set"),
        ({"streamkeep_publisher_sources": ["0.0.0.0/0"]}, "which is everybody"),
        ({"streamkeep_publisher_sources": ["::/0"]}, "which is everybody"),
        ({"streamkeep_publisher_sources": ["0.0.0.0/0.0.0.0"]}, "write 0.0.0.0/0."),
        ({"streamkeep_publisher_sources": ["0.0.0.0/00"]}, "write 0.0.0.0/0."),
        ({"streamkeep_publisher_sources": ["::/00"]}, "write ::/0."),
        ({"streamkeep_publisher_sources": ["0.0.0.0/1", "::/1", "128.0.0.0/1"]}, "all of IPv4, which is everybody"),
        ({"streamkeep_publisher_sources": ["10.0.0.1/33"]}, "no network in CIDR form"),
        ({"streamkeep_never_ban": ["0.0.0.0/0"]}, "which is everybody"),
        ({"streamkeep_never_ban": ["8000::/1", "::/1"]}, "which is everybody"),
        ({"streamkeep_never_ban": ["me"]}, "streamkeep_never_ban holds 'me'"),
        ({"streamkeep_relay": "perhaps"}, "streamkeep_relay"),
        ({"streamkeep_relay_networks": ["0.0.0.0/0"]}, "opens your own networks"),
        ({"streamkeep_relay_networks": ["0.0.0.0/1", "128.0.0.0/1"]}, "opens your own networks"),
        ({"streamkeep_relay_networks": ["10.0.0.1/8"]}, "write 10.0.0.0/8"),
        ({"streamkeep_embed_origins": ["*"]}, "streamkeep_embed_origins holds '*', which is no https origin"),
        ({"streamkeep_embed_origins": ["http://www.streams.test"]}, "such as https://"),
        ({"streamkeep_embed_origins": ["https://*.streams.test"]}, "without a path, a wildcard"),
        ({"streamkeep_embed_origins": ["https://www.streams.test/"]}, "without a path"),
        ({"streamkeep_embed_origins": ["https://WWW.streams.test"]}, "in small letters"),
        ({"streamkeep_embed_origins": ["https://www.streams.test:443"]}, "or :443"),
        ({"streamkeep_embed_origins": ["https://www.streams.test:0"]}, "no https origin"),
        ({"streamkeep_embed_origins": ["https://a.test; script-src *"]}, "no https origin"),
        ({"streamkeep_embed_origins": ["https://a.test\n"]}, "no https origin"),
        ({"streamkeep_embed_origins": "https://a.test"}, "is text where a list is meant"),
        ({"streamkeep_hsts_subdomains": "false"}, "is text where true or false is meant"),
        ({"streamkeep_ban_retries": 0}, "write a number from 1 to 100"),
        ({"streamkeep_ban_seconds": 1}, "write a number from 10"),
        ({"streamkeep_max_concurrent_streams": 0}, "write a number from 1 to 200"),
        ({"streamkeep_max_concurrent_streams": "ten"}, "cannot be converted to an int"),
        ({"streamkeep_hls_megabytes": 8}, "write a number from 64"),
        ({"streamkeep_certificate_mode": "magic"}, "selfsigned"),
        (ACME, "No public authority signs for live.streams.test"),
        (ACME | {"streamkeep_domain": "live.streams.org", "streamkeep_extra_names": ["a.lan"]}, "signs for a.lan"),
        ({"streamkeep_acme_directory_url": "http://ca.streams.test/dir"}, "begins with https://"),
        ({"streamkeep_acme_directory_url": "https://ca.streams.test/$(id)"}, "begins with https://"),
        (PRIVATE | {"streamkeep_acme_staging": True}, "not both"),
        ({"streamkeep_acme_ca_bundle": __file__}, "set streamkeep_acme_directory_url as well"),
        (PRIVATE | {"streamkeep_acme_ca_bundle": "/nowhere/ca.pem"}, "which is no file here"),
        ({"streamkeep_ladder": []}, "must begin with the source"),
        ({"streamkeep_ladder": [RUNG]}, "must begin with the source"),
        ({"streamkeep_ladder": [{"name": "source"}, RUNG | {"name": "source"}]}, "a name of its own"),
        ({"streamkeep_ladder": [{"name": "source"}, RUNG | {"name": "../x"}]}, "a name of its own"),
        ({"streamkeep_ladder": [{"name": "source"}, RUNG | {"video_kbps": 0}]}, "above 0"),
        ({"streamkeep_ladder": [{"name": "source", "codec": "av1"}]}, "codec"),
        ({"streamkeep_ladder": {"name": "source"}}, "streamkeep_ladder"),
        ({"streamkeep_max_concurrent_streams": "0"}, "is text where a number is meant"),
        ({"streamkeep_hls_megabytes": "512"}, "is text where a number is meant"),
        ({"streamkeep_publishers_anywhere": "false"}, "is text where true or false is meant"),
        ({"streamkeep_relay": "false"}, """-e '{"streamkeep_relay": ...}'."""),
        ({"streamkeep_publisher_sources": "198.51.100.0/24"}, "is text where a list is meant"),
        ({"firewall_public_ports": [80, 70_000]}, "holds 70000, which is no port"),
        ({"firewall_public_ports": [0]}, "write numbers from 1 to 65535"),
        ({"firewall_publisher_ports": ["rtmp"]}, "firewall_publisher_ports"),
        ({"firewall_ssh_sources": ["nonsense"]}, "firewall_ssh_sources holds 'nonsense'"),
        ({"firewall_publisher_sources": ["10.0.0.1/8"]}, "write 10.0.0.0/8"),
        ({"docker_log_max_files": "many"}, "docker_log_max_files"),
    ],
)
def test_a_bad_setting_is_told_with_its_cure(change: dict[str, Any], said: str) -> None:
    problems = validate(GOOD | change, ROLES)
    assert len(problems) == 1
    assert said in problems[0]
    assert problems[0].endswith((".", "?"))


def test_everybody_may_publish_where_that_is_said() -> None:
    anywhere = {"streamkeep_publisher_sources": ["0.0.0.0/0", "::/0"], "streamkeep_publishers_anywhere": True}
    assert validate(GOOD | anywhere, ROLES) == []


def test_an_authority_of_ones_own_may_sign_for_any_name() -> None:
    assert validate(GOOD | ACME | PRIVATE | {"streamkeep_acme_ca_bundle": __file__}, ROLES) == []
    assert validate(GOOD | ACME | {"streamkeep_domain": "live.streams.org"}, ROLES) == []


def test_all_problems_are_told_at_once() -> None:
    bad = {"streamkeep_domain": "", "streamkeep_contact": "", "streamkeep_api_rate_limit": 0}
    assert len(validate(GOOD | bad, ROLES)) == 3
