"""The program sampan-dns: `python -I -S __main__.py SOCKET DIRECTORY` (docs/dns.md)."""

import os
import sys

# With -S there is no site, with -I no script directory: the package's own root is all we need.
sys.path.insert(0, os.path.abspath(__file__).rsplit("/sampan/", 1)[0])

from sampan.network.dns.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
