"""The program `sampan`: `tools/install_commands.py` writes the script that calls `main`."""

from sampan.cli.main import main

if __name__ == "__main__":
    main()
