"""`python -m sampan.runtime`, and what the installed command `sampan-runtime` calls."""

from __future__ import annotations

from sampan.runtime.main import main

if __name__ == "__main__":
    main()
