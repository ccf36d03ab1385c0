"""A build on a terminal: the lines that a graph comes to, at any width, and how frames are drawn."""

from __future__ import annotations

import io
from base64 import b64encode

import pytest

from sampan.cli.build_graph import Graph, plain_line
from sampan.cli.build_live import Painter, Screen

STEPS = [
    ("a1", "[deps 1/2] FROM debian", []),
    ("a2", "[deps 2/2] RUN make", ["a1"]),
    ("b1", "[final 1/2] FROM scratch", []),
    ("b2", "[final 2/2] COPY --from=deps /app /", ["b1", "a2"]),
]


def vertex(digest: str, **fields: object) -> dict[str, object]:
    name, inputs = next((name, needs) for one, name, needs in STEPS if one == digest)
    return {"digest": digest, "name": name, "inputs": inputs, **fields}


def told(graph: Graph, now: float, **entries: list[dict[str, object]]) -> list[str]:
    return [step.label for step in graph.take(dict(entries), now)]  # type: ignore[arg-type]  # JSON in tests


@pytest.fixture
def graph() -> Graph:
    """deps 2/2 runs since second 1 and has said something; final 2/2 waits for it since second 1."""
    made = Graph()
    told(made, 0, vertexes=[vertex(one) for one, _, _ in STEPS])
    told(made, 0, vertexes=[vertex("a1", started="t"), vertex("b1", started="t")])
    assert told(made, 1, vertexes=[vertex("a1", started="t", completed="t", cached=True)]) == ["deps 1/2"]
    told(made, 1, vertexes=[vertex("b1", started="t", completed="t")])
    told(made, 1, vertexes=[vertex("a2", started="t"), vertex("b2", started="t")])
    told(made, 2, logs=[{"vertex": "a2", "data": b64encode(b"cc a.c\n10%\r20%").decode()}])
    return made


def test_what_runs_and_what_waits(graph: Graph) -> None:
    assert Painter(graph).live(4, 0, 24, 60) == [
        " 4.0s  2 of 4 steps, 1 cached",
        " ▸ deps 2/2  RUN make                                   3.0s",
        "   │ cc a.c",
        "   │ 20%",
        " · final 2/2 COPY --from=deps /app /      waits for deps 2/2",
    ]


def test_the_time_of_a_step_is_without_its_waiting(graph: Graph) -> None:
    told(graph, 5, vertexes=[vertex("a2", started="t", completed="t")])
    told(graph, 6, vertexes=[vertex("b2", started="t", completed="t")])
    step = graph.steps["b2"]
    assert graph.seconds(step, 9) == 1
    assert Painter(graph).ended(step, 60) == [" ✔ final 2/2 COPY --from=deps /app /                    1.0s"]
    assert graph.counts() == (4, 4, 1)


def test_a_step_that_fails_shows_what_it_said(graph: Graph) -> None:
    told(graph, 3, vertexes=[vertex("a2", started="t", completed="t", error="exit 1")])
    assert Painter(graph).ended(graph.steps["a2"], 60)[1:] == ["   │ cc a.c", "   │ 20%"]
    assert "stopped" in Painter(graph).ended(graph.steps["b2"], 60, stopped=True)[0]


@pytest.mark.parametrize("width", [11, 20, 39, 79, 300])
@pytest.mark.parametrize("rows", [4, 5, 8, 50])
def test_no_line_is_wider_and_no_frame_higher_than_the_window(graph: Graph, width: int, rows: int) -> None:
    graph.steps["a2"].text = "RUN echo " + "長い行" * 40
    graph.steps["a2"].write("\n" + "x" * 400 + "\n")
    painter = Painter(graph)
    lines = painter.live(4, 0, rows, width)
    assert len(lines) < rows
    for line in [*lines, *painter.ended(graph.steps["a2"], width)]:
        assert len(line) + line.count("長") + line.count("い") + line.count("行") <= width, line


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("\x1b[31mred\x1b[m", "red", id="colours"),
        pytest.param("\x1b[2J\x1b[Hhome", "home", id="moves of the cursor"),
        pytest.param("\x1b]0;title\x07after", "after", id="a title"),
        pytest.param("10%\r99%\r", "99%", id="written over"),
        pytest.param("a\tb", "a       b", id="a tabulator"),
        pytest.param("a\x9b2Jb\x07", "a2Jb", id="controls of eight bits"),
    ],
)
def test_output_does_nothing_to_the_terminal(text: str, want: str) -> None:
    assert plain_line(text) == want


BEGIN = "\x1b[?2026h\x1b[?25l\x1b[?7l"  # shown at once, without a cursor, no wrapping
END = "\x1b[J\x1b[?7h\x1b[?2026l"


class Window:
    """A screen's size and what was written since it was last asked."""

    def __init__(self, *, reflows: bool = True) -> None:
        self.size = (24, 80)
        self.out = io.StringIO()
        self.screen = Screen(self.out, lambda: self.size, reflows=reflows)

    def draw(self, stay: list[str], live: list[str]) -> str:
        self.screen.draw(stay, live)
        written = self.out.getvalue()
        self.out.seek(0)
        self.out.truncate()
        return written


def test_a_frame_writes_only_what_is_different() -> None:
    window = Window()
    assert window.draw([], ["one", "two"]) == f"{BEGIN}\r\x1b[2Kone\x1b[K\n\x1b[2Ktwo\x1b[K\n{END}"
    assert window.draw([], ["one", "two"]) == ""
    assert window.draw([], ["one", "new"]) == f"{BEGIN}\x1b[2A\r\nnew\x1b[K\n{END}"
    assert window.draw(["stays"], []).endswith(f"\x1b[2A\rstays\x1b[K\n{END}\x1b[?25h")


@pytest.mark.parametrize(("reflows", "up"), [(True, 6), (False, 2)], ids=["most terminals", "xterm"])
def test_a_window_that_became_narrower_has_wrapped_what_is_there(reflows: bool, up: int) -> None:
    window = Window(reflows=reflows)
    window.draw([], ["x" * 79, "\x1b[2m" + "y" * 30 + "\x1b[m"])
    window.size = (24, 25)
    assert f"\x1b[{up}A" in window.draw([], ["x"])
