"""The picture of `sampan network inspect --anatomy --format svg`. Lean."""

from __future__ import annotations

from sampan.cli.network_anatomy import listed, part, size, traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.network_anatomy import Part

_WIDTH, _MARGIN, _LINE = 960, 20, 18
_HOST_WIDTH, _BOX_LEFT = 400, 540
_STYLE = (
    "text{font:13px monospace;fill:#222}.b{fill:#fff;stroke:#456;stroke-width:1.5}"
    ".h{fill:#eef3f8;stroke:#456;stroke-width:1.5}.t{font-weight:bold}.n{fill:#567}.w{stroke:#456;stroke-width:2}"
    ".m{fill:#b00}"
)


def picture(found: Part) -> str:
    """Return a network as an SVG document: the host on the left, containers on the right, the way below."""
    members = [part(one) for one in listed(found.get("Containers"))]
    blocks = [_member_lines(member) for member in members]
    heights = [_LINE * (len(block) + 1) for block in blocks]
    bridge = _bridge_lines(found)
    body_height = max(sum(heights) + 12 * len(heights), _LINE * (len(bridge) + 2), 80)
    top = _MARGIN + 2 * _LINE
    parts = [
        _text(_MARGIN, _MARGIN + _LINE, f"network {found.get('Name')}, driver {found.get('Driver')}", "t")
    ]
    parts.append(_box(_MARGIN, top, _HOST_WIDTH, body_height, "h"))
    for place, line in enumerate(bridge):
        parts.append(_text(_MARGIN + 10, top + _LINE * (place + 1), line, "t" if place == 0 else "n"))
    at = top
    for member, block, height in zip(members, blocks, heights, strict=True):
        parts.append(_box(_BOX_LEFT, at, _WIDTH - _BOX_LEFT - _MARGIN, height, "b"))
        for place, line in enumerate(block):
            parts.append(_text(_BOX_LEFT + 10, at + _LINE * (place + 1), line, "t" if place == 0 else "n"))
        middle = at + height // 2
        if member.get("Outside") is not None:
            left = _MARGIN + _HOST_WIDTH
            parts.append(f'<line class="w" x1="{left}" y1="{middle}" x2="{_BOX_LEFT}" y2="{middle}"/>')
            parts.append(_text(left + 6, middle - 5, str(part(member.get("Outside")).get("Name")), "n"))
        at += height + 12
    way, bottom = _way(found, top + body_height + 2 * _LINE)
    height = bottom + _MARGIN
    size_text = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size_text}>'
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, *way, "</svg>"])


def _bridge_lines(found: Part) -> list[str]:
    bridge = part(found.get("Bridge"))
    lines = [f"host, {found.get('Namespace')}"]
    if bridge:
        state = "up" if bridge.get("Up") else "DOWN"
        lines += [
            f"bridge {bridge.get('Name')}, {state}, mtu {bridge.get('MTU')}",
            str(bridge.get("MacAddress")),
        ]
        lines += map(str, listed(bridge.get("Addresses")))
        lines += [f"route {one}" for one in listed(bridge.get("Routes"))]
    lines.append(f"containers received {size(found, 'Received')}, sent {size(found, 'Sent')}")
    return lines


def _member_lines(member: Part) -> list[str]:
    inside = part(member.get("Inside"))
    lines = [f"{member.get('Name')}, process {member.get('Pid')}", str(member.get("Namespace"))]
    if inside:
        addresses = " ".join(map(str, listed(inside.get("Addresses"))))
        lines += [f"{inside.get('Name')} {addresses}", str(inside.get("MacAddress"))]
        lines += [f"route {one}" for one in listed(inside.get("Routes"))]
        lines.append(traffic(inside))
    return lines


def _way(found: Part, top: int) -> tuple[list[str], int]:
    port = part(found.get("Port"))
    if not port:
        return [], top
    lines = [_text(_MARGIN, top, f"the way to {port.get('Published')} of {port.get('Container')}", "t")]
    at = top + _LINE
    for step in listed(port.get("Steps")):
        one = part(step)
        kind = "n" if one.get("Found") else "m"
        lines.append(_text(_MARGIN + 10, at, f"▼ {one.get('Hook')}", "t"))
        lines.append(_text(_MARGIN + 190, at, f"{one.get('Text')}   ({one.get('Place')})", kind))
        at += _LINE
    return lines, at


def _box(left: int, top: int, width: int, height: int, kind: str) -> str:
    return f'<rect class="{kind}" x="{left}" y="{top}" width="{width}" height="{height}" rx="6"/>'


def _text(left: int, top: int, text: str, kind: str) -> str:
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<text class="{kind}" x="{left}" y="{top}">{safe}</text>'
