"""The syntax of Go templates, as far as `--format` needs it: text to a tree. Lean (decision 0002).

Known: text and `{{actions}}` with trimming (`{{-`, `-}}`) and comments, fields, variables, literals, pipes,
parentheses, `if`, `else if`, `else`, `with`, `range` (one or two variables), `break`, `continue`, `end`.
Not known: `define`, `template`, `block`, complex numbers. Source: Go, package text/template.
"""

from __future__ import annotations

from sampan.errors import InvalidArgument
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from sampan.fastjson import JsonValue

    Node: TypeAlias = "Text | Action | Branch | Loop | Leave"
    Operand: TypeAlias = "Path | Literal | Call | Inner"

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_DIGITS = frozenset("0123456789")
_WORD = _LETTERS | _DIGITS
_SPACE = " \t\r\n"
_ESCAPES = {
    "n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
    "\\": "\\", '"': '"', "'": "'",
}  # fmt: skip
_KEYWORDS = frozenset(
    ("if", "else", "end", "range", "with", "break", "continue", "define", "template", "block")
)
_MAX_DEPTH = 100  # of nesting; deeper is an attack on our stack


class TemplateError(InvalidArgument):
    """The template is wrong, or does not fit the data; the message says where."""


@record
class Token:
    """One word of an action. `kind`: word field variable string number symbol; `glued`: nothing before it."""

    kind: str
    text: str
    at: int  # offset in the template
    glued: bool


@record
class Text:
    """Copied to the output."""

    text: str


@record
class Literal:
    """A constant."""

    value: JsonValue


@record
class Path:
    """`.A.B` from the dot, or `$x.A.B` from a variable (`name` then starts with `$`)."""

    name: str
    fields: tuple[str, ...]
    at: int


@record
class Call:
    """A function's name; it takes the operands that follow it in its command."""

    name: str
    at: int


@record
class Inner:
    """`(pipeline).A.B`."""

    pipe: Pipe
    fields: tuple[str, ...]
    at: int


@record
class Pipe:
    """Commands joined by `|`, and the variables that get the result."""

    variables: tuple[str, ...]
    declares: bool  # `:=` rather than `=`
    commands: tuple[tuple[Operand, ...], ...]
    at: int


@record
class Action:
    """`{{pipeline}}`: printed unless it sets a variable."""

    pipe: Pipe


@record
class Branch:
    """`if`, or `with` when `moves_dot`."""

    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    moves_dot: bool


@record
class Loop:
    """`range`."""

    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@record
class Leave:
    """`break` or `continue`."""

    word: str


def parse_template(text: str) -> tuple[Node, ...]:
    """Return the tree of a template.

    Raises:
        TemplateError: the syntax is wrong; the message names the place.
    """
    parser = _Parser(_split(text))
    nodes, closing = parser.parse_list(0)
    if closing is not None:
        raise fault(closing[0].at, f"unexpected {{{{{closing[0].text}}}}}")
    return nodes


def fault(at: int, what: str) -> TemplateError:
    """Return the error for a place in a template, counted from 1 for people."""
    return TemplateError(f"template: at character {at + 1}: {what}")


def _split(text: str) -> list[str | list[Token]]:
    """Split a template into texts and the tokens of its actions, with trimming applied."""
    pieces: list[str | list[Token]] = []
    at, trim = 0, False
    while True:
        start = text.find("{{", at)
        piece = text[at:] if start < 0 else text[at:start]
        if trim:
            piece = piece.lstrip(_SPACE)
        if start < 0:
            pieces.append(piece)
            return pieces
        inside = start + 2
        if text[inside : inside + 1] == "-" and text[inside + 1 : inside + 2] in _SPACE:
            piece, inside = piece.rstrip(_SPACE), inside + 2
        pieces.append(piece)
        tokens, at, trim = _read_action(text, inside, start)
        if tokens is not None:
            pieces.append(tokens)


def _read_action(text: str, at: int, start: int) -> tuple[list[Token] | None, int, bool]:
    """Return the tokens up to `}}`, where the text goes on, and whether space there is trimmed."""
    if text.startswith("/*", at):
        end = text.find("*/", at)
        for close, trim in (("}}", False), (" -}}", True)):
            if end >= 0 and text.startswith(close, end + 2):
                return None, end + 2 + len(close), trim
        raise fault(start, "a comment does not end")
    tokens: list[Token] = []
    while True:
        before = at
        while at < len(text) and text[at] in _SPACE:
            at += 1
        if text.startswith("}}", at):
            return tokens, at + 2, False
        if at > before and text.startswith("-}}", at):
            return tokens, at + 3, True
        if at >= len(text):
            raise fault(start, "{{ without }}")
        token, at = _read_token(text, at, glued=at == before and bool(tokens))
        tokens.append(token)


def _read_token(text: str, at: int, *, glued: bool) -> tuple[Token, int]:
    first = text[at]
    if first == '"' or first == "`" or first == "'":
        value, end = _read_string(text, at)
        return Token(kind="string", text=value, at=at, glued=glued), end
    if first == "." and text[at + 1 : at + 2] in _LETTERS and text[at + 1 : at + 2]:
        end = _word_end(text, at + 1)
        return Token(kind="field", text=text[at + 1 : end], at=at, glued=glued), end
    if first == "$":
        end = _word_end(text, at + 1)
        return Token(kind="variable", text=text[at:end], at=at, glued=glued), end
    if first in _LETTERS:
        end = _word_end(text, at)
        return Token(kind="word", text=text[at:end], at=at, glued=glued), end
    if first in _DIGITS or (first in "+-." and text[at + 1 : at + 2] in _DIGITS and text[at + 1 : at + 2]):
        end = at + 1
        while end < len(text) and (text[end] in _WORD or text[end] == "."):
            end += 1
        return Token(kind="number", text=text[at:end], at=at, glued=glued), end
    symbol = ":=" if text.startswith(":=", at) else first
    if symbol not in (":=", "=", "|", "(", ")", ",", "."):
        raise fault(at, f"unexpected {first!r}")
    return Token(kind="symbol", text=symbol, at=at, glued=glued), at + len(symbol)


def _word_end(text: str, at: int) -> int:
    while at < len(text) and (text[at] in _WORD or text[at].isalnum()):
        at += 1
    return at


def _read_string(text: str, start: int) -> tuple[str, int]:
    quote, at, out = text[start], start + 1, ""
    while at < len(text) and text[at] != quote:
        if text[at] == "\\" and quote != "`":
            escape = text[at + 1 : at + 2]
            if escape not in _ESCAPES:
                raise fault(at, f"unknown escape \\{escape}")
            out, at = out + _ESCAPES[escape], at + 2
        else:
            out, at = out + text[at], at + 1
    if at >= len(text):
        raise fault(start, "a string does not end")
    return out, at + 1


class _Parser:
    """Builds the tree from the pieces of a template, in one pass."""

    def __init__(self, pieces: list[str | list[Token]]) -> None:
        self._pieces = pieces
        self._next = 0
        self._tokens: list[Token] = []
        self._position = 0
        self._in_loop = 0

    def parse_list(self, depth: int) -> tuple[tuple[Node, ...], list[Token] | None]:
        """Return the nodes up to the `else` or `end` that closes them, and that action's tokens."""
        if depth > _MAX_DEPTH:
            raise TemplateError("template: nested too deeply")
        nodes: list[Node] = []
        while self._next < len(self._pieces):
            piece = self._pieces[self._next]
            self._next += 1
            if isinstance(piece, str):
                if piece:
                    nodes.append(Text(text=piece))
            elif not piece:
                raise TemplateError("template: empty action {{}}")
            elif piece[0].kind == "word" and piece[0].text in ("else", "end"):
                return tuple(nodes), piece
            else:
                nodes.append(self._parse_action(piece, depth))
        return tuple(nodes), None

    def _parse_action(self, tokens: list[Token], depth: int) -> Node:
        first = tokens[0]
        if first.kind != "word" or first.text not in _KEYWORDS:
            return Action(pipe=self._whole_pipe(tokens, depth))
        if first.text in ("if", "with", "range"):
            return self._parse_block(first.text, tokens, depth)
        if first.text in ("break", "continue") and len(tokens) == 1 and self._in_loop:
            return Leave(word=first.text)
        raise fault(first.at, f"{first.text} is not supported here")

    def _parse_block(self, word: str, tokens: list[Token], depth: int) -> Node:
        start = tokens[0]
        pipe = self._whole_pipe(tokens[1:], depth, at=start.at)
        self._in_loop += word == "range"
        body, closing = self.parse_list(depth + 1)
        self._in_loop -= word == "range"
        otherwise: tuple[Node, ...] = ()
        if closing is not None and closing[0].text == "else":
            if len(closing) > 1 and closing[1].text in ("if", "with") and word != "range":
                otherwise = (self._parse_block(closing[1].text, closing[1:], depth + 1),)
                closing = [Token(kind="word", text="end", at=closing[0].at, glued=False)]
            elif len(closing) > 1:
                raise fault(closing[1].at, f"unexpected {closing[1].text!r} after else")
            else:
                otherwise, closing = self.parse_list(depth + 1)
        if closing is None or closing[0].text != "end" or len(closing) > 1:
            raise fault(start.at, f"{word} without end")
        if word == "range":
            return Loop(pipe=pipe, body=body, otherwise=otherwise)
        return Branch(pipe=pipe, body=body, otherwise=otherwise, moves_dot=word == "with")

    def _whole_pipe(self, tokens: list[Token], depth: int, at: int = 0) -> Pipe:
        if not tokens:
            raise fault(at, "a value is missing")
        self._tokens, self._position = tokens, 0
        pipe = self._pipe(depth, variables_allowed=True)
        rest = self._peek()
        if rest is not None:
            raise fault(rest.at, f"unexpected {rest.text!r}")
        return pipe

    def _pipe(self, depth: int, *, variables_allowed: bool = False) -> Pipe:
        if depth > _MAX_DEPTH:
            raise TemplateError("template: nested too deeply")
        first = self._peek()
        at = first.at if first is not None else 0
        variables, declares = self._variables() if variables_allowed else ((), False)
        commands = [self._command(depth)]
        while self._accept("|"):
            commands.append(self._command(depth))
        return Pipe(variables=variables, declares=declares, commands=tuple(commands), at=at)

    def _variables(self) -> tuple[tuple[str, ...], bool]:
        """Take `$a :=`, `$a =` or `$a, $b :=`, if that is what comes."""
        names, at = [], self._position
        while at < len(self._tokens) and self._tokens[at].kind == "variable":
            names.append(self._tokens[at].text)
            sign = self._tokens[at + 1].text if at + 1 < len(self._tokens) else ""
            if sign in (":=", "="):
                self._position = at + 2
                return tuple(names), sign == ":="
            if sign != ",":
                break
            at += 2
        return (), False

    def _command(self, depth: int) -> tuple[Operand, ...]:
        operands: list[Operand] = []
        while (token := self._peek()) is not None and token.text not in ("|", ")"):
            operands.append(self._operand(token, depth))
        if not operands:
            where = token.at if token is not None else (self._tokens[-1].at if self._tokens else 0)
            raise fault(where, "a value is missing")
        return tuple(operands)

    def _operand(self, token: Token, depth: int) -> Operand:
        self._position += 1
        if token.kind == "string":
            return Literal(value=token.text)
        if token.kind == "number":
            return Literal(value=_number(token))
        if token.kind == "word":
            constants: dict[str, JsonValue] = {"true": True, "false": False, "nil": None}
            if token.text in constants:
                return Literal(value=constants[token.text])
            return Call(name=token.text, at=token.at)
        if token.kind == "field":
            return Path(name="", fields=(token.text, *self._fields()), at=token.at)
        if token.kind == "variable":
            return Path(name=token.text, fields=self._fields(), at=token.at)
        if token.text == ".":
            return Path(name="", fields=(), at=token.at)
        if token.text == "(":
            pipe = self._pipe(depth + 1)
            if not self._accept(")"):
                raise fault(token.at, "( without )")
            return Inner(pipe=pipe, fields=self._fields(), at=token.at)
        raise fault(token.at, f"unexpected {token.text!r}")

    def _fields(self) -> tuple[str, ...]:
        names = []
        while (token := self._peek()) is not None and token.kind == "field" and token.glued:
            names.append(token.text)
            self._position += 1
        return tuple(names)

    def _peek(self) -> Token | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _accept(self, symbol: str) -> bool:
        token = self._peek()
        if token is None or token.kind != "symbol" or token.text != symbol:
            return False
        self._position += 1
        return True


def _number(token: Token) -> int | float:
    try:
        return int(token.text, 0)
    except ValueError:
        pass
    try:
        return float(token.text)
    except ValueError as exc:
        raise fault(token.at, f"{token.text!r} is not a number") from exc
