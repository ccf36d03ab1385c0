"""Values of flags: sizes, durations, limits, key=value files. Lean (decision 0002).

Each parser names the flag and the value when it refuses. Units are those of docker's client: sizes are
binary (`64m` is 64 MiB), durations are Go's (`1h30m`, `1.5s`, `100ms`).
"""

from __future__ import annotations

from sampan.cli.outcome import UsageError
from sampan.lean import getenv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Lookup = Callable[[str], str | None]  # the value of an environment variable, None without it

_SIZES = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATIONS_NS = (  # longer unit names first: "ms" before "m"
    ("ns", 1), ("us", 1_000), ("µs", 1_000), ("ms", 1_000_000),
    ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000),
)  # fmt: skip
_NUMBER = frozenset("0123456789.")


def parse_size(flag: str, text: str) -> int:
    """Return a number of bytes: `1048576`, `512k`, `64m`, `1.5GiB`, `2gb`.

    Raises:
        UsageError: text has another form.
    Source: github.com/docker/go-units, RAMInBytes.
    """
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = text[len(number) :].lower()
    number = number.strip()
    short = unit.removesuffix("ib") if len(unit) == 3 else unit.removesuffix("b") if len(unit) == 2 else unit
    if short not in _SIZES or not _is_number(number):
        raise UsageError(
            f"{flag}: {text!r} is not a size", hint="a number and a unit, such as 512k, 64m or 1.5g"
        )
    return (
        int(float(number) * 1024 ** _SIZES[short]) if "." in number else int(number) * 1024 ** _SIZES[short]
    )


def _is_number(text: str) -> bool:
    return text.count(".") <= 1 and _NUMBER.issuperset(text) and any(digit != "." for digit in text)


def parse_memory_swap(flag: str, text: str) -> int:
    """Return a size, or -1 for no limit."""
    return -1 if text == "-1" else parse_size(flag, text)


def parse_cpus(flag: str, text: str) -> int:
    """Return a number of CPUs as billionths, the API's `NanoCpus`.

    Raises:
        UsageError: text is no decimal number, or finer than a billionth.
    """
    if not _is_number(text):
        raise UsageError(
            f"{flag}: {text!r} is not a number of CPUs", hint="a decimal number such as 0.5 or 2"
        )
    whole, _, part = text.partition(".")
    if len(part.rstrip("0")) > 9:
        raise UsageError(f"{flag}: {text!r} is too precise", hint="at most nine digits after the point")
    return int(whole or "0") * 1_000_000_000 + int(part[:9].ljust(9, "0"))


def parse_duration(flag: str, text: str) -> int:
    """Return nanoseconds for one of Go's durations.

    Raises:
        UsageError: text has another form, or is negative.
    Source: Go, time.ParseDuration.
    """
    total, rest = 0.0, "0s" if text == "0" else text.removeprefix("+")
    is_right = bool(rest)
    while rest and is_right:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit, factor = next((pair for pair in _DURATIONS_NS if rest.startswith(pair[0])), ("", 0))
        is_right = bool(unit) and _is_number(number)
        if is_right:
            total += float(number) * factor
            rest = rest[len(unit) :]
    if not is_right:
        hint = "numbers and units, such as 30s or 1h30m"
        raise UsageError(f"{flag}: {text!r} is not a duration", hint=hint)
    return int(total)


def parse_ulimit(flag: str, text: str) -> dict[str, object]:
    """Return `{"Name", "Soft", "Hard"}` for `name=soft[:hard]`; -1 means no limit.

    Raises:
        UsageError: text has another form, or the soft limit is above the hard one.
    """
    name, equals, limits = text.partition("=")
    soft, colon, hard = limits.partition(":")
    try:
        low = int(soft)
        high = int(hard) if colon else low
    except ValueError:
        equals = ""
        low = high = 0
    if not equals or name not in _ULIMITS:
        raise UsageError(
            f"{flag}: {text!r} is not a limit", hint=f"name=soft[:hard]; names: {' '.join(_ULIMITS)}"
        )
    if high != -1 and (low == -1 or low > high):
        raise UsageError(f"{flag}: {text!r}: the soft limit is above the hard limit")
    return {"Name": name, "Soft": low, "Hard": high}


_ULIMITS = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
    "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip


def parse_pair(flag: str, text: str) -> tuple[str, str]:
    """Split `key=value`.

    Raises:
        UsageError: there is no equals sign, or no key.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{flag}: {text!r} is not key=value")
    return key, value


def name_and_value(flag: str, text: str) -> tuple[str, str]:
    """Split `key=value`; without an equals sign the value is empty, as for labels.

    Raises:
        UsageError: there is no key.
    """
    key, _, value = text.partition("=")
    if not key:
        raise UsageError(f"{flag}: {text!r} is not key=value", code=1)
    return key, value


def read_text(flag: str, path: str) -> str:
    """Return the text of a file that a flag names.

    Raises:
        UsageError: it cannot be read, or is not UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except OSError as exc:
        raise UsageError(f"{flag}: cannot read {path!r}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{flag}: {path!r} is not text in UTF-8") from exc


def read_variables(flag: str, path: str, ours: Lookup | None) -> list[str]:
    """Return the `NAME=value` lines of a file; a bare NAME takes its value from ours, or is left out.

    Without ours a bare NAME stands as it is (labels). Blank lines and comments (`#`) are skipped.

    Raises:
        UsageError: a line has no name, or the file cannot be read.
    """
    found = []
    for number, raw in enumerate(read_text(flag, path).splitlines(), 1):
        line = raw.lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, _ = line.partition("=")
        if not name or name != name.rstrip() or " " in name or "\t" in name:
            raise UsageError(f"{flag}: {path}:{number}: {name!r} is not a name")
        if equals or ours is None:
            found.append(line)
        elif (value := ours(name)) is not None:
            found.append(f"{name}={value}")
    return found


def environment(files: Sequence[str], values: Sequence[str], ours: Lookup = getenv) -> list[str]:
    """Return the variables of `--env-file` and `--env`, files first.

    A bare NAME takes our value; if we have none it goes as it is, which unsets the image's.
    """
    found = [line for path in files for line in read_variables("--env-file", path, ours)]
    for text in values:
        name, equals, _ = text.partition("=")
        if not name:
            raise UsageError(
                f"-e, --env: {text!r} has no name", hint="NAME=value, or NAME to take over our value"
            )
        value = None if equals else ours(name)
        found.append(text if value is None else f"{name}={value}")
    return found


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """Return `key=value` texts as a mapping; a bare key has an empty value, the last of a key counts."""
    split = (text.partition("=") for text in texts)
    return {key: value for key, _, value in split}
