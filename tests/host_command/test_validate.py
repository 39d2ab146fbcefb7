"""How programs are asked about a file before it is theirs. The real ones are asked by checklist/ on a host."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from streamkeep_host import cli, validate

StandIn = Callable[..., Path]
Calls = Callable[[], list[str]]


def ask(*words: object) -> int:
    return cli.main(["validate", *map(str, words)])


SSHD = """
{{ sed -n 's/^Include //p' $5 | while read -r glob; do cat $glob; done; cat $5; }} | tee {folder}/shown
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn) -> Path:
    """A host's configuration, and an sshd that shows all of what it read."""
    etc = tmp_path / "ssh"
    (etc / "sshd_config.d").mkdir(parents=True)
    (etc / "sshd_config.d/00-streamkeep.conf").write_text("in use now\n")
    (etc / "sshd_config.d/50-cloud.conf").write_text("x11forwarding no\n")
    (etc / "sshd_config").write_text("Include /etc/ssh/sshd_config.d/*.conf\nport 22\nInclude sshd_config.d/50*\n")
    sshd = stand_in("sshd", SSHD.format(folder=tmp_path))
    monkeypatch.setattr(validate, "SSH", etc)
    monkeypatch.setattr(validate, "SSHD", str(sshd))
    return etc


PROMISES = (*validate.SSHD_PROMISES, "allowgroups streamkeep-ssh")


def test_sshd_is_asked_with_all_else_that_is_configured(ssh: Path, tmp_path: Path, calls: Calls) -> None:
    (tmp_path / "candidate").write_text("\n".join(PROMISES) + "\n")
    assert ask("sshd", tmp_path / "candidate", "alice", "streamkeep-ssh") == 0
    assert "-T -C user=alice,host=localhost,addr=127.0.0.1 -f " in calls()[0]
    lines = (tmp_path / "shown").read_text().splitlines()
    assert lines.count("x11forwarding no") == 2, "both ways of naming the folder"
    assert "in use now" not in lines
    assert {"port 22", *PROMISES} <= set(lines)


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_that_would_not_be_in_effect_is_named(
    ssh: Path, tmp_path: Path, promise: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "candidate").write_text("\n".join({*PROMISES} - {promise}) + f"\n{promise}-or-not\n")
    assert ask("sshd", tmp_path / "candidate", "alice", "streamkeep-ssh") == 1
    assert f"'{promise}' would not be in effect for alice: look for another value" in capsys.readouterr().err


def test_what_sshd_refuses_is_refused_in_its_words(
    ssh: Path, tmp_path: Path, stand_in: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in("sshd", "echo 'Bad configuration option: X' >&2; exit 255")
    (tmp_path / "candidate").write_text("X yes\n")
    assert ask("sshd", tmp_path / "candidate", "alice", "streamkeep-ssh") == 1, "255 is what ssh says of itself"
    assert capfd.readouterr().err == "Bad configuration option: X\n"


@pytest.fixture
def fail2ban(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn) -> Path:
    """A host's configuration; fail2ban refuses whatever has a bad word in it."""
    etc = tmp_path / "fail2ban"
    for name in ("action.d/ours.conf", "filter.d/ours.conf", "jail.d/ours.local"):
        (etc / name).parent.mkdir(parents=True)
        (etc / name).write_text("in use now\n")
    monkeypatch.setattr(validate, "FAIL2BAN", etc)
    stand_in("fail2ban-client", f"cp -r $2 {tmp_path}/seen; ! grep -rq 'bad in words' $2")
    stand_in("fail2ban-regex", "! grep -q 'bad in expressions' $4")
    return etc


@pytest.mark.parametrize("place", ["action.d/ours.conf", "filter.d/ours.conf", "jail.d/ours.local"])
def test_fail2ban_is_asked_in_the_place_of_the_file_in_use(
    fail2ban: Path, tmp_path: Path, place: str, calls: Calls
) -> None:
    (tmp_path / "candidate").write_text("[Definition]\n")
    assert ask("fail2ban", tmp_path / "candidate", place) == 0
    assert (tmp_path / "seen" / place).read_text() == "[Definition]\n"
    assert (fail2ban / place).read_text() == "in use now\n"
    jail = tmp_path / "seen/jail.d/zz-test.local"
    assert jail.exists() == place.startswith("action")
    assert not jail.exists() or "action = ours[name=test]\n" in jail.read_text()
    assert [call.split()[0] for call in calls()] == ["fail2ban-client", "fail2ban-regex"][
        : 1 + place.startswith("filter")
    ]


@pytest.mark.parametrize("bad", ["bad in words", "bad in expressions"])
def test_what_fail2ban_refuses_is_refused(fail2ban: Path, tmp_path: Path, bad: str) -> None:
    (tmp_path / "candidate").write_text(f"{bad}\n")
    assert ask("fail2ban", tmp_path / "candidate", "filter.d/ours.conf") == 1


def test_systemd_is_asked_about_a_drop_in_with_its_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real systemd-analyze; a unit that another drop-in of ours spoiled is judged by the new one."""
    units = tmp_path / "units"
    (units / "probe.service.d").mkdir(parents=True)
    (units / "probe.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    (units / "probe.service.d/streamkeep.conf").write_text("[Service]\nExecStart=not-absolute\n")
    candidate = tmp_path / "candidate"
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", f"{units}:")
    candidate.write_text("[Service]\nExecStart=\nExecStart=/bin/false\n")
    assert ask("drop-in", candidate, "probe.service") == 0
    candidate.write_text("[Service]\nType=simple\nExecStart=\n")
    assert ask("drop-in", candidate, "probe.service") != 0


# What Debian 13's engine says, and what Debian 12's does, to a good configuration and to a bad one.
VALIDATES = """
case "$*" in
    --help) echo '      --validate    Validate daemon configuration and exit' ;;
    --validate*) grep -q good $3 ;;
esac
"""
READS = """
case "$*" in
    --help) echo '      --config-file' ;;
    *) grep -q good $2 && grep -q starts $2 && exit 0
       grep -q good $2 && kill -0 $(<$4) && echo "pid file found, ensure docker is not running" && exit 1
       echo "unable to configure the Docker daemon"; exit 1 ;;
esac
"""


@pytest.mark.parametrize("engine", [VALIDATES, READS])
def test_either_engine_is_asked(
    tmp_path: Path, stand_in: StandIn, engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in("dockerd", engine)
    (tmp_path / "good.json").write_text("good\n")
    (tmp_path / "bad.json").write_text("bad\n")
    assert ask("dockerd", tmp_path / "good.json") == 0
    assert capfd.readouterr().err == ""
    assert ask("dockerd", tmp_path / "bad.json") == 1
    assert ("unable to configure" in capfd.readouterr().err) == (engine == READS)


def test_an_engine_that_starts_where_one_runs_is_no_answer(
    tmp_path: Path, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in("dockerd", READS)
    (tmp_path / "odd.json").write_text("good starts\n")
    assert ask("dockerd", tmp_path / "odd.json") == 1
    assert "(it started)" in capsys.readouterr().err


CONFINED = "docker run --rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges"


def test_nginx_reads_it_in_a_container_that_can_do_nothing_else(
    tmp_path: Path, stand_in: StandIn, calls: Calls
) -> None:
    stand_in("docker", "grep -q good")
    for content, status in (("good\n", 0), ("bad\n", 1)):
        (tmp_path / "nginx.conf").write_text(content)
        assert ask("nginx", "streamkeep/proxy:1", "/etc/streamkeep/tls", tmp_path / "nginx.conf") == status
    assert calls()[0] == (
        f"{CONFINED} --interactive --volume /etc/streamkeep/tls:/etc/streamkeep-tls:ro"
        " --tmpfs /tmp --tmpfs /run/publish --tmpfs /run/play"
        " --entrypoint sh streamkeep/proxy:1 -euc cat >/tmp/nginx.conf && nginx -t -q -c /tmp/nginx.conf"
    )


def test_the_orchestrator_reads_its_settings_and_secrets(tmp_path: Path, stand_in: StandIn, calls: Calls) -> None:
    (tmp_path / "secrets").mkdir()
    for name in ("jwt_secret", "data_key"):
        (tmp_path / "secrets" / name).touch()
    for status in (0, 3):
        stand_in("docker", f"exit {status}")
        assert ask("orchestrator", "streamkeep/app:1", tmp_path / "secrets", "/opt/.env") == status
    volumes = " ".join(
        f"--volume {tmp_path}/secrets/{name}:/run/secrets/{name}:ro" for name in ("data_key", "jwt_secret")
    )
    assert calls()[0] == f"{CONFINED} --env-file /opt/.env {volumes} streamkeep/app:1 check"


CERTIFICATES = {"directory": "/etc/streamkeep/tls", "owner_uid": 1000101, "name": "live.streams.test"}
AUTHORITY = {"server": "https://x.test", "names": ["a.test"], "email": "", "ca_bundle": "", "webroot": "/acme"}
RENEWAL = {"alert_days": 14, "metrics_directory": "/metrics", "authority": AUTHORITY}


@pytest.mark.parametrize(
    ("what", "told", "status"),
    [
        ("certificates-settings", CERTIFICATES, 0),
        ("certificates-settings", {"directory": "/x"}, 1),
        ("certificates-settings", CERTIFICATES | {"owner_uid": "nobody"}, 1),
        ("renewal-settings", RENEWAL, 0),
        ("renewal-settings", RENEWAL | {"authority": None}, 0),
        ("renewal-settings", RENEWAL | {"authority": {"server": "https://x.test"}}, 1),
        ("renewal-settings", [], 1),
    ],
)
def test_our_own_settings_are_read_before_they_count(tmp_path: Path, what: str, told: object, status: int) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(told))
    assert ask(what, tmp_path / "settings.json") == status
