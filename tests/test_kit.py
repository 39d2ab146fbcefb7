"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ROLES = sorted(path.parent.parent for path in ROOT.glob("roles/*/tasks/main.yml"))
TASK_FILES = sorted(ROOT.glob("roles/*/tasks/*.yml"))
TRACKED = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
BIN = Path(sys.executable).parent


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def tasks(block: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for task in block:
        found.append(task)
        for inner in ("block", "rescue", "always"):
            found += tasks(task.get(inner, []))
    return found


def test_there_are_roles() -> None:
    assert len(ROLES) >= 8


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_default_is_described_typed_and_the_same(role: Path) -> None:
    options = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = load(role / "defaults/main.yml") or {}
    assert set(options) == set(defaults)
    for name, option in options.items():
        assert name.startswith(f"{role.name}_")
        assert option["type"]
        assert option["description"]
        assert option["default"] == defaults[name]
        if option["type"] == "list":
            assert option["elements"]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_role_explains_itself(role: Path) -> None:
    assert (role / "README.md").read_text(encoding="utf-8").startswith(f"# {role.name}\n")
    assert load(role / "meta/main.yml")["galaxy_info"]["role_name"] == role.name


@pytest.mark.parametrize("file", TASK_FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_task_files_are_small_and_their_loops_labelled(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 75
    for task in tasks(load(file)):
        if "loop" in task:
            assert task.get("loop_control", {}).get("label"), task["name"]
        assert "ignore_errors" not in task


ANSIBLE_FILES = sorted(
    path
    for pattern in ("roles/*/tasks/*.yml", "roles/*/handlers/*.yml", "playbooks/*.yml", "molecule/*/*.yml")
    for path in ROOT.glob(pattern)
    if path.name != "molecule.yml"
)
# Words for an object that has a name of its own.
RIDDLES = re.compile(
    r"\b(it|they|them|their|this|these|those|that (is|are|was|were)|what|who|whom|whoever|nobody|somebody|others|"
    r"us|ours?|you|now)\b",
    re.I,
)


@pytest.mark.parametrize("file", ANSIBLE_FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_names_of_tasks_make_sense_alone_in_a_terminal(file: Path) -> None:
    for play in load(file):
        for task in tasks([play, *play.get("tasks", [])]):
            assert not RIDDLES.search(task["name"]), f"{task['name']}: name the object, in the field's terms"


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_what_is_notified_is_a_handler_and_every_handler_is_notified(role: Path) -> None:
    handlers = load(role / "handlers/main.yml") if (role / "handlers/main.yml").exists() else []
    topics = {topic for handler in handlers for topic in listed(handler.get("listen", handler["name"]))}
    notified = {
        topic
        for file in role.glob("tasks/*.yml")
        for task in tasks(load(file))
        for topic in listed(task.get("notify", []))
    }
    assert notified == topics


# What no program would look at before it is in use, and why.
UNCHECKED = {
    "Disable core dumps and close idle shells": "pam, systemd and login shells have no check",
    "Configure journald to keep the journal within limits": "journald has no check",
    "Install audit rules for accounts, sudo, ssh and the clock": "auditctl has no check: it loads, into the kernel",
    "Install audit rules for Docker": "auditctl has no check: it loads, into the kernel",
}


def test_what_is_rendered_is_looked_at_by_its_program_before_it_replaces_anything() -> None:
    rendered = [task for file in TASK_FILES for task in tasks(load(file)) if "ansible.builtin.template" in task]
    assert len(rendered) >= 25
    unchecked = {task["name"] for task in rendered if "%s" not in task["ansible.builtin.template"].get("validate", "")}
    assert unchecked == set(UNCHECKED)


@pytest.mark.parametrize("playbook", sorted(ROOT.glob("playbooks/*.yml")), ids=lambda path: path.name)
def test_playbooks_are_tables_of_contents(playbook: Path) -> None:
    assert len(playbook.read_text(encoding="utf-8").splitlines()) <= 40
    for play in load(playbook):
        assert play["roles"]
        assert not {"tasks", "pre_tasks", "post_tasks", "vars_files"} & set(play)


def test_every_template_says_who_manages_it() -> None:
    templates = sorted(ROOT.glob("templates/**/*.j2"))
    assert len(templates) >= 7
    for template in templates:
        assert "{{ ansible_managed | comment }}" in template.read_text(encoding="utf-8")[:80], template


def test_no_settings_hide_outside_their_spec() -> None:
    known = load(ROOT / "roles/preflight/meta/argument_specs.yml")["argument_specs"]["settings"]["options"]
    said = {name for path in ROOT.glob("group_vars/all/*.yml") for name in load(path)}
    assert said <= set(known)
    assert set(known) - said == {"streamkeep_domain", "streamkeep_contact", "streamkeep_publisher_sources"}


def test_nothing_of_this_machine_or_of_a_registry_is_in_the_tree() -> None:
    hosts = "|".join([r"deb\.debian" + r"\.org", "pypi" + r"\.org", "pythonhosted" + r"\.org", "registry" + r"\.npmjs"])
    for name in filter(None, TRACKED.split("\0")):
        path = ROOT / name
        if path.is_symlink() or path.suffix in {".png", ".svg"}:
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(hosts, text), name
        assert "BEGIN " + "PRIVATE KEY" not in text, name


def test_an_environment_overrides_the_root(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    probe = {"streamkeep_probe": "{{ streamkeep_api_rate_limit }} {{ [10, 20] }}"}
    hosts = {"usual": probe, "own": probe | {"streamkeep_api_rate_limit": 7}}
    inventory.write_text(yaml.safe_dump({"streamkeep": {"hosts": hosts}}))
    (tmp_path / "group_vars").symlink_to(ROOT / "group_vars")
    shown = subprocess.run(
        [BIN / "ansible", "-i", inventory, "all", "-c", "local", "-o", "-m", "debug", "-a", "var=streamkeep_probe"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"^usual .*\b60 \[10, 20\]", shown, re.M), shown
    assert re.search(r"^own .*\b7 \[10, 20\]", shown, re.M), shown


def test_inventories_share_the_root_settings() -> None:
    for folder in [*(ROOT / "inventories").iterdir(), *ROOT.glob("molecule/*/inventory")]:
        assert (folder / "group_vars").resolve() == ROOT / "group_vars", folder


def test_what_the_app_imports_is_declared() -> None:
    def names_of(lines: list[str]) -> set[str]:
        return {re.split("[<>=]", line)[0].lower().replace("_", "-") for line in lines}

    declared = names_of((ROOT / "app/requirements.in").read_text().splitlines())
    makers = packages_distributions()
    for file in [*(ROOT / "app/orchestrator").rglob("*.py"), *(ROOT / "app").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            else:
                continue
            for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"orchestrator"}:
                assert names_of(makers[top]) & declared, f"{file.name} imports {top}"


def test_the_pages_packages_are_locked() -> None:
    locked = json.loads((ROOT / "app/package-lock.json").read_text())["packages"]
    wanted = json.loads((ROOT / "app/package.json").read_text())["dependencies"]
    for name, version in wanted.items():
        assert locked[f"node_modules/{name}"]["version"] == version
        assert locked[f"node_modules/{name}"]["integrity"].startswith("sha512-")


def test_the_table_of_inputs_names_tests_that_are_there() -> None:
    """docs/inputs.md tells a reader which test shows a line; a name that nothing bears would show nothing."""
    tests = [path for path in ROOT.rglob("test_*.py") if ".venv" not in path.parts and "node_modules" not in path.parts]
    written = "\n".join(path.read_text(encoding="utf-8") for path in tests)
    there = {path.stem for path in tests} | set(re.findall(r"\bdef (test_\w+)", written))
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs/inputs.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    assert sorted(set(named) - there) == []
    table = (ROOT / "images/ffmpeg/tests/live/publishers.py").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \|", (ROOT / "docs/inputs.md").read_text(encoding="utf-8"), re.MULTILINE)
    names = {name for cell in rows for name in re.findall(r"`(\w+)`", cell) if not name.startswith("test_")}
    assert len(names) > 30
    assert [name for name in sorted(names) if f'"{name}"' not in table] == []
