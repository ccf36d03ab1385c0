"""`sampan network inspect --anatomy`: a network as the kernel has it, as a tree. Lean."""

from __future__ import annotations

from sampan.cli.outcome import Failed, UsageError
from sampan.cli.pretty import pretty_json
from sampan.cli.table import human_size
from sampan.cli.tree import Branch, tree_lines, wants_colour
from sampan.client.http import quote
from sampan.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.fastjson import JsonValue

    Part = dict[str, JsonValue]

_FORMS = ("tree", "json", "svg")


def show(context: Context, flags: Flags, names: list[str]) -> int:
    """Print what networks are made of."""
    form = flags.text("format") or "tree"
    if form not in _FORMS:
        raise UsageError(f"--format: {form!r} is none of {', '.join(_FORMS)}")
    if form == "svg" and len(names) > 1:
        raise UsageError("--format svg is a picture of one network", hint="name one")
    for name in names:
        try:
            document = context.session().call("GET", f"/sampan/v1/networks/{quote(name)}/anatomy")
        except NotFound as exc:
            if "page not found" not in str(exc):
                raise
            raise Failed("this daemon is not sampand: it cannot explain") from exc
        print(_render(part(document), form))
    return 0


def _render(found: Part, form: str) -> str:
    if form == "json":
        return pretty_json(found)
    if form == "svg":
        from sampan.cli.network_svg import picture

        return picture(found)
    return "\n".join(tree_lines(network_tree(found), colour=wants_colour(1)))


def network_tree(found: Part) -> Branch:
    """Return the tree of a network."""
    title = f"network {found.get('Name')} ({str(found.get('Id'))[:12]})"
    children = [Branch("host", str(found.get("Namespace")), list(_host(found)), heading=True)]
    port = part(found.get("Port"))
    if port:
        text = f"the way to {port.get('Published')} of {port.get('Container')}"
        children.append(Branch(text, "what a packet from outside meets", list(_way(port)), heading=True))
    traffic = f"received {size(found, 'Received')}, sent {size(found, 'Sent')}"
    return Branch(title, f"driver {found.get('Driver')}; containers {traffic}", children, heading=True)


def _host(found: Part) -> Iterator[Branch]:
    bridge = part(found.get("Bridge"))
    members = [part(one) for one in listed(found.get("Containers"))]
    pairs = [_member(member) for member in members]
    more = found.get("NotShown")
    if isinstance(more, int) and more:
        pairs.append(Branch(f"and {more} more"))
    if not bridge:
        yield from pairs or [Branch("nothing of it is on the host")]
        return
    below = [Branch(f"route {text}") for text in listed(bridge.get("Routes"))]
    yield Branch(f"{interface_text(bridge)}", traffic(bridge), below + pairs)


def _member(member: Part) -> Branch:
    inside, outside = part(member.get("Inside")), part(member.get("Outside"))
    pair = f"{outside.get('Name')} ═══ " if outside else ""
    if outside and not outside.get("Up"):
        pair = f"{outside.get('Name')} (down) ═══ "
    text = f"{pair}{interface_text(inside) if inside else 'no interface'}"
    note = f"{member.get('Name')}, process {member.get('Pid')}, {member.get('Namespace')}"
    below = [Branch(f"route {one}") for one in listed(inside.get("Routes"))]
    below += [Branch(traffic(inside))] if inside else []
    return Branch(text, note, below)


def _way(port: Part) -> Iterator[Branch]:
    for step in listed(port.get("Steps")):
        one = part(step)
        missing = "" if one.get("Found") else "  MISSING"
        yield Branch(f"{one.get('Hook')}: {one.get('Text')}{missing}", str(one.get("Place")))


def interface_text(one: Part) -> str:
    """Return an interface in a line."""
    words = [str(one.get("Name")), "up" if one.get("Up") else "DOWN", *map(str, listed(one.get("Addresses")))]
    return " ".join([*words, f"mtu {one.get('MTU')}", str(one.get("MacAddress"))])


def traffic(one: Part) -> str:
    """Return what an interface has carried."""
    return f"received {size(one, 'Received')}, sent {size(one, 'Sent')}"


def size(one: Part, key: str) -> str:
    """Return a number of bytes for a reader."""
    value = one.get(key)
    return human_size(value if isinstance(value, int) else 0)


def part(value: JsonValue) -> Part:
    """Return an object, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def listed(value: JsonValue) -> list[JsonValue]:
    """Return a list, an empty one for anything else."""
    return value if isinstance(value, list) else []
