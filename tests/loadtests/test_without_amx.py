"""AMX is refused to a command, and nothing else is."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cupola import loadtests
from cupola.loadtests.without_amx import ARCH_REQ_XCOMP_PERM

_PROGRAM = Path(loadtests.__path__[0], "without_amx.py")
_ARCH_GET_FS = 0x1003
_ASK = f"""
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
found = ctypes.c_uint64()
assert libc.syscall(158, {_ARCH_GET_FS}, ctypes.byref(found)) == 0
assert libc.syscall(158, {ARCH_REQ_XCOMP_PERM}, 18) == -1 and ctypes.get_errno() == errno.EPERM
print("refused")
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="the filter is for x86-64"
)
def test_a_process_of_a_process_gets_no_amx_and_all_else() -> None:
    nested = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {_ASK!r}]))"
    run = subprocess.run(
        [sys.executable, _PROGRAM, sys.executable, "-c", nested], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, "refused\n"), run.stderr
