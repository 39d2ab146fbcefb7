"""The one file that a host gets: how it is packed, and what its command line makes of words and failures."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from python_zip import packed
from streamkeep_host import cli, programs
from streamkeep_host.programs import Failure, output, run
from ufw_ruleset import ROLLBACK

ROOT = Path(__file__).parents[2]
FILES = ROOT / "roles/host_command/files"
# How templates, tasks and probes call it, but for what tasks are named.
CALLED = re.compile(r"^(?!- name:).*?streamkeep-host,? ([a-z0-9-]+),? ([a-z0-9-]+)", re.M)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("host") / "streamkeep-host"
    path.write_bytes(packed(FILES, f"{sys.executable} -Iu"))
    path.chmod(0o755)
    return path


def test_it_is_the_same_whoever_packs_it_and_when(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "__main__.py").write_text("print('here')\n")
        (tmp_path / name / "inner/more.py").write_text("x = 1\n")
    (tmp_path / "two/__main__.py").chmod(0o700)
    os.utime(tmp_path / "two/__main__.py", (1, 1))
    (tmp_path / "two/inner/more.pyc").write_text("")
    assert packed(tmp_path / "one", "/usr/bin/python3 -I") == packed(tmp_path / "two", "/usr/bin/python3 -I")
    (tmp_path / "two/inner/more.py").write_text("x = 2\n")
    assert packed(tmp_path / "one", "/usr/bin/python3 -I") != packed(tmp_path / "two", "/usr/bin/python3 -I")


def test_a_deployment_installs_it_and_a_second_one_changes_nothing(tmp_path: Path) -> None:
    play = {
        "name": "Install",
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {
            "_host_command_path": str(tmp_path / "streamkeep-host"),
            "ansible_python_interpreter": sys.executable,
        },
        "tasks": [
            {
                "name": "Install",
                "ansible.builtin.copy": {
                    "src": f"{{{{ lookup('python_zip', '{FILES}', interpreter='{sys.executable} -Iu') }}}}",
                    "dest": str(tmp_path / "streamkeep-host"),
                    "validate": f"{sys.executable} -Iu %s help",
                    "mode": "0755",
                },
            }
        ],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    plugins = {"ANSIBLE_LOOKUP_PLUGINS": str(ROOT / "roles/host_command/lookup_plugins")}
    for changed in (1, 0):
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", "play.yml"],
            cwd=tmp_path,
            env=os.environ | plugins,
            capture_output=True,
            text=True,
        )
        assert f"changed={changed} " in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "streamkeep-host").read_bytes() == packed(FILES, f"{sys.executable} -Iu")


def test_it_lists_every_command_and_what_it_takes(command: Path) -> None:
    said = subprocess.run([command, "help"], capture_output=True, text=True, check=True).stdout
    for group in cli.GROUPS:
        for name, function in cli.commands(group).items():
            assert f"streamkeep-host {group} {name}" in said
            assert function.__doc__
    assert "streamkeep-host certificate install FULLCHAIN PRIVKEY\n      Take this pair;" in said


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], "streamkeep-host acme issue"),
        (["no-such-group"], "streamkeep-host acme issue"),
        (["firewall"], "streamkeep-host firewall load"),
        (["firewall", "no-such-command"], "streamkeep-host firewall load"),
        (["firewall", "load", "too-much"], "streamkeep-host firewall load"),
        (["certificate", "install", "too-little"], "streamkeep-host certificate install"),
    ],
)
def test_who_asks_for_something_else_is_told_what_there_is(
    words: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert shown in said.err
    assert said.out == ""


def test_neither_the_folder_nor_the_environment_of_the_caller_has_a_say(command: Path, tmp_path: Path) -> None:
    for name in ("json.py", "subprocess.py", "streamkeep_host.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit('somebody else ran')\n")
    done = subprocess.run(
        [command, "help"], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_firewall_loads_whatever_ails_the_others(tmp_path: Path) -> None:
    for path in FILES.rglob("*.py"):
        copy = tmp_path / "files" / path.relative_to(FILES)
        copy.parent.mkdir(parents=True, exist_ok=True)
        alone = path.stem in {"__init__", "__main__", "cli", "programs", "firewall", "firewall_rollback"}
        copy.write_bytes(path.read_bytes() if alone else b"broken on purpose!\n")
    broken = tmp_path / "streamkeep-host"
    broken.write_bytes(packed(tmp_path / "files", f"{sys.executable} -Iu"))
    for words, status in ((["firewall-rollback", "pending"], 1), (["firewall-rollback", "restore"], 0)):
        done = subprocess.run([sys.executable, broken, *words], capture_output=True, text=True)
        assert done.returncode == status, done.stderr
    done = subprocess.run([sys.executable, broken, "firewall"], capture_output=True, text=True)
    assert "streamkeep-host firewall load" in done.stderr


def test_a_failure_is_one_sentence_and_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raised: list[Exception] = [Failure("it is broken: mend it.", 7), Failure(status=5), OSError("no such thing")]

    def fail() -> None:
        raise raised.pop(0)

    monkeypatch.setattr(cli, "commands", lambda group: {"load": fail})
    assert [cli.main(["firewall", "load"]) for _ in range(3)] == [7, 5, 1]
    assert capsys.readouterr().err.splitlines() == [
        "streamkeep-host firewall: it is broken: mend it.",
        "streamkeep-host firewall: OSError: no such thing",
    ]


def test_a_programs_failure_is_ours() -> None:
    assert output("printf", "two\\nlines\\n\\n") == "two\nlines"
    assert run("false", check=False).returncode == 1
    ended = {"exit 9": 9, "kill -9 $$": 137, "exit 255": 1}  # 255 is what ssh says of itself
    for script, status in ended.items():
        with pytest.raises(Failure) as failed:
            run("sh", "-c", script)
        assert (failed.value.status, str(failed.value)) == (status, "")
    with pytest.raises(Failure, match=r"^no-such-program is not there: deploy again\.$"):
        run("no-such-program")


def test_what_is_called_is_there() -> None:
    files = [*ROOT.glob("templates/**/*.j2"), *ROOT.glob("roles/*/*/*.yml"), *ROOT.glob("checklist/*.py")]
    called = {call for file in files if file.is_file() for call in CALLED.findall(file.read_text(encoding="utf-8"))}
    there = {(group, name) for group in cli.GROUPS for name in cli.commands(group)}
    assert called - there == set()
    # certbot calls one, systemd's timer another, and people look at what is served.
    assert there - called <= {("acme", "deploy"), ("certificate", "served"), ("integrity", "check")}


def test_it_is_where_others_call_it() -> None:
    told = yaml.safe_load((ROOT / "roles/host_command/vars/main.yml").read_text(encoding="utf-8"))
    assert told["_host_command_path"] == programs.COMMAND == ROLLBACK[0]


def test_it_needs_nothing_but_pythons_standard_library() -> None:
    for file in FILES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [str(node.module)]
            assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names, "streamkeep_host"}, file
