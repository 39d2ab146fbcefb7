"""What streams cost a host: `pytest checklist/benchmarks/media.py --inventory inventories/demo -s`.

Streams of 1.5 Mbit/s with a keyframe each 2 s, encoded beforehand, are published at once by one program on the machine
outside (checklist/crowd.py). For each number of them: seconds from the beginning of a publisher's connection to the
first playlist with a segment, the slowest of them; how old the end of the newest segment is after a minute, the oldest
of them; the load average after that minute; and CPU seconds by container for a stream's minute, once all play, less
what the containers took in a minute without streams. Nobody watches meanwhile. Prints the median of ROUNDS rounds and
their spread.

Copies alone are measured on a host that was deployed so, and the run refuses another:

    ./streamkeep deploy demo -e '{"streamkeep_ladder": [{"name": "source"}]}'
    ./streamkeep bench media demo

Publishers come by RTMPS, as people should; other servers are measured by RTMP, so --scheme rtmp compares with them.

What a host does that has to encode as well, with more streams than streamkeep_max_concurrent_streams usually lets in:

    ./streamkeep deploy demo -e '{"streamkeep_max_concurrent_streams": 12}'
    ./streamkeep bench media demo --streams 12 --ladder default
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crowd
import pytest
import sender
from outside import NewKey, Outside, Site
from testinfra.host import Host

PORTS = {"rtmp": 1935, "rtmps": 1936}
ROUNDS, WINDOW = 3, 60  # seconds
FOLDER = "/tmp/streamkeep-bench"
CLIP = (
    "-f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000 -t 60 -c:v libx264"
    " -preset ultrafast -profile:v main -g 60 -keyint_min 60 -sc_threshold 0 -b:v 1500k -minrate 1500k -maxrate 1500k"
    " -bufsize 1500k -x264-params nal-hrd=cbr -pix_fmt yuv420p -c:a aac -b:a 96k -f flv"
)
# Microseconds of CPU that each container has taken, by name: cgroup 2 has cpu.stat, cgroup 1 cpuacct.usage.
CPU = """
for name in $(docker ps --format '{{.Names}}'); do
    pid=$(docker inspect --format '{{.State.Pid}}' "$name")
    path=$(sed -nE 's/^[0-9]+:(.*,)?cpuacct(,.*)?:(.*)/\\3/p' "/proc/$pid/cgroup")
    if [ -n "$path" ]; then
        echo "$name $(($(cat "/sys/fs/cgroup/cpuacct$path/cpuacct.usage") / 1000))"
    else
        path=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
        echo "$name $(awk '$1 == "usage_usec" {print $2}' "/sys/fs/cgroup$path/cpu.stat")"
    fi
done
"""
MACHINE = "echo $(nproc) x $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"


def used(before: str, after: str) -> dict[str, float]:
    """Return seconds of CPU by container between two answers to CPU; one that came or went meanwhile is an error."""
    first, second = ({name: int(us) for name, us in map(str.split, text.splitlines())} for text in (before, after))
    assert first.keys() == second.keys(), f"containers came or went: {first.keys() ^ second.keys()}"
    assert all(second[name] >= first[name] for name in first), "a container was started again"
    return {name: (second[name] - first[name]) / 1e6 for name in first}


def minute(host: Host) -> dict[str, float]:
    """Return seconds of CPU by container in WINDOW seconds."""
    before, until = host.check_output(CPU), time.monotonic() + WINDOW
    time.sleep(max(0.0, until - time.monotonic()))
    return used(before, host.check_output(CPU))


@dataclass
class Publishing:
    """The program outside, and what it has said."""

    process: subprocess.Popen[str]

    def hear(self) -> dict[str, Any]:
        """Return its next line."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the publishers ended without a word: is python3 on the machine outside?"
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            pytest.fail(
                f"{said['error']} (does the host let so many in? streamkeep_max_concurrent_streams says)", pytrace=False
            )
        return said

    def ask(self) -> dict[str, Any]:
        """Let it look how far behind the streams are."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.hear()


@contextmanager
def publishing(outside: Outside, told: Callable[[], dict[str, Any]]) -> Iterator[Publishing]:
    """Run the publishers for as long as the block lasts.

    What they are told holds keys: pytest shows arguments where a test fails, so it is asked for, and goes by a pipe.
    """
    prefix = [*outside.prefix[:2], "--interactive", *outside.prefix[2:]] if outside.prefix else []
    command = [*prefix, "python3", f"{FOLDER}/crowd.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        process.stdin.write(json.dumps(told()) + "\n")
        process.stdin.flush()
        try:
            yield Publishing(process)
        finally:
            process.communicate(timeout=30)


@pytest.fixture(scope="module")
def clip(outside: Outside) -> Iterator[str]:
    """Give the clip, beside the programs that send it, on the machine outside."""
    outside.output(f"mkdir -p {FOLDER} && ffmpeg -nostdin -v error {CLIP} -y {FOLDER}/clip.flv", timeout=300)
    for module in (crowd, sender):
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        outside.output(f"cat >{FOLDER}/{Path(str(module.__file__)).name} <<'END'\n{text}\nEND")
    yield f"{FOLDER}/clip.flv"
    outside.output(f"rm -r {FOLDER}")


def shown(values: list[float], form: str = "{:.2f}") -> str:
    """Return the median of *values* and their spread."""
    middle, low, high = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def table(rows: dict[str, dict[str, list[float]]], heads: list[str]) -> str:
    """Return a table of *rows* (a name's values by head), each value a median and its spread."""
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, values in rows.items():
        cells = [shown(values[head]) if values.get(head) else "-" for head in heads]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


@pytest.mark.timeout(3600)
def test_streams(
    request: pytest.FixtureRequest, site: Site, host: Host, outside: Outside, new_key: NewKey, clip: str
) -> None:
    counts = request.config.getoption("--streams")
    heads = {count: f"{count} at once" if count > 1 else "one alone" for count in counts}
    scheme = request.config.getoption("--scheme")
    server = f"{scheme}://{site.address}:{PORTS[scheme]}/live"
    copies_alone = request.config.getoption("--ladder") == "copy"
    # By what is measured, and by how many streams there were.
    went, cost = (defaultdict[str, dict[str, list[float]]](lambda: defaultdict(list)) for _ in range(2))
    for turn in range(ROUNDS):
        idle = minute(host)
        for number, head in heads.items():
            # A name of its own each time: an ended stream is shown for half a minute more.
            streams = {slug: new_key(slug) for slug in (f"bench-{turn}-{number}-{each}" for each in range(number))}
            told = {"server": server, "site": f"https://{site.address}", "clip": clip}
            with publishing(outside, lambda told=told | {"streams": streams}: told) as crowded:
                began = crowded.hear()
                if copies_alone and began["renditions"] != ["source"]:
                    pytest.fail(
                        f"This host offers {', '.join(began['renditions'])}: deploy it for copies alone with"
                        """ -e '{"streamkeep_ladder": [{"name": "source"}]}', or say --ladder default."""
                    )
                taken = minute(host)
                load = float(host.check_output("cat /proc/loadavg").split()[0])
                old = crowded.ask()["behind"]
            each = {name: (taken[name] - idle.get(name, 0.0)) * 60 / WINDOW / number for name in taken}
            for name, seconds in (each | {"all": sum(each.values())}).items():
                cost[name][head].append(seconds)
            went["first playlist, s"][head].append(max(began["first"].values()))
            went["behind live, s"][head].append(max(old.values()))
            went["load average"][head].append(load)
            print(
                f"round {turn + 1}, {head}:",
                {name: round(each[head][-1], 2) for name, each in went.items()},
                flush=True,
            )
            time.sleep(10)  # what follows the end of a stream is nobody's cost
    commit = subprocess.check_output(["git", "describe", "--always", "--dirty"], text=True).strip()
    machine = f"{host.check_output(MACHINE)}, {time.strftime('%d %B %Y')}, commit {commit}"
    print(f"\n{machine}; by {scheme}, offered: {', '.join(began['renditions'])}\n\n{table(went, list(heads.values()))}")
    print(f"\nCPU seconds for a stream's minute:\n\n{table(cost, list(heads.values()))}")
