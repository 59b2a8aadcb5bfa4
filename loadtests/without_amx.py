"""Runs a command as if its processor had no AMX.

    python loadtests/without_amx.py cupola serve

On Linux a process asks the kernel for AMX before it uses it: ``arch_prctl(ARCH_REQ_XCOMP_PERM)``. A
seccomp filter refuses that here, to the command and to all processes that it starts. ONNX Runtime,
OpenVINO and llama.cpp then take their kernels for AVX-512; those of a llama.cpp that was built for
AMX are slow, so it should be built without. x86-64 only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # instructions of a classic BPF program
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # places in struct seccomp_data
_X86_64, _ARCH_PRCTL, ARCH_REQ_XCOMP_PERM = 0xC000003E, 158, 0x1023


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def refuse_amx() -> None:
    """Refuse AMX to this process and those that it starts, for ever. Raises OSError."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise OSError("AMX can be refused on Linux and x86-64 only")
    instructions = _filter()
    buffer = ctypes.create_string_buffer(instructions)
    program = _Program(len(instructions) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "the kernel takes no filter")


def _filter() -> bytes:
    """Instructions of 8 bytes: what to do, how many to skip if equal and if not, and a value."""
    found, skipped = b"", 6  # a check that fails goes to the last instruction
    for place, value in (
        (_ARCH, _X86_64),
        (_NUMBER, _ARCH_PRCTL),
        (_FIRST_ARGUMENT, ARCH_REQ_XCOMP_PERM),
    ):
        skipped -= 2
        found += struct.pack("HBBI", _LOAD, 0, 0, place)
        found += struct.pack("HBBI", _JUMP_IF_EQUAL, 0, skipped + 1, value)
    found += struct.pack("HBBI", _RETURN, 0, 0, _ERROR | errno.EPERM)
    return found + struct.pack("HBBI", _RETURN, 0, 0, _ALLOW)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python loadtests/without_amx.py COMMAND ...")
    refuse_amx()
    os.execvp(sys.argv[1], sys.argv[1:])
