"""Values that a request may carry: wrong in every way, and never one that could hurt the machine.

No text begins with `/` but below the campaign's own folder, and none holds a number of a process: a bind of
a path that does not exist makes it, a device or a sysctl of the host is real.
"""

# ruff: noqa: E501 -- tables, one case a line
from __future__ import annotations

import random
from typing import Any

WORDS = (
    "", " ", ".", "..", "-", "0", "-1", "true", "null", "busybox", "busybox:latest", "a", "x" * 300, "x" * 5000,
    "name with spaces", "ünïcödé", "\u0000", "\n", "\r\nX: y", "%2f", "%00", "{{.}}", "$(id)", "'\"", "a=b", "=",
    "a:b:c", ":", "::", "sha256:" + "0" * 64, "sha256:zz", "0" * 64, "f" * 12, "@", "a@b", "host", "none",
    "container:nobody", "container:", "json-file", "SIGKILL", "SIGNOTHING", "99999999999999999999", "1e400",
    "0x10", "1.5", "-0", "NaN", "1m", "80/tcp", "99999/tcp", "rprivate", "\ud800", "\uff46\uff55", "\u202e", "a\tb",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 7, 255, 256, 1023, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**63 - 1, 2**63,
    -(2**63), 2**64, 10**30, -(10**30), 0.5, -0.5, 1e308, 1e-300,
)  # fmt: skip


def word(dice: random.Random) -> str:
    """Return a text."""
    if dice.random() < 0.8:
        return dice.choice(WORDS)
    return "".join(
        chr(dice.choice((dice.randrange(128), dice.randrange(0x3000)))) for _ in range(dice.randrange(30))
    ).replace("/", "_")


def scalar(dice: random.Random) -> Any:
    """Return a text, number, truth value or nothing."""
    return dice.choice((word(dice), dice.choice(NUMBERS), True, False, None))


def value(dice: random.Random, depth: int = 3) -> Any:
    """Return any JSON value."""
    kind = dice.randrange(6) if depth else 0
    if kind == 4:
        return [value(dice, depth - 1) for _ in range(dice.randrange(4))]
    if kind == 5:
        return {word(dice): value(dice, depth - 1) for _ in range(dice.randrange(4))}
    return scalar(dice)


def nested(dice: random.Random) -> str:
    """Return JSON that is deep."""
    depth = dice.choice((10, 60, 65, 200, 5000, 100_000))
    opening, closing = dice.choice((("[", "]"), ('{"a":', "}"), ('{"HostConfig":', "}")))
    return opening * depth + "1" + closing * dice.choice((depth, depth - 1, 0))


def broken(dice: random.Random, text: bytes) -> bytes:
    """Return text cut, with bytes changed, doubled or put in."""
    data = bytearray(text or b"{}")
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(5):
            case 0:
                del data[at:]
            case 1:
                data[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 5)))
            case 2:
                data[at:at] = dice.choice(
                    (b"\xff", b"\xef\xbb\xbf", b"\0", b"{", b"}", b"]", b'"', b"\\u", b"1e999")
                )
            case 3:
                data = data * 2
            case _:
                data[at : at + 3] = b""
    return bytes(data[:100_000])


# A value that is of the right kind, and so gets further, for fields whose kind matters.
PLAUSIBLE: dict[str, tuple[Any, ...]] = {
    "Image": ("busybox", "busybox:latest", "nothing", "", "sha256:0", "BUSYBOX", "a/b/c:d"),
    "Cmd": (["sleep", "100"], ["true"], "sleep 1", [], None, [""], ["nothing"], [1], ["sh", "-c", "exit 3"]),
    "Entrypoint": (None, [], [""], ["echo"], "echo", ["nothing"]),
    "Env": (["A=b"], ["A"], ["=x"], [""], ["PATH="], ["A=\u0000"], ["A=b"] * 1000),
    "User": ("", "0", "root", "1000:1000", "nobody", "-1", "4294967296", ":", "a:b:c", "0:"),
    "WorkingDir": ("", "tmp", "..", "a/../../b"),
    "Hostname": ("", "box", "a" * 64, "a" * 65, "a b"),
    "Labels": ({"a": "b"}, {"": ""}, {"a": "x" * 100_000}, None, [["a", "b"]]),
    "StopSignal": ("", "TERM", "SIGRTMIN+3", "0", "65", "x", "-9"),
    "StopTimeout": (None, 0, 1, -1, -2, 10**10),
    "Healthcheck": (None, {"Test": ["NONE"]}, {"Test": ["CMD", "true"], "Interval": 10**9}, {"Test": []}, {"Test": ["X"]}, {"Interval": 5}),
    "Volumes": ({}, {"vol": {}}, None, {"": {}}),
    "ExposedPorts": ({}, {"80/tcp": {}}, {"x": {}}, {"1-70000/udp": {}}),
    "Memory": (0, 4 << 20, 6 << 20, 64 << 20, -1, 1, 2**62),
    "MemorySwap": (0, -1, 1, 64 << 20),
    "MemoryReservation": (0, 1 << 20, 2**62),
    "NanoCpus": (0, 10**9, 10**18, -1, 1),
    "CpuShares": (0, 2, 1024, 2**20, -1),
    "CpuPeriod": (0, 1000, 100_000, 10**7, -1),
    "CpuQuota": (0, 1000, -1, 10**12),
    "CpusetCpus": ("", "0", "0-1", "99", "1-0", "x", "0,,1"),
    "CpusetMems": ("", "0", "7"),
    "PidsLimit": (None, 0, -1, 5, 100, 2**40),
    "BlkioWeight": (0, 10, 1000, 5, 1001),
    "Ulimits": ([], [{"Name": "nofile", "Soft": 10, "Hard": 20}], [{"Name": "x"}], [{"Name": "core", "Soft": 5, "Hard": 1}]),
    "CapAdd": (None, ["NET_ADMIN"], ["ALL"], ["x"], [], "ALL"),
    "CapDrop": (None, ["ALL"], ["CHOWN"], ["y"]),
    "NetworkMode": ("none", "none", "", "default", "bridge", "fuzznet", "container:nobody", "nothing"),
    "IpcMode": ("", "private", "none", "shareable", "container:nobody", "x"),
    "PidMode": ("", "container:nobody", "x"),
    "UTSMode": ("", "x"),
    "CgroupnsMode": ("", "private", "host", "x"),
    "SecurityOpt": ([], ["no-new-privileges"], ["seccomp=unconfined"], ["seccomp={"], ["x"], ["seccomp={}"]),
    "Tmpfs": ({}, {"tmp": ""}, {"": ""}),
    "ShmSize": (0, 1 << 20, -1, 2**62),
    "ReadonlyRootfs": (True, False),
    "Init": (None, True, False),
    "AutoRemove": (True, False),
    "OomScoreAdj": (0, 500, 1001, -1001),
    "Dns": ([], ["8.8.8.8"], ["x"], [""]),
    "ExtraHosts": ([], ["a:1.2.3.4"], ["a"], ["a:host-gateway"], [":"]),
    "GroupAdd": ([], ["5"], ["nobody"], ["-1"]),
    "LogConfig": ({}, {"Type": "none"}, {"Type": "json-file", "Config": {"max-size": "1k"}}, {"Type": "x"}, {"Type": "json-file", "Config": {"max-file": "-1"}}),
    "RestartPolicy": ({}, {"Name": "no"}, {"Name": "on-failure", "MaximumRetryCount": 2}, {"Name": "x"}, {"Name": "always", "MaximumRetryCount": -1}),
    "Runtime": ("", "nothing"),
    "Mounts": (
        [], [{"Type": "tmpfs", "Target": "tmp"}], [{"Type": "x"}], [{"Type": "volume", "Target": ""}],
        [{"Type": "bind", "Source": "relative", "Target": "t"}], [{}],
    ),
    "Binds": ([], ["relative:t"], [":"], ["a:b:c:d"], [""]),
    "Sysctls": ({}, {"x": "1"}, {"kernel.shm_rmid_forced": "1"}, {"kernel.msgmax": "x"}),
    "ConsoleSize": ([0, 0], [24, 80], [1], [-1, 5], [70000, 1]),
    "Tty": (True, False),
    "OpenStdin": (True, False),
    "AttachStdin": (True, False),
    "Privileged": (True, False),
    "Detach": (True, True, False),
    "DetachKeys": ("", "ctrl-a", "ctrl-", "x,y", "ctrl-@,"),
    "Name": ("", "fuzzvol", "a", "x" * 300, "a/b", ".."),
    "Driver": ("", "local", "nothing"),
    "IPAM": (
        None, {}, {"Driver": "x"}, {"Config": [{"Subnet": "10.211.0.0/24"}]}, {"Config": [{"Subnet": "10.211.0.0/24", "Gateway": "1.2.3.4"}]},
        {"Config": [{"Subnet": "10.211.0.0/33"}]}, {"Config": [{"Subnet": "fd00::/64"}]}, {"Config": [{"IPRange": "x"}]}, {"Config": {}},
    ),
    "Options": ({}, {"com.docker.network.driver.mtu": "x"}, {"com.docker.network.bridge.name": "a" * 16}, {"x": "y"}),
    "Internal": (True, False),
    "EnableIPv6": (None, True, False),
    "ConfigFrom": (None, {"Network": "x"}),
    "Container": ("fuzz0", "fuzz1", "nobody", ""),
    "EndpointConfig": (None, {}, {"Aliases": ["a", ""]}, {"IPAMConfig": {"IPv4Address": "10.211.0.7"}}, {"IPAMConfig": {"IPv4Address": "x"}}, {"MacAddress": "zz"}),
    "PortBindings": ({}, {"80/tcp": [{"HostPort": "0"}]}, {"80": None}, {"80/tcp": [{"HostPort": "70000"}]}, {"x/y": [{}]}, {"80/udp": [{"HostIp": "x"}]}),
    "serveraddress": ("localhost:1", "", "http://", "x/y", "192.0.2.9:1"),
    "DriverOpts": ({}, {"type": "tmpfs", "device": "tmpfs"}, {"o": "size=1m"}, {"x": "y"}),
}  # fmt: skip
# Never invented: what they may hold reaches the machine.
HANDS_OFF = frozenset("Devices DeviceRequests DeviceCgroupRules CgroupParent UsernsMode Cgroup".split())
