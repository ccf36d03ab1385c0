"""The program sampand: lock, sockets, engine, door, and an orderly end (docs/api.md, "The program")."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from sampan import log
from sampan.daemon.listeners import Access, open_listeners, tls_context
from sampan.daemon.options import DaemonOptions, parse_options
from sampan.daemon.presence import ReadyPipe, RunLock, write_pid_file
from sampan.errors import SampanError

if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run sampand with the process's arguments; ends the process."""
    options = parse_options(sys.argv[1:])
    log.configure(level=options.log_level, as_json=options.log_json)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ready = ReadyPipe(options.ready_fd)
    try:
        code = _run(options, ready)
    except (SampanError, OSError) as exc:
        _complain(exc)
        ready.tell(f"error: {exc}")
        code = 1
    # Worker threads may wait for containers for ever, and an exit would wait for them.
    sys.stdout.flush()
    os._exit(code)


def _complain(error: Exception) -> None:
    lines = f"sampand: error: {error}\n"
    if isinstance(error, SampanError) and error.hint:
        lines += f"hint: {error.hint}\n"
    os.write(2, lines.encode(errors="replace"))


def _access(options: DaemonOptions) -> Access:
    """Return who may connect.

    Raises:
        InvalidArgument: a TLS file is missing, or holds something else.
    """
    tls = options.tls
    return Access(
        group=options.group,
        insecure_tcp=options.insecure_tcp,
        tls=tls_context(ca=tls.ca, cert=tls.cert, key=tls.key) if tls else None,
    )


def _run(options: DaemonOptions, ready: ReadyPipe) -> int:
    """Hold lock and sockets while the engine is served. Sockets first: clients queue while it opens."""
    lock = RunLock(options.engine.roots.run)
    listeners = []
    try:
        listeners = open_listeners(options.hosts, access=_access(options), sockets=options.sockets)
        if options.pid_file:
            write_pid_file(options.pid_file)
        from sampan.daemon.serving import serve  # aiohttp takes 0.2 s to import: after the checks above

        serve(options, listeners, ready)
    finally:
        for listener in listeners:
            listener.close()
        if options.pid_file:
            try:
                os.unlink(options.pid_file)
            except OSError:
                pass  # it was never written, or somebody has removed it
        lock.release()
    return 0


if __name__ == "__main__":
    main()
