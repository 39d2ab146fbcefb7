"""How ufw's own record of its rules is read, and which rules are ours."""

from __future__ import annotations

from typing import Any

import pytest
from ufw_ruleset import Rule, ours, parse, wanted

FILE = """
*filter
### RULES ###

### tuple ### limit tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=73747265616d6b65657020737368
-A ufw-user-input -p tcp --dport 22 -m conntrack --ctstate NEW -m recent --set
### tuple ### allow tcp 1935,1936 0.0.0.0/0 any 198.51.100.7 in comment=73747265616d6b656570207075626c697368657273
### tuple ### allow tcp 8080 0.0.0.0/0 any 0.0.0.0/0 in
### tuple ### allow any 53 203.0.113.1 any 0.0.0.0/0 in_eth0
### tuple ### allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 WWW - in
### END RULES ###
"""
SSH = Rule("limit", "tcp", "22", "0.0.0.0/0", "streamkeep ssh")
PUBLISHERS = Rule("allow", "tcp", "1935,1936", "198.51.100.7/32", "streamkeep publishers")


def rule(name: str, action: str, ports: list[int], sources: list[str]) -> dict[str, Any]:
    return {"name": name, "action": action, "ports": ports, "sources": sources}


def test_rules_are_read_as_ufw_wrote_them() -> None:
    rules = parse(FILE)
    assert len(rules) == 5
    assert ours(rules) == {SSH, PUBLISHERS}
    assert [str(foreign) for foreign in rules[2:]] == [
        "allow tcp 8080 from anywhere",
        "allow any 53 from anywhere (203.0.113.1 any in_eth0)",
        "allow tcp 80 from anywhere (0.0.0.0/0 any WWW - in)",
    ]


def test_what_is_wanted_is_what_ufw_would_have_written() -> None:
    rules = [rule("ssh", "limit", [22], []), rule("publishers", "allow", [1935, 1936], ["198.51.100.7/32"])]
    assert wanted(rules, [4]) == {SSH, PUBLISHERS}
    assert wanted(rules, [4, 6]) == {SSH, PUBLISHERS, SSH._replace(source="::/0")}


def test_a_source_of_a_family_that_the_host_has_not_is_left_out() -> None:
    rules = [rule("ssh", "limit", [22], ["2001:db8::/32"])]
    assert wanted(rules, [4]) == set()
    assert {one.source for one in wanted(rules, [4, 6])} == {"2001:db8::/32"}


@pytest.mark.parametrize("comment", ["", "mine", "streamkeeper's", "not streamkeep ssh"])
def test_a_rule_without_our_comment_is_not_ours(comment: str) -> None:
    assert ours([SSH._replace(comment=comment)]) == set()


def test_a_rule_is_told_and_undone_in_ufws_words() -> None:
    assert str(SSH) == "limit tcp 22 from anywhere # streamkeep ssh"
    assert str(SSH._replace(source="::/0")) == "limit tcp 22 from anywhere (v6) # streamkeep ssh"
    assert " ".join(PUBLISHERS.words()) == "allow proto tcp from 198.51.100.7/32 to any port 1935,1936"
