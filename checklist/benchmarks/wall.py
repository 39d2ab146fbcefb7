"""What the wall costs a stream: `pytest checklist/benchmarks/wall.py --inventory inventories/demo -s`.

The same disposable host in three states, in turn, so that a noisy neighbour falls on all alike: as deployed; without
our firewall and bans (every table lets everything pass at its first rule); and besides with containers that have a
writable root, Docker's capabilities and no seccomp filter. In each state a stream begins three times, and then its
first segment is fetched again and again over one connection. Prints the median of all rounds and their spread, and
leaves the host as it was.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from contextlib import ExitStack

import pytest
from outside import NewKey, Outside, Site
from testinfra.host import Host

ROUNDS, STARTS, FETCHES = 5, 3, 150
# Six megabit a second whatever the picture: segments of 1.5 MB, so that bytes count and not requests.
CLIP = (
    "-re -f lavfi -i testsrc2=size=640x360:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000 -c:v libx264"
    " -preset ultrafast -tune zerolatency -g 60 -b:v 6000k -minrate 6000k -maxrate 6000k -bufsize 6000k"
    " -x264-params nal-hrd=cbr -pix_fmt yuv420p -c:a aac -b:a 96k -f flv"
)
# Where a rule in front of all others opens the wall, by table and chain.
CHAINS = ["raw PREROUTING", "mangle FORWARD", "mangle INPUT", "filter INPUT", "filter OUTPUT", "filter DOCKER-USER"]
OVERRIDE = "/run/streamkeep-benchmark.yaml"
COMPOSE = "docker compose --project-directory /opt/streamkeep --file /opt/streamkeep/compose.yaml"


def firewall(host: Host, *, on: bool) -> None:
    """Let everything pass at the first rule of each chain, or ask the rules again."""
    for tool in ("iptables", "ip6tables"):
        for place in CHAINS:
            table, chain = place.split()
            verdict = "RETURN" if chain == "DOCKER-USER" else "ACCEPT"
            rule = f"{chain} -m comment --comment streamkeep-benchmark -j {verdict}"
            there = host.run(f"{tool} --wait --table {table} --check {rule}").rc == 0
            if there == on:
                host.check_output(f"{tool} --wait --table {table} {'--delete' if on else '--insert'} {rule}")


def containers(host: Host, *, hardened: bool) -> None:
    """Start the containers as deployed, or as Docker would by itself."""
    override = ""
    if not hardened:
        bare = '{read_only: false, cap_drop: !reset [], security_opt: !override ["seccomp=unconfined"]}'
        names = host.check_output(f"{COMPOSE} config --services").split()
        text = "\n".join(["services:", *(f"  {name}: {bare}" for name in names)])
        host.check_output(f"cat >{OVERRIDE} <<'END'\n{text}\nEND")
        override = f"--file {OVERRIDE}"
    host.check_output(f"{COMPOSE} {override} up --detach --wait --wait-timeout 120 2>&1")


def state(host: Host, name: str) -> None:
    """Bring the host into the state *name*, and see that it is in it."""
    containers(host, hardened=name != "nothing of it")
    firewall(host, on=name == "as deployed")
    seccomp = host.check_output("grep ^Seccomp: /proc/$(docker inspect --format '{{.State.Pid}}' proxy)/status")
    assert seccomp.split()[1] == ("0" if name == "nothing of it" else "2")


def seconds_to_playlist(outside: Outside, site: Site, playpath: str) -> float:
    """Return seconds from the start of ffmpeg until the source's playlist has a segment, and end the stream."""
    url = site.playlist(playpath.partition("?")[0], "source")
    begun = outside.output(
        f"ffmpeg -nostdin -v error {CLIP} -rtmp_playpath '{playpath}'"
        f" rtmps://{site.address}:1936/live >/dev/null 2>&1 & publisher=$!\n"
        "began=$(date +%s%N)\n"
        f"for i in $(seq 400); do curl -sk -m 3 {url} | grep -q '^[0-9].*ts$' && break; sleep 0.05; done\n"
        "echo $(( $(date +%s%N) - began )); sleep 4; kill -INT $publisher; wait $publisher || test $? -eq 255"
    )
    taken = int(begun.split()[0]) / 1e9
    assert taken < 20, "the stream never played"
    return taken


def fetches(outside: Outside, site: Site, slug: str) -> list[tuple[float, float]]:
    """Return (seconds, bytes) of each fetch of the first segment over one connection."""
    url = site.playlist(slug, "source")
    _, text = outside.segments(url)
    segment = next(line for line in text.splitlines() if line.endswith(".ts"))
    printed = outside.output(
        f"for i in $(seq {FETCHES}); do echo url={url.rpartition('/')[0]}/{segment}; echo output=/dev/null; done"
        " | curl -sk -K - -w '%{http_code} %{time_total} %{size_download}\\n'"
    )
    rows = [line.split() for line in printed.splitlines()]
    assert len(rows) == FETCHES
    assert {row[0] for row in rows} == {"200"}
    assert float(rows[0][2]) > 1e6, "a segment of 6 Mbit/s"
    return [(float(row[1]), float(row[2])) for row in rows]


def shown(values: list[float], form: str = "{:.2f}") -> str:
    """Return the median of *values* and their spread."""
    middle, low, high = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


@pytest.mark.timeout(3600)
def test_what_the_wall_costs(site: Site, host: Host, outside: Outside, new_key: NewKey) -> None:
    if not site.outside:
        pytest.skip("not-testable: nobody but a disposable host loses its wall for a measurement")
    names = ["as deployed", "no firewall", "nothing of it"]
    starts, rates, slowest = (defaultdict[str, list[float]](list) for _ in range(3))
    with ExitStack() as after:
        after.callback(host.check_output, f"rm -f {OVERRIDE}")
        after.callback(state, host, "as deployed")
        for turn in range(ROUNDS):
            for name in names[turn % 3 :] + names[: turn % 3]:
                state(host, name)
                # A name of its own each time: an ended stream is shown for half a minute more.
                slugs = [f"probe-wall-{turn}-{names.index(name)}-{start}" for start in range(STARTS)]
                taken = [seconds_to_playlist(outside, site, new_key(slug)) for slug in slugs]
                starts[name].append(statistics.median(taken))
                rows = fetches(outside, site, slugs[-1])
                rates[name].append(sum(size for _, size in rows) / sum(each for each, _ in rows) / 1e6)
                slowest[name].append(sorted(each for each, _ in rows)[int(FETCHES * 0.99)] * 1e3)
                print(f"round {turn + 1}, {name}: {starts[name][-1]:.2f} s, {rates[name][-1]:.0f} MB/s", flush=True)
    print("\n| | publish to playlist, s | segments, MB/s | slowest in a hundred, ms |\n|---|---|---|---|")
    for name in names:
        print(f"| {name} | {shown(starts[name])} | {shown(rates[name], '{:.0f}')} | {shown(slowest[name], '{:.1f}')} |")
