"""What users name as servers: endpoints, ranges of ports, names. Pure."""

from __future__ import annotations

import pytest
from genserver.client import EndpointError, OptionError
from genserver.client.targets import MAX_RANGE, endpoints_of, parse_targets


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("tcp://node:5555", [5555]),
        ("tcp://node:5555-5557", [5555, 5556, 5557]),
        ("tcp://node:5555-5575/10", [5555, 5565, 5575]),
        ("tcp://node:5555-5574/10", [5555, 5565]),
        ("tcp://node:7-7", [7]),
    ],
)
def test_a_range_of_ports_stands_for_a_server_at_each(text: str, ports: list[int]) -> None:
    """From the first to the last, with the step that is given."""
    (target,) = parse_targets(text)
    assert [str(e) for e in target.endpoints] == [f"tcp://node:{port}" for port in ports]
    assert not target.moving


def test_a_range_works_with_an_address_of_the_sixth_version() -> None:
    """Its colons are not the port's."""
    (target,) = parse_targets("tcp://[fd00::1]:5555-5556")
    assert [str(e) for e in target.endpoints] == ["tcp://[fd00::1]:5555", "tcp://[fd00::1]:5556"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tcp://node:5557-5555", "FIRST-LAST"),
        ("tcp://node:0-5", "FIRST-LAST"),
        (f"tcp://node:5000-{5000 + MAX_RANGE}", "at most"),
        ("tcp://node:5555-5575/0", "1 or more"),
        ("tcp://node:5555-70000", "at most"),
        ("tcp://node:65530-65540", "up to 65535"),
        ("tcp://:5555-5556", "HOST:PORT"),
        ("dns+ipc:///run/a.sock", r"dns\+tcp://NAME:PORT"),
        ("dns+tcp://producer", "HOST:PORT"),
        ("ipc://", "names a file"),
    ],
)
def test_what_is_no_target_is_named_with_the_reason(text: str, reason: str) -> None:
    """One sentence, with the text as it was given."""
    with pytest.raises(EndpointError, match=reason):
        parse_targets(text)


def test_nothing_and_the_same_thing_twice_are_refused() -> None:
    """Also where the second is inside a range."""
    with pytest.raises(OptionError, match="at least one"):
        parse_targets([])
    with pytest.raises(OptionError, match="given twice: tcp://a:6 "):
        parse_targets(["tcp://a:5-7", "tcp://a:6"])


def test_each_address_behind_a_name_has_a_server_at_each_port() -> None:
    """In the order of the numbers, so that the same hosts have the same indices every time; of two
    families one, since a host may be known by both."""
    (target,) = parse_targets("dns+tcp://producer:5555-5565/10")
    assert target.moving
    found = ["172.18.0.10", "fd00::2", "172.18.0.9", "172.18.0.10"]
    assert [str(endpoint) for endpoint in target.at(found)] == [
        "tcp://172.18.0.9:5555", "tcp://172.18.0.9:5565",
        "tcp://172.18.0.10:5555", "tcp://172.18.0.10:5565",
    ]  # fmt: skip
    assert [e.host for e in target.at(["fd00::2", "fd00::1"])] == ["fd00::1"] * 2 + ["fd00::2"] * 2


def test_who_is_behind_two_targets_counts_once() -> None:
    """A list may have fixed endpoints and names; its order stays."""
    targets = parse_targets(["dns+tcp://b:5555", "tcp://10.0.0.9:5555", "dns+tcp://a:5555"])
    found = endpoints_of(targets, [["10.0.0.2", "10.0.0.1"], ["10.0.0.9", "10.0.0.1"]])
    assert [endpoint.host for endpoint in found] == ["10.0.0.1", "10.0.0.2", "10.0.0.9"]
