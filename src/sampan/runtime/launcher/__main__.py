"""The launcher program: `python -I -S __main__.py SOCKET RUN_ROOT DATA_ROOT` (docs/shim.md)."""

import os
import sys

# With -S there is no site, with -I no script directory: the package's own root is all we need.
sys.path.insert(0, os.path.abspath(__file__).rsplit("/sampan/", 1)[0])

from sampan.runtime.launcher.zygote import main

if __name__ == "__main__":
    main(sys.argv)
