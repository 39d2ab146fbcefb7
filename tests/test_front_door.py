"""`./streamkeep`: what it runs, in which order, and what it says when something is wrong."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
Done = subprocess.CompletedProcess[str]
LOCKS = ("requirements.lock", "app/requirements.lock")
MADE = (
    "molecule/default/molecule.yml",
    "molecule/other/molecule.yml",
    "inventories/here/hosts.yml",
    ".streamkeep/lab/media_image",
    ".streamkeep/lab/media_app",
)
# Says its name. What begins with $FAILING fails; what begins with $SLOW takes minutes, and a dry run waits for it.
STAND_IN = """#!/bin/bash
words="${0##*/} $*"
echo "ran $words" | tee -a calls
case "$words" in "$SLOW"*) [ -z "$SLOW" ] || { echo $$ >slow; exec sleep 300; } ;; esac
case "$words" in
    ansible-inventory*) echo "${LISTED:-  |--one}" ;;
    "molecule check"*) [ -z "$SLOW" ] || until [ -s slow ]; do sleep 0.1; done ;;
    dpkg-query*) echo "$INSTALLED" ;;
    df*) echo 99999 ;;
esac
case "$words" in "$FAILING"*) [ -z "$FAILING" ] ;; esac
"""
TOOLS = (
    "ansible-inventory ansible-lint ansible-playbook apt-cache apt-get df docker dpkg-query molecule mypy pytest python"
    " ruff shellcheck yamllint"
)


def enter(tree: Path, *arguments: str, **environment: str) -> Done:
    """Run the front door of *tree*."""
    return subprocess.run(
        ["./streamkeep", *arguments],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of its own around the real kit, so that no test sees another's environments."""
    shutil.copy(ROOT / "streamkeep", tmp_path)
    shutil.copytree(ROOT / "inventories", tmp_path / "inventories", symlinks=True)
    for name in ("ansible.cfg", "app", "group_vars", "playbooks", "requirements.lock", "roles"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.fixture
def act(tmp_path: Path) -> Callable[..., Done]:
    """Run a verb where stand-ins note what is called, in a tree of their own."""
    shutil.copy(ROOT / "streamkeep", tmp_path)
    shutil.copytree(ROOT / "playbooks", tmp_path / "playbooks")
    for file in (*LOCKS, *MADE):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("x")
    tools = tmp_path / ".venv/bin"
    tools.mkdir(parents=True)
    for tool in TOOLS.split():
        (tools / tool).write_text(STAND_IN)
        (tools / tool).chmod(0o755)
    (tmp_path / ".venv/locked").write_text(hashlib.sha256(b"xx").hexdigest())
    subprocess.run(["git", "init", "--quiet", "."], cwd=tmp_path, check=True)

    def run(*arguments: str, failing: str = "", slow: str = "", listed: str = "") -> Done:
        environment = {"FAILING": failing, "SLOW": slow, "INSTALLED": "installed", "PATH": "/usr/bin:/bin"}
        return enter(tmp_path, *arguments, LISTED=listed, **environment)

    return run


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[str], list[str]]:
    """Return what was called of a program, in order."""

    def called(program: str) -> list[str]:
        lines = (tmp_path / "calls").read_text().splitlines()
        return [line.removeprefix("ran ") for line in lines if line.startswith(f"ran {program} ")]

    return called


Calls = Callable[[str], list[str]]
Act = Callable[..., Done]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["deploy", "nowhere"], "there is no environment 'nowhere'"),
        (["deploy"], "say which environment: demo production"),
        (["check", "../etc"], "there is no environment"),
        (["fly"], "there is no verb 'fly'"),
        (["demo", "up"], "demo takes --keep-streaming or down"),
        (["test", "--some"], "test takes --all or --media, not '--some'."),
        (["bench"], "bench takes media, not ''."),
        (["bench", "wall"], "bench takes media, not 'wall'."),
        (["bench", "media", "nowhere"], "there is no environment 'nowhere'"),
        (["unban"], "say which environment"),
        (["unban", "demo"], "'' is no IP address: write one such as 203.0.113.9."),
        (["unban", "demo", "1.2.3.4 x=y"], "is no IP address"),
        (["unban", "demo", "-K", "192.0.2.1"], "'-K' is no IP address"),
        (["unban", "demo", "192.0.2.1", "192.0.2.2"], "'192.0.2.2' is one too many: ./streamkeep unban ENV ADDRESS"),
        (["deploy", "demo", "now"], "'now' is one too many: ./streamkeep deploy ENV"),
        (
            ["deploy", "demo", "--diff", "--no-such"],
            "Ansible refuses what follows deploy demo: unrecognized arguments: --no-such",
        ),
        (
            ["unban", "demo", "192.0.2.1", "--limit"],
            "Ansible refuses what follows unban demo: argument -l/--limit: expected one",
        ),
    ],
)
def test_a_mistake_is_told_in_one_sentence(tree: Path, arguments: list[str], said: str) -> None:
    done = enter(tree, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_lists_the_verbs(tree: Path) -> None:
    shown = enter(tree, "help").stdout
    for verb in ("demo", "deploy", "check", "unban", "test", "bench", "lint", "lock"):
        assert re.search(rf"^  {verb}\b", shown, re.M)


def test_help_needs_nothing_that_a_bare_debian_lacks(tree: Path, tmp_path: Path) -> None:
    (tree / ".venv").unlink()
    (tmp_path / "bin").mkdir()
    for program in ("bash", "cat", "dirname", "readlink"):
        (tmp_path / "bin" / program).symlink_to(shutil.which(program) or program)
    done = enter(tree, "help", PATH=str(tmp_path / "bin"))
    assert done.returncode == 0
    assert re.search(r"^  unban ENV ADDRESS +let in again", done.stdout, re.M)
    assert not done.stderr


UNREACHABLE = "streamkeep: {hosts: {one: {ansible_host: 127.0.0.1, ansible_port: 1}}}"


@pytest.mark.parametrize(
    ("verb", "inventory", "said"),
    [
        ("deploy", UNREACHABLE, "can't be reached: see whether"),
        ("check", UNREACHABLE, "can't be reached: see whether"),
        ("deploy", "streamkeep:\n  hosts: {one: {}\n", "can't be read, mend line 3: While parsing a flow mapping"),
        ("deploy", "streamkeep: {hosts: {}}", "names no host under 'streamkeep'"),
        ("deploy", "others: {hosts: {one: {}}}", "names no host under 'streamkeep'"),
    ],
    ids=["unreachable", "unreachable for a check", "malformed", "empty", "another group"],
)
def test_a_bad_inventory_is_told_in_one_sentence(tree: Path, verb: str, inventory: str, said: str) -> None:
    (tree / "inventories/bad").mkdir()
    (tree / "inventories/bad/group_vars").symlink_to("../../group_vars")
    (tree / "inventories/bad/hosts.yml").write_text(inventory)
    done = enter(tree, verb, "bad")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("streamkeep: ")
    assert said in last


@pytest.mark.parametrize("verb", ["deploy", "check"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"failing": "ansible-inventory"}, "can't be read, mend"),
        ({"listed": "@streamkeep:"}, "names no host under 'streamkeep'"),
    ],
    ids=["malformed", "empty"],
)
def test_nothing_is_begun_without_hosts(act: Act, calls: Calls, verb: str, options: dict[str, str], said: str) -> None:
    done = act(verb, "here", **options)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert not calls("ansible-playbook")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["deploy", "here"], "playbooks/site.yml"),
        (["deploy", "here", "--limit", "one two"], "playbooks/site.yml --limit one two"),
        (["check", "here"], "playbooks/site.yml --check --diff"),
        (["check", "here", "-vvv"], "playbooks/site.yml --check --diff -vvv"),
        (["unban", "here", "192.0.2.1"], "playbooks/unban.yml -e unban_address=192.0.2.1"),
        (["unban", "here", "2001:db8::9", "-K"], "playbooks/unban.yml -e unban_address=2001:db8::9 -K"),
    ],
)
def test_a_verb_prints_and_runs_its_command(act: Act, calls: Calls, arguments: list[str], command: str) -> None:
    done = act(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert calls("ansible-playbook") == [f"ansible-playbook -i inventories/here {command}"]
    assert f"    $ .venv/bin/ansible-playbook -i inventories/here {command.split()[0]}" in done.stdout


def declared_example() -> str:
    """Return the playbook that docs/architecture.md shows as an example of a verb."""
    (example,) = re.findall(
        r"```yaml\n(---\n# Usage: .+?)```", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.S
    )
    return str(example)


@pytest.fixture
def added(tmp_path: Path, act: Act) -> Act:
    """Run the front door where one file was added, which is the documentation's example, and no other changed."""
    (tmp_path / "playbooks/logs.yml").write_text(declared_example())
    return act


def test_a_verb_that_a_playbook_declares_is_listed(added: Act) -> None:
    shown = added("help").stdout
    assert re.search(r"^  logs ENV \[SERVICE\] \[--since AGE\] \[--follow\]\n +show what the services", shown, re.M)
    assert re.search(r"^  logs clear ENV +throw away", shown, re.M)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], ""),
        (["proxy"], "-e logs_service=proxy"),
        (["-K", "--limit", "one two"], "-K --limit one two"),
        (["proxy", "--since", "90m", "-K"], "-e logs_service=proxy -e logs_since=90m -K"),
        (["--limit", "one", "--since=1h"], "-e logs_since=1h --limit one"),
        (["-v", "--follow", "-e", "x=1"], '-e {"logs_follow": true} -v -e x=1'),
    ],
)
def test_a_declared_verb_gets_its_arguments_and_ansible_the_others(
    added: Act, calls: Calls, arguments: list[str], command: str
) -> None:
    done = added("logs", "here", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert calls("ansible-playbook") == [f"ansible-playbook -i inventories/here playbooks/logs.yml {command}".strip()]
    assert "Show what the services of inventories/here have logged\n" in done.stdout


def test_a_playbook_can_declare_verbs_of_several_words(added: Act, calls: Calls) -> None:
    done = added("logs", "clear", "here", "-K")
    assert done.returncode == 0, done.stdout + done.stderr
    assert calls("ansible-playbook") == ["ansible-playbook -i inventories/here playbooks/logs.yml --tags clear -K"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["logs"], "say which environment: here"),
        (["logs", "clear"], "say which environment: here"),
        (["logs", "clear", "here", "proxy"], "'proxy' is one too many: ./streamkeep logs clear ENV"),
        (["logs", "here", "Proxy"], "'Proxy' is no service: write one such as proxy."),
        (["logs", "here", "proxy", "app"], "'app' is one too many: ./streamkeep logs ENV [SERVICE]"),
        (["logs", "here", ""], "'' is no service: write one such as proxy."),
        (["logs", "here", "--since"], "'' is no age: write one such as 90m."),
        (["logs", "here", "--since", "90m x=y"], "'90m x=y' is no age: write one such as 90m."),
        (["logging", "here"], "there is no verb 'logging'"),
        (["", "here"], "there is no verb ''"),
    ],
)
def test_a_wrong_use_of_a_declared_verb_is_told_in_one_sentence(
    added: Act, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = added(*arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "calls").exists(), "nothing is prepared for it"


HEADERS = {path: path.read_text(encoding="utf-8").split("\n- ")[0] for path in sorted(ROOT.glob("playbooks/*.yml"))}


def test_every_playbook_declares_a_verb_or_is_a_step_of_one() -> None:
    script = (ROOT / "streamkeep").read_text(encoding="utf-8")
    verbs = []
    for path, header in HEADERS.items():
        usages = re.findall(r"^# Usage: \./streamkeep (.+)$", header, re.M)
        verbs += [usage.split(" ENV")[0] for usage in usages]
        assert usages or f"playbooks/{path.name}" in script, path
        for usage in usages:
            assert re.fullmatch(r"[a-z-]+( [a-z-]+)* ENV( .+)?", usage), usage
            assert re.search(rf"^# Usage: \./streamkeep {re.escape(usage)}\n# [A-Z][^(]+\.$", header, re.M), usage
            for word in set(re.findall(r"--[a-z-]+|(?<![-A-Z] )\b[A-Z]{2,}\b", usage)) - {"ENV"}:
                assert re.search(rf"^# {word}( [A-Z]+)? \(", header, re.M), f"{path}: what is {word}?"
    assert len(verbs) == len(set(verbs))


def test_what_a_header_declares_is_a_setting_of_the_role() -> None:
    known = {
        name
        for path in ROOT.glob("roles/*/meta/argument_specs.yml")
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values()
        for name in entry["options"]
    }
    named = {
        name for header in HEADERS.values() for name in re.findall(r"^# (?:[A-Z]+|--\S+)[A-Z ]* \((\w+)", header, re.M)
    }
    assert "unban_address" in named
    assert named <= known


def test_no_other_file_knows_a_verb_of_a_playbook() -> None:
    script = (ROOT / "streamkeep").read_text(encoding="utf-8")
    assert "unban" not in script
    assert not re.search(r"^ *(deploy|check)\b", script, re.M)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["here"], "--inventory inventories/here -s"),
        (["here", "--streams", "12"], "--inventory inventories/here -s --streams 12"),
        (["--ladder", "default"], "--inventory inventories/demo -s --ladder default"),
    ],
)
def test_a_benchmark_measures_one_environment(
    act: Act, calls: Calls, tmp_path: Path, arguments: list[str], said: str
) -> None:
    shutil.copytree(tmp_path / "inventories/here", tmp_path / "inventories/demo")
    done = act("bench", "media", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert calls("pytest") == [f"pytest checklist/benchmarks/media.py {said}"]


def test_the_demo_starts_deploys_publishes_and_is_removed(act: Act, calls: Calls) -> None:
    assert act("demo", "--keep-streaming").returncode == 0
    assert act("demo", "down").returncode == 0
    assert calls("ansible-playbook") == [
        "ansible-playbook playbooks/lab.yml",
        "ansible-playbook -i inventories/demo playbooks/site.yml",
        'ansible-playbook -i inventories/demo playbooks/demo.yml -e {"demo_keep_streaming": true}',
        'ansible-playbook playbooks/lab.yml -e {"lab_state": "absent", "lab_forget_images": true}',
    ]


@pytest.mark.parametrize(("answer", "options"), [("n", []), ("y", []), ("", ["--yes"])])
def test_a_person_is_asked_before_anything_is_installed(
    act: Act, calls: Calls, tmp_path: Path, answer: str, options: list[str]
) -> None:
    master, terminal = pty.openpty()
    os.write(master, f"{answer}\n".encode())
    done = subprocess.run(
        ["./streamkeep", "deploy", "here", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=terminal,
        env={"PATH": f"{tmp_path}/.venv/bin:/usr/bin:/bin", "INSTALLED": "", "FAILING": "", "SLOW": ""},
    )
    os.close(master)
    os.close(terminal)
    if answer == "n":
        assert done.returncode == 1
        assert "nothing installed; these are needed: python3-venv openssh-client ca-certificates" in done.stderr
        assert not calls("apt-get")
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        assert [call.split()[1] for call in calls("apt-get")] == ["update", "install"]
        assert ("[y/N]" in done.stderr) == bool(answer)


def test_a_script_is_not_asked(act: Act, calls: Calls, tmp_path: Path) -> None:
    done = enter(
        tmp_path, "deploy", "here", INSTALLED="", FAILING="", SLOW="", PATH=f"{tmp_path}/.venv/bin:/usr/bin:/bin"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [call.split()[1] for call in calls("apt-get")] == ["update", "install"]


def test_all_steps_are_done_and_the_probes_come_last(act: Act, calls: Calls) -> None:
    done = act("test", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ran pytest tests app/tests images" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("ran pytest checklist")
    steps = [call.split()[1] for call in calls("molecule")]
    assert steps == ["destroy", "create", "check", "converge", "idempotence", "destroy"]
    assert len(calls("pytest")) == 2
    assert all(call.endswith("-m not slow") for call in calls("pytest"))


def test_each_scenario_ends_before_the_next_begins(act: Act, calls: Calls) -> None:
    assert act("test", "--all").returncode == 0
    steps = ["destroy", "create", "check", "converge", "idempotence", "destroy"]
    assert calls("molecule") == [f"molecule {step} -s {name}" for name in ("default", "other") for step in steps]
    assert not [call for call in calls("pytest") if "not slow" in call]


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (["test"], "live app/tests/live -p no:cacheprovider --durations=12 -m not slow"),
        (["test", "--all"], "live app/tests/live -p no:cacheprovider --durations=12"),
        (["test", "--media", "-k", "a b"], "live app/tests/live -p no:cacheprovider --durations=12 -k a b"),
        (
            ["test", "--media", "images/ffmpeg/tests/live/test_obs.py", "-x"],
            "live/test_obs.py -p no:cacheprovider --durations=12 -x",
        ),
    ],
    ids=["a sample", "all", "some", "a file"],
)
def test_the_live_media_tests_run_in_a_container_of_their_own(
    act: Act, calls: Calls, arguments: list[str], chosen: str
) -> None:
    done = act(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert calls("ansible-playbook")[0] == "ansible-playbook playbooks/media_lab.yml"
    (ran,) = [call for call in calls("docker") if call.startswith("docker run")]
    before, after = ran.split(" x timeout 7200 python3 -m pytest images/ffmpeg/tests/")
    assert after.strip() == chosen
    assert {"--rm", "--read-only", "--pids-limit", "--memory"} <= set(before.split())
    assert "    $ docker run --rm" in done.stdout, "whoever reads it can run it again"
    # Alone, nothing else is done; otherwise they come first, so that what they time is not disturbed.
    order = (done.stdout.index("ran docker run"), done.stdout.find("ran molecule"))
    assert order[1] == -1 if "--media" in arguments else order[0] < order[1]


def test_live_media_tests_that_fail_fail_the_run_before_a_host_is_made(act: Act, calls: Calls, tmp_path: Path) -> None:
    assert act("test", failing="docker run").returncode == 1
    assert not (tmp_path / "calls").read_text().count("ran molecule")


def test_a_media_lab_that_was_not_made_is_told(act: Act, calls: Calls, tmp_path: Path) -> None:
    (tmp_path / ".streamkeep/lab/media_app").unlink()
    done = act("test", "--media")
    assert done.returncode == 1
    assert "noted nothing in .streamkeep/lab/media_app" in done.stderr
    assert not [call for call in calls("docker") if call.startswith("docker run")]


@pytest.mark.parametrize("failing", ["mypy", "pytest tests"])
def test_what_fails_beside_fails_the_run_before_the_probes(act: Act, calls: Calls, failing: str) -> None:
    done = act("test", failing=failing)
    assert done.returncode == 1
    assert f"ran {failing}" in done.stdout
    assert "lint or a unit test failed" in done.stderr
    assert not [call for call in calls("pytest") if "checklist" in call]
    assert [call.split()[1] for call in calls("molecule")].count("destroy") == 2


def test_a_step_that_fails_ends_what_runs_beside(act: Act, calls: Calls, tmp_path: Path) -> None:
    done = act("test", failing="molecule check", slow="pytest tests")
    assert done.returncode == 1
    assert [call.split()[1] for call in calls("molecule")] == ["destroy", "create", "check", "destroy"]
    # Not the folder alone: that stays until somebody asks how the process ended.
    assert not Path(f"/proc/{(tmp_path / 'slow').read_text().strip()}/fd/0").exists()
    assert "Where the time went" in done.stdout


def test_probes_that_fail_fail_the_run(act: Act, calls: Calls) -> None:
    assert act("test", failing="pytest checklist").returncode == 1
    assert [call.split()[1] for call in calls("molecule")].count("destroy") == 2


def test_machines_that_stay_are_told(act: Act) -> None:
    done = act("test", failing="molecule destroy")
    assert done.returncode == 1
    assert "could not be removed: see .streamkeep/destroy-default.log" in done.stderr
