"""What was freed is used again, instead of being asked from the kernel anew."""

import subprocess
import sys

import pytest

# In a process of its own, since what the allocator is told holds for all of it.
CODE = """
import resource
from gpt2lab.ui.memory import keep_freed_memory

def faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        bytearray(50_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fresh = faults()
keep_freed_memory()
faults()
print(fresh, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is meant")
def test_what_was_freed_is_not_cleared_by_the_kernel_again() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    fresh, kept = map(int, run.stdout.split())
    assert kept < fresh / 10
