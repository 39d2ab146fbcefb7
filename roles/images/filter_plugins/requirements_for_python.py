"""Read a lock file for the Python that an image will have, whatever Python the controller has.

pip can download for another Python, but judges the markers of a lock file (`; python_version < "3.13"`) by its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from packaging.markers import InvalidMarker, Marker

# The images are Debian's on amd64, as are the platforms that the wheels are fetched for.
LINUX = {
    "extra": "",
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    # Empty, so that nothing of the controller's decides.
    "platform_release": "",
    "platform_system": "Linux",
    "platform_version": "",
    "sys_platform": "linux",
}


def requirements_for_python(lock: str, python: str) -> str:
    """Return the entries of *lock* that *python* (such as "3.13.5") needs, hashes and all, without their markers."""
    environment = LINUX | {
        "implementation_version": python,
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
    }
    kept = []
    for entry in lock.replace("\\\n", " ").splitlines():
        if not entry.strip() or entry.lstrip().startswith("#"):
            continue
        found = re.fullmatch(r"(\S+)(?:\s*;\s*(.*?))?((?:\s+--hash=\S+)+)\s*", entry)
        if not found:
            raise AnsibleFilterError(f"'{entry[:60]}' is no locked requirement: run './streamkeep lock' again.")
        name, marker, hashes = found.groups()
        try:
            needed = not marker or Marker(marker).evaluate(environment)
        except InvalidMarker as error:
            raise AnsibleFilterError(f"The marker of {name} can't be read: {error}") from error
        if needed:
            kept.append(" ".join([name, *hashes.split()]))
    return "\n".join([*kept, ""])


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filters by name."""
        return {"requirements_for_python": requirements_for_python}
