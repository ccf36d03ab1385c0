"""`login` and `logout`. Lean."""

from __future__ import annotations

import sys

from sampan.cli import registry_auth
from sampan.cli.outcome import Failed, UsageError, complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags


def login(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Have a registry check name and password, and keep them for docker and sampan."""
    key = registry_auth.registry_key(arguments[0] if arguments else "")
    user, password = _ask(flags, key)
    body = {"username": user, "password": password, "serveraddress": key}
    answer = context.session().call("POST", "/auth", body=body)  # type: ignore[arg-type]  # JSON values
    token = str(answer.get("IdentityToken") or "") if isinstance(answer, dict) else ""
    place = registry_auth.store(key, user, password, identity_token=token)
    complain(f"credentials are kept in {place}")
    sys.stdout.write("Login Succeeded\n")
    return 0


def logout(_context: Context, _flags: Flags, arguments: list[str]) -> int:
    """Forget the credentials for a registry."""
    key = registry_auth.registry_key(arguments[0] if arguments else "")
    if registry_auth.erase(key):
        sys.stdout.write(f"Removed login credentials for {key}\n")
    else:
        sys.stdout.write(f"Not logged in to {key}\n")
    return 0


def _ask(flags: Flags, key: str) -> tuple[str, str]:
    user, password = flags.text("username"), flags.text("password")
    if flags.truth("password-stdin"):
        if password:
            raise UsageError("--password and --password-stdin are mutually exclusive", code=1)
        if not user:
            raise UsageError("--password-stdin needs --username", code=1)
        return user, sys.stdin.read().rstrip("\r\n")
    if user and password:
        complain("a password on the command line shows in the process list; better: --password-stdin")
        return user, password
    if not sys.stdin.isatty():
        raise Failed("cannot ask for a password without a terminal", hint="--username and --password-stdin")
    return _prompt(key, user, password)


def _prompt(key: str, user: str, password: str) -> tuple[str, str]:
    import getpass

    if not user:
        known = str(registry_auth.find(key).get("username") or "")
        sys.stderr.write(f"Username{f' ({known})' if known else ''}: ")
        sys.stderr.flush()
        user = sys.stdin.readline().strip() or known
    password = password or getpass.getpass("Password: ")
    if not (user and password):
        raise Failed("name and password are needed")
    return user, password
