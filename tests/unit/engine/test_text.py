"""Small parsers and writers: signals, names, keys, times, hosts, resolv.conf, filter patterns, ps tables."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.engine import names
from sampan.engine.execs.detach_keys import parse_detach_keys
from sampan.engine.networks.hostfiles import (
    change_hosts,
    is_sealed,
    make_hosts,
    make_resolv_conf,
    relink_hosts,
    seal,
)
from sampan.engine.observing.top import parse_ps
from sampan.engine.patterns import compile_filter
from sampan.engine.times import format_time, parse_until_ns
from sampan.errors import InvalidArgument, SampanError
from sampan.spec.signals import parse_signal
from sampan.spec.times import parse_time_ns


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9),
        ("KILL", 9),
        ("SIGTERM", 15),
        ("sigusr1", 10),
        ("RTMIN", 34),
        ("RTMIN+3", 37),
        ("RTMAX-1", 63),
    ],
)
def test_signal(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "65", "-9", "NOSUCH", "RTMIN+99", "RTMAX+1x", "\u0669", "SIG", "999"]
)
def test_wrong_signal(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid signal"):
        parse_signal(text)


@pytest.mark.parametrize("name", ["ab", "a.b-c_d", "1x", "A" * 255])
def test_name(name: str) -> None:
    names.check_name(name)


@pytest.mark.parametrize("name", ["", "a", "-a", "a b", "a/b", "a\n", "\u00e4b", "A" * 256])
def test_wrong_name(name: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape("only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")):
        names.check_name(name)


def test_made_names_are_valid_and_free() -> None:
    taken: set[str] = set()
    for _ in range(300):
        name = names.make_name(lambda candidate: candidate not in taken)
        names.check_name(name)
        taken.add(name)
    assert len(taken) == 300


def test_names_go_on_when_all_plain_ones_are_taken() -> None:
    assert re.fullmatch(r"[a-z]+_[a-z]+\d+", names.make_name(lambda name: name[-1].isdigit()))


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", b"\x10\x11"),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("a", b"a"),
        ("ctrl-@,ctrl-_", b"\0\x1f"),
        ("CTRL-A", b"\1"),
    ],
)
def test_detach_keys(text: str, want: bytes) -> None:
    assert parse_detach_keys(text) == want


@pytest.mark.parametrize("text", ["ctrl-", "ab", "a,", "ctrl-1", "\u00e4", ",".join("a" * 17)])
def test_wrong_detach_keys(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid detach keys"):
        parse_detach_keys(text)


@given(st.integers(min_value=1, max_value=4 * 10**18))
def test_time_is_the_inverse_of_its_text(time_ns: int) -> None:
    assert parse_time_ns(format_time(time_ns)) == time_ns


def test_never() -> None:
    assert format_time(0) == "0001-01-01T00:00:00Z"


@pytest.mark.parametrize("text", ["", "now", "2026-01-01", "2026-01-01T00:00:00.xZ"])
def test_wrong_time(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_time_ns(text)


def test_until() -> None:
    assert parse_until_ns("1700000000") == 1700000000 * 10**9
    assert parse_until_ns("2023-11-14T22:13:20Z") == 1700000000 * 10**9
    back = time.time_ns() - parse_until_ns("1h30m")
    assert abs(back - 5400 * 10**9) < 10**9
    with pytest.raises(InvalidArgument, match='parse value as time or duration: "yesterday"'):
        parse_until_ns("yesterday")


def test_hosts() -> None:
    text = make_hosts(["db:10.0.0.1", "six:2001:db8::1", "br:[::1]"])
    assert text.startswith("127.0.0.1\tlocalhost\n")
    assert text.endswith("10.0.0.1\tdb\n2001:db8::1\tsix\n::1\tbr\n")
    assert make_hosts(["a:1.1.1.1"], base="own") == "own\n1.1.1.1\ta\n"
    assert (
        make_hosts(["a:host-gateway"], base="", gateways=["10.0.0.1", "fd00::1"])
        == "10.0.0.1\ta\nfd00::1\ta\n"
    )
    assert make_hosts(["a:host-gateway"], base="own") == "own\n"


def test_hosts_are_changed_but_for_what_others_wrote() -> None:
    text = "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n10.0.0.9 by-hand"
    changed = change_hosts(text, remove=[("10.0.0.2", "web")], add=[("10.1.0.2", "web")])
    assert changed == "127.0.0.1\tlocalhost\n10.0.0.9 by-hand\n10.1.0.2\tweb\n"
    assert relink_hosts(changed, [("10.1.0.7", "web")]).endswith("by-hand\n10.1.0.7\tweb\n")


def test_seal() -> None:
    sealed = seal("nameserver 127.0.0.11\n")
    assert is_sealed(sealed)
    assert not is_sealed(sealed.replace("11", "12"))
    assert not is_sealed(sealed + "search x\n")
    assert not is_sealed("nameserver 127.0.0.11\n")


HOST_RESOLV = (
    "# made by hand\nnameserver 127.0.0.1\nnameserver 10.0.0.2 # far\nsearch a.test b.test\noptions rotate\n"
)


@pytest.mark.parametrize(
    ("options", "want"),
    [
        pytest.param(
            {}, "nameserver 10.0.0.2\nsearch a.test b.test\noptions rotate\n", id="loopback dropped"
        ),
        pytest.param(
            {"shares_host_network": True},
            "nameserver 127.0.0.1\nnameserver 10.0.0.2\nsearch a.test b.test\noptions rotate\n",
            id="host network keeps it",
        ),
        pytest.param(
            {"dns": ["9.9.9.9"]}, "nameserver 9.9.9.9\nsearch a.test b.test\noptions rotate\n", id="dns"
        ),
        pytest.param({"search": ["."]}, "nameserver 10.0.0.2\noptions rotate\n", id="search dot is none"),
        pytest.param(
            {"options": ["ndots:1"]},
            "nameserver 10.0.0.2\nsearch a.test b.test\noptions ndots:1\n",
            id="options",
        ),
    ],
)
def test_resolv_conf(options: dict[str, object], want: str) -> None:
    arguments = {"dns": [], "search": [], "options": [], "shares_host_network": False} | options
    assert make_resolv_conf(HOST_RESOLV, **arguments) == want  # type: ignore[arg-type]  # table above


@pytest.mark.parametrize("text", ["web", "^/?web$", "a.*b", "(a|b)c", "[0-9]+"])
def test_patterns(text: str) -> None:
    assert compile_filter(text, key="name").pattern == text


@pytest.mark.parametrize("text", ["(a+)+$", "(a|aa)*b", "(", "a" * 300, "a*b*c*d*e*", "(x+x+)+y", "(a){5}"])
def test_patterns_that_could_run_for_ever(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid filter 'name="):
        compile_filter(text, key="name")


def test_ps_table() -> None:
    output = "UID  PID PPID CMD\nroot   1    0 init  with  spaces\nroot  22    1 sh\nroot 333   22 x\nodd\n"
    found = parse_ps(output, {1, 333})
    assert found.Titles == ["UID", "PID", "PPID", "CMD"]
    assert found.Processes == [["root", "1", "0", "init  with  spaces"], ["root", "333", "22", "x"]]
    with pytest.raises(SampanError, match="Couldn't find PID field in ps output"):
        parse_ps("USER CMD\nroot x\n", {1})
