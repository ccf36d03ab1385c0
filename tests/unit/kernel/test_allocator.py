"""malloc gives back what was freed below something that is still in use."""

import subprocess
import sys

_PROBE = """
from sampan.kernel.allocator import give_back, limit_arenas

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20

limit_arenas(1)
many = [bytes(1000) for _ in range(60_000)]
pin = bytes(1000)  # above them all: without it free() itself would give the memory back
full = resident()
del many
kept = resident()
give_back()
print(full - kept < 20, full - resident() > 40)
"""


def test_freed_memory_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
