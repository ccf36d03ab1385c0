"""`sampan-registry`: serve a registry in the foreground; `sampan registry serve` becomes it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from sampan import log
from sampan.errors import SampanError
from sampan.registry.server.options import parse_options

if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run with the process's arguments; ends the process."""
    code = 0
    try:
        options = parse_options(sys.argv[1:])
        log.configure(level=options.log_level, as_json=options.log_json)
        from sampan.registry.server.program import (
            run,
        )  # aiohttp takes 0.2 s to import: after the checks above

        run(options)
    except (SampanError, OSError) as exc:
        lines = f"sampan-registry: error: {exc}\n"
        if isinstance(exc, SampanError) and exc.hint:
            lines += f"hint: {exc.hint}\n"
        os.write(2, lines.encode(errors="replace"))
        code = 1
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
