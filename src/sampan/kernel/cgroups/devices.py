"""Device rules: their meaning, and the exceptions of the v1 devices controller. Lean (decision 0002).

Rules are read in order and the last one that matches decides, for each access (read, write, mknod) alone;
what no rule matches is denied. The v1 kernel keeps one default and a set of exceptions to it, and drops in
silence what it cannot say so (a denied node within an allowed range): `fold` finds the exceptions or
refuses. v2 evaluates the rules themselves (`sampan.kernel.bpf`).
"""

from __future__ import annotations

from sampan.errors import InvalidArgument, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sampan.spec.runtime import LinuxDeviceCgroup

    Node = tuple[str, int, int]  # "b" or "c", major, minor; ANY for every number
    # What is kept for each node: the accesses, as bits of BITS, that differ from the default.
    Exceptions = dict[Node, int]

ANY = -1
MAJOR_LIMIT = 2**32 - 1
# include/uapi/linux/bpf.h, BPF_DEVCG_ACC_*: the same order as the v1 file shows them is "rwm".
BITS = {"m": 1, "r": 2, "w": 4}
ALL_BITS = 7


class Rule:
    """A checked rule: type "a", "b" or "c", numbers or ANY, accesses as bits."""

    __slots__ = ("access", "allow", "major", "minor", "type")

    def __init__(self, *, allow: bool, type: str, major: int, minor: int, access: int) -> None:
        self.allow = allow
        self.type = type
        self.major = major
        self.minor = minor
        self.access = access

    @property
    def is_everything(self) -> bool:
        """Tell whether the rule matches every device and access, and so hides the rules before it."""
        return (self.type, self.major, self.minor, self.access) == ("a", ANY, ANY, ALL_BITS)


def parse_rules(rules: Iterable[LinuxDeviceCgroup]) -> list[Rule]:
    """Check rules of the OCI document; those hidden behind a later rule for everything are left out.

    Raises:
        InvalidArgument: a type, number or access is wrong.
    """
    parsed: list[Rule] = []
    for number, rule in enumerate(rules):
        checked = _parse(f"linux.resources.devices[{number}]", rule)
        if checked.is_everything:
            parsed.clear()
        parsed.append(checked)
    return parsed


def _parse(field: str, rule: LinuxDeviceCgroup) -> Rule:
    if rule.type not in ("a", "b", "c"):
        raise InvalidArgument(f"{field}.type: {rule.type!r} is not a, b or c")
    for name, value in (("major", rule.major), ("minor", rule.minor)):
        if not ANY <= value <= MAJOR_LIMIT:
            raise InvalidArgument(f"{field}.{name}: {value} is not a device number")
    access = 0
    for letter in rule.access:
        if letter not in BITS:
            raise InvalidArgument(f"{field}.access: {rule.access!r} is not made of r, w and m")
        access |= BITS[letter]
    if access == 0:
        raise InvalidArgument(f"{field}.access: empty; it is made of r, w and m")
    return Rule(allow=rule.allow, type=rule.type, major=rule.major, minor=rule.minor, access=access)


def fold(rules: Sequence[Rule]) -> tuple[bool, Exceptions]:
    """Return the v1 form of rules: whether the default is to allow, and the exceptions to it.

    Raises:
        Unsupported: the v1 kernel cannot say a rule, as it would take a part out of a wider exception.
    """
    default = False
    exceptions: Exceptions = {}
    for rule in rules:
        if rule.is_everything:
            default = rule.allow
            exceptions = {}
            continue
        for kind in ("b", "c") if rule.type == "a" else (rule.type,):
            node = (kind, rule.major, rule.minor)
            if rule.allow == default:
                _take_out(exceptions, node, rule)
            else:
                exceptions[node] = exceptions.get(node, 0) | rule.access
    return default, exceptions


def _take_out(exceptions: Exceptions, node: Node, rule: Rule) -> None:
    for other, access in list(exceptions.items()):
        if _covers(node, other):
            if access & ~rule.access:
                exceptions[other] = access & ~rule.access
            else:
                del exceptions[other]
        elif access & rule.access and _overlap(node, other):
            verb = "allow" if rule.allow else "deny"
            raise Unsupported(
                f"linux.resources.devices: cgroup v1 cannot {verb} {format_node(node)} "
                f"within {format_node(other)}",
                hint="put the narrower rule first, or list the devices one by one",
            )


def _covers(wide: Node, narrow: Node) -> bool:
    return wide[0] == narrow[0] and wide[1] in (ANY, narrow[1]) and wide[2] in (ANY, narrow[2])


def _overlap(one: Node, other: Node) -> bool:
    return one[0] == other[0] and all(
        ANY in pair or pair[0] == pair[1] for pair in zip(one[1:], other[1:], strict=True)
    )


def format_node(node: Node) -> str:
    """Return a node as the v1 files write it: `c 1:3`, `b 8:*`."""
    major, minor = ("*" if number == ANY else number for number in node[1:])
    return f"{node[0]} {major}:{minor}"


def format_access(access: int) -> str:
    """Return access bits as letters, in the kernel's order."""
    return "".join(letter for letter in "rwm" if access & BITS[letter])


def v1_writes(current: str, rules: Sequence[Rule]) -> list[tuple[str, list[str]]]:
    """Return (file, lines) pairs that turn devices.list, as it reads now, into rules.

    With the same default the exceptions are changed one by one, what is new first, so that a running
    container never misses a device that it has and keeps.
    """
    default, wanted = fold(rules)
    now_default, now = _parse_list(current)
    grant, revoke = ("devices.deny", "devices.allow") if default else ("devices.allow", "devices.deny")
    writes: list[tuple[str, list[str]]] = []
    if now_default != default:
        writes.append((revoke, ["a"]))
        now = {}
    writes.append((grant, _beyond(wanted, now)))
    writes.append((revoke, _beyond(now, wanted)))
    return [(file, lines) for file, lines in writes if lines]


def _beyond(these: Exceptions, others: Exceptions) -> list[str]:
    """Return what these have and others have not, as lines."""
    rest = ((node, access & ~others.get(node, 0)) for node, access in these.items())
    return [f"{format_node(node)} {format_access(access)}" for node, access in rest if access]


def _parse_list(text: str) -> tuple[bool, Exceptions]:
    """Parse devices.list; with the default "allow" it shows one line and hides the exceptions to it.

    Source: kernel security/device_cgroup.c, devcgroup_seq_show.
    """
    exceptions: Exceptions = {}
    for line in text.splitlines():
        kind, numbers, letters = line.split(" ")
        if kind == "a":
            return True, {}
        major, minor = (ANY if part == "*" else int(part) for part in numbers.split(":"))
        node = (kind, major, minor)
        exceptions[node] = exceptions.get(node, 0) | sum(BITS[letter] for letter in letters)
    return False, exceptions
