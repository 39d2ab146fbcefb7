"""What the benchmark of streams makes of what it reads; it is run on a deployed host alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import crowd
import pytest
from benchmarks.media import CPU, shown, table, used

PLAYLIST = """#EXTM3U
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:1
#EXTINF:2.000000,
#EXT-X-PROGRAM-DATE-TIME:2026-11-27T08:00:00.500+0000
1-000001.ts
#EXTINF:1.500000,
{second}1-000002.ts
"""
BEGAN = 1795766400.5  # 2026-11-27T08:00:00.500Z


@pytest.mark.parametrize(
    ("second", "ended"),
    [("", 3.5), ("#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2026-11-27T08:01:00.500Z\n", 61.5)],
    ids=["the time of the first alone", "a time of its own"],
)
def test_how_old_the_newest_segment_is(second: str, ended: float) -> None:
    text = PLAYLIST.format(second=second)
    assert crowd.behind(text, BEGAN + ended + 4) == pytest.approx(4)
    assert [length for _, length in crowd.segments(text)] == [2, 1.5]


@pytest.mark.parametrize("text", ["", "#EXTM3U\n", "#EXTM3U\n#EXTINF:2,\n1.ts\n", "<html>404</html>\n"])
def test_a_playlist_that_does_not_say_when_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError, match="does not say when"):
        crowd.behind(text, BEGAN)
    assert bool(crowd.segments(text)) == text.endswith(".ts\n")


def test_renditions_are_read_from_the_master() -> None:
    master = (
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nsource/index.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\n480p/index.m3u8\n"
    )
    assert crowd.renditions(master) == ["source", "480p"]
    assert crowd.renditions("#EXTM3U\n") == []


@pytest.mark.parametrize("version", [1, 2])
def test_cpu_is_read_by_container(tmp_path: Path, version: int) -> None:
    groups = {
        1: ("9:cpu,cpuacct:/docker/ab\n4:memory:/other\n0::/\n", "cpuacct/docker/ab/cpuacct.usage", "2500000999\n"),
        2: (
            "0::/system.slice/docker-ab.scope\n",
            "system.slice/docker-ab.scope/cpu.stat",
            "usage_usec 2500000\nuser_usec 7\n",
        ),
    }
    group, file, content = groups[version]
    for name, text in {"proc/7/cgroup": group, f"sys/fs/cgroup/{file}": content}.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n[ $1 = ps ] && echo proxy || echo 7\n")
    docker.chmod(0o755)
    script = CPU.replace("/proc/", f"{tmp_path}/proc/").replace("/sys/", f"{tmp_path}/sys/")
    done = subprocess.run(
        ["sh", "-euc", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "proxy 2500000\n"
    assert used("proxy 500000\n", done.stdout) == {"proxy": 2.0}


@pytest.mark.parametrize(
    ("after", "said"), [("proxy 5\nffmpeg 1\n", "came or went"), ("", "came or went"), ("proxy 1\n", "started again")]
)
def test_a_container_that_was_not_there_throughout_spoils_the_measurement(after: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        used("proxy 4\n", after)


def test_a_table_holds_medians_and_spreads() -> None:
    assert shown([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"
    rows = {"proxy": {"one alone": [1.0], "10 at once": [2.0, 3.0]}, "relay": {"one alone": [0.5]}}
    assert table(rows, ["one alone", "10 at once"]).splitlines()[2:] == [
        "| proxy | 1.00 (1.00 to 1.00) | 2.50 (2.00 to 3.00) |",
        "| relay | 0.50 (0.50 to 0.50) | - |",
    ]
