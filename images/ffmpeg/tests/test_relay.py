"""The relay: what it begins and ends, what it tells, and that nobody sees the key."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from answering import Orchestrator
from supervisor.config import RefusedSetting
from supervisor.passage import ENDED, RUNNING, WAITING, Passage, State, command, understand
from supervisor.relay import Relay, from_environment
from supervisor.targets import Target

FIRST, SECOND = "0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"
SECRET = "live_77?token=qZ9&x=not-for-eyes"
ENVIRONMENT = {"RELAYS_URL": "http://127.0.0.1:1/relays", "RTMP_SOURCE": "rtmp://127.0.0.1:1/live"}


def wanted(number: str = FIRST, **change: str) -> dict[str, str]:
    server = {"id": number, "slug": "bob", "session": "1", "server": "rtmp://127.0.0.1/app", "stream_key": SECRET}
    return server | change


@pytest.fixture
def relay(orchestrator: Orchestrator) -> Iterator[Relay]:
    settings = ENVIRONMENT | {"RELAYS_URL": orchestrator.url, "RELAY_NETWORKS": "127.0.0.0/8"}
    made = Relay(from_environment(settings))
    yield made
    made.stop()


@pytest.fixture
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Let ffmpeg be a script that notes what it reads and how it was called, and then does as a test says."""

    def install(then: str) -> Path:
        tool = tmp_path / "ffmpeg"
        tool.write_text(
            "#!/bin/bash\n"
            f"trap 'echo ended >>{tmp_path}/notes; exit 0' TERM\n"
            f'read -r line; echo "$$ $line" >>{tmp_path}/notes; echo "$@" >>{tmp_path}/calls; env >>{tmp_path}/calls\n'
            f"{then}\n"
        )
        tool.chmod(0o755)
        return tmp_path / "notes"

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return install


RUNS = "n=1; while :; do echo total_size=$((n++)); echo progress=continue; sleep 0.05; done"


def until(done: Callable[[], object], relay: Relay | None = None, seconds: float = 8) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        if relay:
            relay.round()
        time.sleep(0.1)


def states(orchestrator: Orchestrator) -> list[tuple[str, str | None]]:
    return [(one["state"], one["reason"]) for told in orchestrator.heard for one in told["relays"]]


def test_a_stream_is_passed_on_and_ended_and_the_key_is_in_no_argument(
    relay: Relay,
    orchestrator: Orchestrator,
    ffmpeg: Callable[[str], Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    notes = ffmpeg(RUNS)
    orchestrator.said = {"relays": [wanted()]}
    until(lambda: ("running", None) in states(orchestrator), relay)
    assert notes.read_text().split()[1] == f"rtmp_playpath={SECRET}"
    (pid,) = [int(line.split()[0]) for line in notes.read_text().splitlines()]
    for file in (f"/proc/{pid}/cmdline", f"/proc/{pid}/environ", str(tmp_path / "calls")):
        assert "not-for-eyes" not in Path(file).read_text(errors="replace"), file
    orchestrator.status = 500
    relay.round()
    orchestrator.status = 200
    relay.round()
    assert "ended" not in notes.read_text(), "an orchestrator that does not answer must not end streams"
    orchestrator.said = {"relays": []}
    until(lambda: not relay.passages, relay)
    assert notes.read_text().splitlines()[-1] == "ended"
    assert states(orchestrator) == [("waiting", None), ("running", None), ("waiting", None)]
    said = capfd.readouterr()
    assert said.out.count('"no answer"') == said.out.count('"answers again"') == 1
    assert "not-for-eyes" not in said.out + said.err


def test_another_session_is_passed_on_anew(
    relay: Relay, orchestrator: Orchestrator, ffmpeg: Callable[[str], Path]
) -> None:
    notes = ffmpeg(RUNS)
    orchestrator.said = {"relays": [wanted(), wanted(SECOND, slug="eve")]}
    until(lambda: [state for state, _ in states(orchestrator)[-2:]] == ["running"] * 2, relay)
    orchestrator.said = {"relays": [wanted(session="2"), wanted(SECOND, slug="eve")]}
    until(lambda: notes.exists() and len(notes.read_text().splitlines()) == 4, relay)
    assert notes.read_text().count("ended") == 1


def test_a_server_that_refuses_is_told_in_fixed_words_and_tried_again(
    relay: Relay,
    orchestrator: Orchestrator,
    ffmpeg: Callable[[str], Path],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Passage, "first_retry", 0.1)
    notes = ffmpeg(f"echo 'Server error: no {SECRET} here' >&2; exit 1")
    orchestrator.said = {"relays": [wanted()]}
    until(lambda: len(notes.read_text().splitlines()) >= 3 if notes.exists() else False, relay)
    assert states(orchestrator)[-1] == ("refused", "refused by the server")
    assert len(states(orchestrator)) == 2, "what did not change is not told each second"
    assert "not-for-eyes" not in "".join(capfd.readouterr())


def test_a_connection_that_ends_after_a_while_has_ended(ffmpeg: Callable[[str], Path], relay: Relay) -> None:
    ffmpeg("for n in 1 2 3; do echo total_size=$n; echo progress=continue; done; echo 'Error muxing a packet' >&2")
    target = Target("bob", "1", "rtmp", "127.0.0.1", 1935, "app", SECRET)
    passage = Passage(FIRST, target, "rtmp://127.0.0.1:1/live", relay.config.networks, "/none")
    until(lambda: passage.state == ENDED)
    passage.stop()
    passage.join()


def test_a_server_that_hangs_up_at_once_has_refused(ffmpeg: Callable[[str], Path], relay: Relay) -> None:
    ffmpeg("echo total_size=7; echo progress=continue; echo 'Error muxing a packet' >&2; exit 1")
    target = Target("bob", "1", "rtmp", "127.0.0.1", 1935, "app", SECRET)
    passage = Passage(FIRST, target, "rtmp://127.0.0.1:1/live", relay.config.networks, "/none")
    until(lambda: passage.state == State("refused", "refused by the server"))
    passage.stop()
    passage.join()


def test_a_private_address_gets_nothing(orchestrator: Orchestrator, ffmpeg: Callable[[str], Path]) -> None:
    notes = ffmpeg(RUNS)
    relay = Relay(from_environment(ENVIRONMENT | {"RELAYS_URL": orchestrator.url}))
    orchestrator.said = {"relays": [wanted()]}
    until(lambda: ("refused", "address not allowed") in states(orchestrator), relay)
    relay.stop()
    assert not notes.exists()


def test_what_runs_is_told_again_now_and_then(
    relay: Relay, orchestrator: Orchestrator, ffmpeg: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ffmpeg(RUNS)
    orchestrator.said = {"relays": [wanted()]}
    until(lambda: ("running", None) in states(orchestrator), relay)
    before = len(states(orchestrator))
    relay.round()
    assert len(states(orchestrator)) == before
    monkeypatch.setattr("supervisor.relay.TELL_EVERY", 0.0)
    relay.round()
    assert states(orchestrator)[before:] == [("running", None)]


# What ffmpeg 7.1 of Debian 13 really said.
@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("[tls @ 0x1] Peer certificate failed verification", State("refused", "certificate not trusted")),
        (
            "[tls @ 0x1] The certificate's owner does not match hostname 127.0.0.1",
            State("refused", "certificate not trusted"),
        ),
        ("[tcp @ 0x1] Failed to resolve hostname no-such.invalid: Name", State("waiting", "name not found")),
        ("[tcp @ 0x1] Connection to tcp://127.0.0.1:9 failed: Connection refused", State("waiting", "cannot connect")),
        ("[rtmps @ 0x1] Cannot read RTMP handshake response", State("waiting", "cannot connect")),
        ("[rtmp @ 0x1] Server error: certificate", State("refused", "refused by the server")),
        ("", State("refused", "refused by the server")),
    ],
)
def test_what_ffmpeg_says_becomes_fixed_words(said: str, state: State) -> None:
    rest = ["Error opening output file rtmp://127.0.0.1:9/app."]
    if "tcp" in said or "tls" in said:
        rest.insert(0, "[rtmp @ 0x1] Cannot open connection tcp://127.0.0.1:9")
    assert understand([said, *rest]) == state


def test_our_own_side_is_no_fault_of_the_server() -> None:
    assert understand(["Error opening input file rtmp://172.31.242.4:1937/live/bob."]) == WAITING
    assert understand([]) == ENDED
    assert RUNNING not in {understand([word]) for word in ("", "progress=continue", "running")}


def test_only_tls_judges_certificates() -> None:
    target = Target("bob", "1", "rtmps", "a.test", 443, "app/inner", SECRET)
    call = command("rtmp://127.0.0.1/live", target, "/ca.pem")
    assert call[-1] == "rtmps://a.test:443/app/inner"
    assert call[call.index("-tls_verify") :][:4] == ["-tls_verify", "1", "-ca_file", "/ca.pem"]
    assert SECRET not in " ".join(call)


@pytest.mark.parametrize(
    "change",
    [
        {"RELAYS_URL": ""},
        {"RELAYS_URL": "file:///etc/passwd"},
        {"RTMP_SOURCE": "http://x"},
        {"RTMP_SOURCE": "rtmp://x/live/"},
        {"RELAY_NETWORKS": "10.0.0.1/8"},
        {"RELAY_NETWORKS": "everywhere"},
    ],
)
def test_a_bad_setting_is_refused_by_name(change: dict[str, str]) -> None:
    with pytest.raises(RefusedSetting, match=f"^{next(iter(change))} "):
        from_environment(ENVIRONMENT | change)
