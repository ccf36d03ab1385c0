"""Go templates for `--format`: a parsed template and data to text. Lean (decision 0002).

Data are JSON values; a value in a mapping may also be a function, which a template calls with the operands
behind it (`{{.Label "a"}}`). A field that is not there is an error that names it, except where the API
leaves fields out (`OPTIONAL`) or a mapping has free keys (`FREE`): those give no value.
"""

from __future__ import annotations

from sampan.cli.template_functions import FUNCTIONS, go_text, is_true
from sampan.cli.template_parse import (
    Action,
    Branch,
    Call,
    Inner,
    Leave,
    Literal,
    Loop,
    Path,
    Pipe,
    TemplateError,
    Text,
    fault,
    parse_template,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.template_functions import Value
    from sampan.cli.template_parse import Node, Operand

# Fields that the Engine API leaves out when they are empty (API 1.51, "omitempty").
OPTIONAL = frozenset(
    "Health Healthcheck ExposedPorts Volumes NetworkDisabled MacAddress OnBuild StopSignal StopTimeout Shell "
    "SizeRw SizeRootFs ExecIDs ArgsEscaped Name Driver ImageManifestDescriptor Mounts Annotations StorageOpt "
    "Tmpfs Sysctls Runtime Init Binds Links GroupAdd Dns MaskedPaths ReadonlyPaths Author Comment Variant "
    "OsVersion Descriptor Manifests Created Entrypoint Cmd Env Labels User WorkingDir Domainname Aliases "
    "DriverOpts IPAMConfig DNSNames BindOptions VolumeOptions TmpfsOptions ImageOptions PidsLimit "
    "OomKillDisable MemorySwappiness KernelMemoryTCP Warnings Interval Timeout Retries StartPeriod "
    "StartInterval Test UsageData Status Options Hint".split()
)
# Mappings whose keys are the user's: a missing key is no mistake of the template.
FREE = frozenset(
    "Labels Annotations Networks Ports Volumes ExposedPorts PortBindings Sysctls Tmpfs StorageOpt Options "
    "DriverOpts Attributes Config Data Details Runtimes".split()
)


class _Left(Exception):
    """`break` or `continue` was reached."""


class Template:
    """A parsed template, to be used for any number of rows."""

    def __init__(self, text: str) -> None:
        """Parse text.

        Raises:
            TemplateError: the syntax is wrong.
        """
        self._nodes = parse_template(text)

    def render(self, data: Value) -> str:
        """Return the template's text for data.

        Raises:
            TemplateError: a field or function is unknown, or a value has the wrong type; the place is named.
        """
        out: list[str] = []
        _Run(data, out).nodes(self._nodes, data)
        return "".join(out)


class _Run:
    """One execution: the variables, innermost scope last, and the output."""

    def __init__(self, data: Value, out: list[str]) -> None:
        self._out = out
        self._scopes: list[dict[str, Value]] = [{"$": data}]

    def nodes(self, nodes: tuple[Node, ...], dot: Value) -> None:
        for node in nodes:
            if isinstance(node, Text):
                self._out.append(node.text)
            elif isinstance(node, Action):
                value = self._pipe(node.pipe, dot)
                if not node.pipe.variables:
                    self._out.append("<no value>" if value is None else go_text(value))
            elif isinstance(node, Branch):
                self._branch(node, dot)
            elif isinstance(node, Loop):
                self._loop(node, dot)
            elif isinstance(node, Leave):
                raise _Left(node.word)

    def _branch(self, node: Branch, dot: Value) -> None:
        self._scopes.append({})
        value = self._pipe(node.pipe, dot)
        if is_true(value):
            self.nodes(node.body, value if node.moves_dot else dot)
        else:
            self.nodes(node.otherwise, dot)
        self._scopes.pop()

    def _loop(self, node: Loop, dot: Value) -> None:
        names = node.pipe.variables
        plain = Pipe(variables=(), declares=False, commands=node.pipe.commands, at=node.pipe.at)
        value = self._pipe(plain, dot)
        items = _items(value, node.pipe.at)
        if not items:
            self.nodes(node.otherwise, dot)
        for key, item in items:
            scope: dict[str, Value] = {}
            if len(names) == 1:
                scope[names[0]] = item
            elif names:
                scope[names[0]], scope[names[1]] = key, item
            self._scopes.append(scope)
            depth = len(self._scopes)
            try:
                self.nodes(node.body, item)
            except _Left as left:
                if left.args[0] == "break":
                    return
            finally:
                del self._scopes[depth - 1 :]

    def _pipe(self, pipe: Pipe, dot: Value) -> Value:
        value: Value = None
        for at, command in enumerate(pipe.commands):
            value = self._command(command, dot, [value] if at else [])
        if pipe.variables:
            self._assign(pipe, value)
        return value

    def _assign(self, pipe: Pipe, value: Value) -> None:
        name = pipe.variables[0]
        if pipe.declares:
            self._scopes[-1][name] = value
            return
        for scope in reversed(self._scopes):
            if name in scope:
                scope[name] = value
                return
        raise fault(pipe.at, f"undefined variable {name}")

    def _command(self, command: tuple[Operand, ...], dot: Value, piped: list[Value]) -> Value:
        first = command[0]
        if isinstance(first, Call):
            return self._call(first, command[1:], dot, piped)
        value = self._operand(first, dot, call=len(command) == 1 and not piped)
        arguments = [self._operand(operand, dot) for operand in command[1:]] + piped
        if callable(value):
            return _apply(value, arguments, first)
        if arguments:
            raise fault(getattr(first, "at", 0), f"{_shown(first)} is not a function, yet has arguments")
        return value

    def _call(self, call: Call, operands: tuple[Operand, ...], dot: Value, piped: list[Value]) -> Value:
        if call.name in ("and", "or"):
            return self._short_circuit(call, operands, dot, piped)
        function = FUNCTIONS.get(call.name)
        if function is None:
            raise fault(call.at, f"function {call.name!r} is not defined")
        return _apply(function, [self._operand(operand, dot) for operand in operands] + piped, call)

    def _short_circuit(
        self, call: Call, operands: tuple[Operand, ...], dot: Value, piped: list[Value]
    ) -> Value:
        if not operands and not piped:
            raise fault(call.at, f"{call.name} needs an argument")
        value: Value = None
        for operand in operands:
            value = self._operand(operand, dot)
            if is_true(value) == (call.name == "or"):
                return value
        return piped[0] if piped else value

    def _operand(self, operand: Operand, dot: Value, *, call: bool = True) -> Value:
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, Call):
            return self._call(operand, (), dot, [])
        if isinstance(operand, Inner):
            value = self._pipe(operand.pipe, dot)
        elif operand.name:
            value = self._variable(operand)
        else:
            value = dot
        shown, free = operand.name if isinstance(operand, Path) else "(…)", False
        for name in operand.fields:
            value = _field(value, name, shown, operand.at, free=free)
            shown, free = f"{shown}.{name}", name in FREE
        return _apply(value, [], operand) if call and callable(value) else value

    def _variable(self, path: Path) -> Value:
        for scope in reversed(self._scopes):
            if path.name in scope:
                return scope[path.name]
        raise fault(path.at, f"undefined variable {path.name}")


def _field(value: Value, name: str, shown: str, at: int, *, free: bool) -> Value:
    if value is None:
        raise fault(at, f"{shown or '.'} has no value, so it has no field {name}")
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else go_text(value)[:40]
        raise fault(at, f"{shown or '.'} is {kind}: it has no field {name}")
    if name in value:
        found: Value = value[name]
        return found
    if free or name in OPTIONAL:
        return None
    from sampan.cli.suggest import nearest

    near = nearest(name, value)
    known = f"did you mean .{near}?" if near else "it has: " + " ".join(sorted(value))
    raise fault(at, f"{shown}.{name}: no such field; {known}")


def _items(value: Value, at: int) -> list[tuple[Value, Value]]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [(key, value[key]) for key in sorted(value)]
    if isinstance(value, list):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return [(number, number) for number in range(value)]
    raise fault(at, f"range cannot iterate over {go_text(value)[:40]!r}")


def _apply(function: Value, arguments: list[Value], operand: Operand) -> Value:
    assert callable(function)
    try:
        result: Value = function(*arguments)
        return result
    except TemplateError as exc:
        raise fault(getattr(operand, "at", 0), f"{_shown(operand)}: {exc}") from exc
    except TypeError as exc:
        raise fault(
            getattr(operand, "at", 0), f"{_shown(operand)}: wrong number or kind of arguments"
        ) from exc


def _shown(operand: Operand) -> str:
    if isinstance(operand, Call):
        return operand.name
    if isinstance(operand, Path):
        return ".".join((operand.name, *operand.fields)) or "."
    return "this value"
