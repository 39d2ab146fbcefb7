"""The host itself: updates, kernel, sessions, records, and whether its files are what was deployed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from secrets import token_hex

import pytest
from outside import DOORS, Site, eventually
from testinfra.host import Host

SYSCTL_NETWORK = {
    **{
        f"net.ipv4.conf.{scope}.{key}": 0
        for scope in ("all", "default")
        for key in ("accept_redirects", "secure_redirects", "send_redirects", "accept_source_route")
    },
    **{
        f"net.ipv6.conf.{scope}.{key}": 0
        for scope in ("all", "default")
        for key in ("accept_redirects", "accept_source_route")
    },
    "net.ipv4.conf.all.rp_filter": 1,
    "net.ipv4.conf.default.rp_filter": 1,
    "net.ipv4.icmp_echo_ignore_broadcasts": 1,
    "net.ipv4.icmp_ignore_bogus_error_responses": 1,
    "net.ipv4.tcp_rfc1337": 1,
    "net.ipv4.tcp_syncookies": 1,
    "net.ipv4.ip_forward": 1,  # containers live behind it
}
SYSCTL_KERNEL = {
    "dev.tty.ldisc_autoload": 0,
    "fs.protected_fifos": 2,
    "fs.protected_hardlinks": 1,
    "fs.protected_regular": 2,
    "fs.protected_symlinks": 1,
    "fs.suid_dumpable": 0,
    "kernel.core_uses_pid": 1,
    "kernel.dmesg_restrict": 1,
    "kernel.kexec_load_disabled": 1,
    "kernel.kptr_restrict": 2,
    "kernel.perf_event_paranoid": 3,
    "kernel.randomize_va_space": 2,
    "kernel.sysrq": 0,
    "kernel.unprivileged_bpf_disabled": 1,
    "kernel.unprivileged_userns_clone": 0,
    "kernel.yama.ptrace_scope": 1,
    "net.core.bpf_jit_harden": 2,
    "vm.unprivileged_userfaultfd": 0,
}
# Where the host's own address comes by DHCP, somebody waits for the answer.
DHCP_CLIENTS = ("dhclient", "dhcpcd", "systemd-network", "NetworkManager")
# Debian's own, and those of the operator's choice that the role leaves in place
CLOCK_KEEPERS = ["systemd-timesyncd", "chrony", "ntpsec", "openntpd"]
# Servers in clear text, and what would start them: by what they install, whatever package brings it.
LEGACY = ["in.telnetd", "in.rshd", "in.rlogind", "in.tftpd", "in.talkd", "xinetd", "inetd", "ypserv", "rpcbind"]


def value(host: Host, key: str) -> int:
    return int(host.check_output(f"sysctl --values {key}"))


@pytest.mark.parametrize("key", SYSCTL_NETWORK)
def test_the_network_stack_is_hardened(host: Host, key: str) -> None:
    if ".ipv6." in key and not host.file("/proc/sys/net/ipv6").exists:
        pytest.skip("not-testable: this kernel has no IPv6")
    routes = host.check_output("ip -4 -oneline route show table all")
    ways = {way for line in re.findall("^default .*", routes, re.M) for way in re.findall(r" dev (\S+)", line)}
    loose = key.endswith(".rp_filter") and len(ways) > 1  # base_rp_filter: 2
    assert value(host, key) == (2 if loose else SYSCTL_NETWORK[key])


@pytest.mark.parametrize("key", SYSCTL_KERNEL)
def test_the_kernel_is_hardened(host: Host, own_kernel: bool, key: str) -> None:
    if not own_kernel:
        pytest.skip("not-testable: a container's kernel is the machine's underneath")
    assert value(host, key) == SYSCTL_KERNEL[key]


def test_a_container_leaves_the_kernel_of_all_alone(host: Host, own_kernel: bool) -> None:
    assert host.file("/etc/sysctl.d/61-streamkeep-kernel.conf").exists == own_kernel


@pytest.mark.parametrize("module", ["dccp", "sctp", "rds", "tipc", "usb-storage", "firewire-ohci", "cramfs", "udf"])
def test_the_module_is_never_loaded(host: Host, module: str) -> None:
    blocked = host.check_output("modprobe --showconfig").splitlines()
    name = module.replace("-", "_")
    assert f"install {name} /bin/false" in blocked
    assert f"blacklist {name}" in blocked
    assert not host.file(f"/sys/module/{name}").exists or host.run("systemd-detect-virt --container --quiet").rc == 0


def test_only_security_updates_install_themselves_and_the_reboot_has_its_time(host: Host) -> None:
    settings = host.check_output("apt-config dump")
    origins = re.findall(r'^Unattended-Upgrade::Origins-Pattern:: "(.*)";', settings, re.M)
    assert origins == ["origin=Debian,codename=${distro_codename}-security,label=Debian-Security"]
    assert 'APT::Periodic::Unattended-Upgrade "1";' in settings
    assert 'APT::Periodic::Update-Package-Lists "1";' in settings
    assert 'Unattended-Upgrade::Automatic-Reboot-Time "04:30";' in settings
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert host.service(timer).is_enabled
        assert host.service(timer).is_running
    assert host.run("unattended-upgrade --dry-run").rc == 0


def test_what_carries_streams_is_not_restarted_by_itself(host: Host) -> None:
    shown = host.check_output(
        "perl -e 'do q(/etc/needrestart/needrestart.conf); print qq($nrconf{restart}\\n);"
        " for my $s (qw(docker containerd streamkeep cron)) { my ($r) = grep { qq($s.service) =~ $_ }"
        " keys %{$nrconf{override_rc}}; print qq($s ), defined $r ? $nrconf{override_rc}{$r} : 1, qq(\\n) }'"
    )
    assert shown.splitlines() == ["a", "docker 0", "containerd 0", "streamkeep 0", "cron 1"]


def test_the_clock_is_kept(site: Site, host: Host, own_kernel: bool) -> None:
    keepers = [name for name in CLOCK_KEEPERS if host.run(f"systemctl is-enabled {name}").rc == 0]
    assert len(keepers) == 1
    if not own_kernel:
        # Nor does systemd start one there.
        pytest.skip("not-testable: a container's clock is the machine's underneath")
    assert host.service(keepers[0]).is_running
    if site.outside:
        pytest.skip("not-testable: a disposable host reaches no time server")
    assert host.check_output("timedatectl show --property NTPSynchronized --value") == "yes"


def test_the_journal_outlives_a_boot_within_limits(host: Host) -> None:
    settings = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    for line in ("Storage=persistent", "SystemMaxUse=500M", "MaxRetentionSec=90day"):
        assert line in settings.splitlines()
    header = host.check_output("journalctl --header --lines 0 | grep 'File path' | head -1")
    assert "/var/log/journal/" in header


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/shadow",
        "/etc/sudoers",
        "/etc/ssh/sshd_config.d",
        "/etc/localtime",
        "/etc/docker",
        "/etc/docker/daemon.json",
        "/var/lib/docker",
        "/usr/sbin/dockerd",
        "/usr/bin/containerd",
        "/usr/sbin/runc",
    ],
)
def test_changes_are_written_down(host: Host, own_kernel: bool, path: str) -> None:
    if own_kernel:
        assert re.search(rf"^-w {path} -p wa ", host.check_output("auditctl -l"), re.M)
    rules = host.check_output("cat /etc/audit/rules.d/*-streamkeep*.rules")
    assert f"-w {path} -p wa -k " in rules
    if not own_kernel:
        pytest.skip("not-testable: the rules are written, but a container has no audit of its own")


@pytest.mark.parametrize("call", ["settimeofday", "execve", "finit_module"])
def test_what_root_alone_may_is_written_down(host: Host, own_kernel: bool, call: str) -> None:
    """By programs of 64 bits and, where the kernel runs them, of 32; auditctl has its own order within a rule."""
    key = {"settimeofday": "time", "execve": "root", "finit_module": "modules"}[call]
    archs = {"b64", "b32"} if host.check_output("uname --machine") == "x86_64" else {"b64"}
    rule = rf"^-a always,exit .*-F arch=(b\d\d) .*-S \S*\b{call}\b.* (?:-k |-F key=){key}$"
    assert set(re.findall(rule, host.check_output("cat /etc/audit/rules.d/50-streamkeep.rules"), re.M)) == archs
    if not own_kernel:
        pytest.skip("not-testable: the rules are written, but a container has no audit of its own")
    assert set(re.findall(rule, host.check_output("auditctl -l"), re.M)) == archs


@pytest.mark.destructive
def test_who_touches_the_accounts_is_written_down(host: Host, own_kernel: bool) -> None:
    """One event of a kind that we watch and one that nobody does."""
    if not own_kernel:
        pytest.skip("not-testable: a container has no audit of its own")
    # A name that no earlier run has left in the log
    name = f"probe-audit-{token_hex(4)}"
    watched, other = f"/etc/sudoers.d/{name}", f"/etc/{name}"
    find = "ausearch --start recent --input-logs --interpret --file"
    try:
        host.check_output(f"touch {watched} {other}")
        eventually(lambda: "key=privilege" in host.run(f"{find} {watched}").stdout, 10, "the event is written down")
        assert host.run(f"{find} {other}").rc == 1
    finally:
        host.check_output(f"rm --force {watched} {other}")


def test_sessions_keep_their_files_to_themselves(host: Host, site: Site) -> None:
    for user in ("root", site.user):
        mask = int(host.check_output(f"runuser --login {user} --command umask"), 8)
        assert mask & 0o007 == 0o007, f"others read what {user} writes"
        assert host.check_output(f"runuser --login {user} --command 'ulimit -H -c'") == "0"
        assert host.check_output(f"runuser --login {user} --command 'echo $TMOUT'") == "900"
    assert int(host.check_output("runuser --login root --command umask"), 8) == 0o027
    assert "DefaultLimitCORE=0" in host.check_output("systemctl show").splitlines()


def test_nobody_logs_in_without_a_password_or_as_a_second_root(host: Host) -> None:
    assert host.check_output("awk -F: '$2 == \"\"' /etc/shadow") == ""
    assert host.check_output("awk -F: '$3 == 0 {print $1}' /etc/passwd") == "root"


@pytest.mark.parametrize("folder", ["cron.d", "cron.hourly", "cron.daily", "cron.weekly", "cron.monthly"])
def test_scheduled_jobs_are_for_root_alone(host: Host, folder: str) -> None:
    seen = host.file(f"/etc/{folder}")
    assert (seen.uid, seen.gid, seen.mode) == (0, 0, 0o700)


@pytest.mark.parametrize("file", ["/etc/issue", "/etc/issue.net"])
def test_whoever_knocks_is_told_whose_system_this_is(host: Host, file: str) -> None:
    text = host.file(file).content_string
    assert "private system" in text
    assert "monitored and recorded" in text
    assert "Debian" not in text


def test_no_server_speaks_in_clear_text(host: Host) -> None:
    assert host.run(f"command -v {' '.join(LEGACY)}").stdout == ""


def doors(host: Host, protocol: str) -> set[tuple[str | int, ...]]:
    """Return (process, port) of all that listens by *protocol*; loopback is nobody's door."""
    found = set()
    for line in host.check_output(f"ss -Hlnp --{protocol}").splitlines():
        address, process = line.split()[3], re.findall(r'\(\("([^"]+)"', line)
        if not re.match(r"127\.|\[::1\]", address):
            found.add((*process, int(address.rpartition(":")[2])))
    return found


def test_nobody_listens_but_who_is_meant_to(host: Host) -> None:
    # The engine holds the ports that the stack publishes.
    assert doors(host, "tcp") <= {("sshd", 22), *(("dockerd", port) for port in DOORS - {22})}
    assert doors(host, "udp") <= {(client, port) for client in DHCP_CLIENTS for port in (68, 546)}


@pytest.fixture
def planted(host: Host) -> Iterator[str]:
    path = "/usr/local/sbin/probe-planted"
    host.check_output(f"printf '#!/bin/sh\\n' >{path}")
    yield path
    host.check_output(f"rm --force {path}")
    host.check_output("systemctl reset-failed streamkeep-integrity streamkeep-packages")


def test_files_are_compared_every_day_and_packages_every_week(host: Host) -> None:
    for timer in ("streamkeep-integrity.timer", "streamkeep-packages.timer"):
        assert host.service(timer).is_enabled
        assert host.service(timer).is_running
    assert host.file("/var/lib/streamkeep/integrity/aide.db").mode == 0o600


@pytest.mark.destructive
def test_a_planted_file_is_found(host: Host, planted: str) -> None:
    """And so is a changed permission; what the probes before this one left is accepted first."""
    host.check_output("streamkeep-host integrity accept")
    host.check_output(f"rm {planted}")
    assert host.run("systemctl start streamkeep-integrity").rc != 0, "a removed file"
    host.check_output("streamkeep-host integrity accept")
    assert host.run("systemctl start streamkeep-integrity").rc == 0
    host.check_output(f"touch {planted} && chmod u+s /usr/bin/env")
    assert host.run("systemctl start streamkeep-integrity").rc != 0
    run = host.check_output("systemctl show --property InvocationID --value streamkeep-integrity")
    found = host.check_output(f"journalctl _SYSTEMD_INVOCATION_ID={run} --no-pager")
    assert planted in found
    assert "/usr/bin/env" in found
    # An upgrade in between accepts nothing, because files differed before it.
    host.check_output("streamkeep-host integrity before-upgrade")
    assert "nothing is accepted" in host.check_output("streamkeep-host integrity after-upgrade")
    host.check_output(f"chmod u-s /usr/bin/env && rm {planted}")
    assert host.run("systemctl start streamkeep-integrity").rc == 0


@pytest.mark.destructive
def test_a_changed_package_is_found(host: Host, planted: str) -> None:
    changed = "/usr/share/doc/aide/NEWS.Debian.gz"
    host.check_output(f"cp --archive {changed} /root/probe-kept && printf x >>{changed}")
    try:
        assert host.run("systemctl start streamkeep-packages").rc != 0
        assert changed in host.check_output("cat /var/lib/streamkeep/integrity/packages")
    finally:
        host.check_output(f"mv /root/probe-kept {changed}")
    assert host.run("systemctl start streamkeep-packages").rc == 0
    assert changed not in host.check_output("cat /var/lib/streamkeep/integrity/packages")
