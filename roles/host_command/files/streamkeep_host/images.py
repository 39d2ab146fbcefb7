"""Remove images of ours that nothing needs.

Kept are the newest image of each name, whatever a container uses, running or not, and all that is not ours: neither by
its name nor, where it has none, by the label that our builds give. Nothing is forced: the engine itself refuses to
remove what is in use.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterable

from streamkeep_host.programs import output, run

LISTED = "{{.Repository}} {{.Tag}} {{.ID}}"
Image = tuple[str, str, str]  # name, tag, id


def prune(label: str) -> None:
    """Remove them; LABEL is what our builds give."""
    containers = output("docker", "ps", "--all", "--quiet").split()
    used = output("docker", "inspect", "--format", "{{.Image}}", *containers).split() if containers else []
    ours = output("docker", "image", "ls", "--no-trunc", "--quiet", "--filter", f"label={label}").split()
    listed = output("docker", "image", "ls", "--no-trunc", "--format", LISTED).splitlines()
    for target in needless([(name, tag, id_) for name, tag, id_ in map(str.split, listed)], used, ours):
        run("docker", "image", "rm", target, stdout=subprocess.DEVNULL)
        print(f"removed {target}")


def needless(images: Iterable[Image], used: Collection[str], ours: Collection[str]) -> list[str]:
    """Return which of *images*, the newest first, nothing needs.

    *used* are the ids of those that a container uses, *ours* the ids of those with our label.
    """
    found = []
    newest = set()
    for name, tag, id_ in images:
        if name.startswith("streamkeep/"):
            target = f"{name}:{tag}"
        elif name == "<none>" and id_ in ours:  # what a rebuilt or broken build left behind
            target = id_
        else:
            continue
        if name != "<none>" and name not in newest:
            newest.add(name)
        elif id_ not in used:
            found.append(target)
    return found


COMMANDS = {"prune": prune}
