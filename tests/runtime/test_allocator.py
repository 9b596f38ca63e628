"""What becomes of freed memory, measured as page faults or resident memory of a process of its own."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys
from lae_tf.runtime.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def touch(mebibytes):
    buffers = [libc.malloc(mebibytes << 20) for _ in range(4)]
    for buffer in buffers:
        ctypes.memset(buffer, 1, mebibytes << 20)
    for buffer in buffers:
        libc.free(buffer)

touch(48)  # above the largest size that glibc would learn to keep by itself
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    touch(48)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_freed_buffers_are_not_faulted_in_again():
    assert faults("keep") < faults("plain") / 10


HELD = """
import ctypes, sys, threading
from pathlib import Path
from lae_tf.runtime import allocator
for step in sys.argv[1:]:
    getattr(allocator, step)()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) // 1024

def use(mebibytes, kept):
    buffers = [libc.malloc(mebibytes << 20) for _ in range(8)]
    small = libc.malloc(64)  # in the way of what was freed below it
    for buffer in buffers:
        ctypes.memset(buffer, 1, mebibytes << 20)
    for buffer in buffers:
        libc.free(buffer)
    kept.append(small)

before = resident()
kept = []
for mebibytes in (30, 8):  # from the first one glibc learns to keep the others
    thread = threading.Thread(target=use, args=(mebibytes, kept))
    thread.start()
    thread.join()
if "keep_freed_memory" in sys.argv:
    allocator.release_freed_memory()
print(resident() - before)
"""


def held_mib(*steps: str) -> int:
    done = subprocess.run([sys.executable, "-c", HELD, *steps], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_large_buffers_of_a_server_are_returned():
    assert held_mib("return_large_buffers") < 8 <= held_mib()
