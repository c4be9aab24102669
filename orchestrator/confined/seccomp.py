"""The calls that a confined child may make of Linux: to compute, to take memory, to read and write what is open.

Everything else is refused: files, sockets, processes, other processes' memory. A process of the same user could
otherwise read its parent's environment, with the master key in it, below `/proc`. No library is needed: a filter is a
program of a few instructions (seccomp(2), linux/filter.h), handed over by prctl(2).
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

_NO_NEW_PRIVS, _SECCOMP, _MODE_FILTER = 38, 22, 2

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000

# Where struct seccomp_data has the call's number, the architecture, and both halves of the first argument.
_NUMBER, _ARCHITECTURE, _FIRST, _FIRST_HIGH = 0, 4, 16, 20

_CLONE_THREAD = 0x10000

# AUDIT_ARCH of linux/audit.h, by `platform.machine()`.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Each call's number on the first of these and on the second (asm/unistd.h).
_CALLS = """
    read 0 63, write 1 64, readv 19 65, writev 20 66, close 3 57, fstat 5 80, lseek 8 62, pread64 17 67,
    mmap 9 222, mprotect 10 226, munmap 11 215, mremap 25 216, brk 12 214, madvise 28 233, rt_sigaction 13 134,
    rt_sigprocmask 14 135, rt_sigreturn 15 139, sigaltstack 131 132, futex 202 98, sched_yield 24 124,
    sched_getaffinity 204 123, clock_gettime 228 113, clock_nanosleep 230 115, nanosleep 35 101,
    getrandom 318 278, gettid 186 178, getpid 39 172, getrusage 98 165, exit 60 93, exit_group 231 94,
    set_robust_list 273 99, rseq 334 293, restart_syscall 219 128, ppoll 271 73, membarrier 324 283,
    prlimit64 302 261, clone 56 220, clone3 435 435
"""


def install() -> bool:
    """Keep this thread, and all that it starts, to these calls for ever; False where that cannot be had.

    It cannot on systems other than Linux, on other processors, and where the kernel or a sandbox around refuses.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or platform.machine() not in _ARCHITECTURES:
        return False
    code = program(platform.machine())
    instructions = ctypes.create_string_buffer(code, len(code))
    handed_over = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(instructions)))
    return bool(libc.prctl(_SECCOMP, _MODE_FILTER, ctypes.addressof(handed_over), 0, 0) == 0)


def program(machine: str) -> bytes:
    """The filter for a kind of processor, one instruction after the other (struct sock_filter)."""
    column = list(_ARCHITECTURES).index(machine)
    rows = (call.split() for call in _CALLS.split(","))
    calls = {name: int(numbers[column]) for name, *numbers in rows}
    threads, newer, limits = calls.pop("clone"), calls.pop("clone3"), calls.pop("prlimit64")
    refused = _REFUSE | errno.EPERM
    return b"".join(
        [
            _do(_LOAD, _ARCHITECTURE),
            _do(_EQUAL, _ARCHITECTURES[machine], 1, 0),
            _do(_RETURN, _KILL),
            _do(_LOAD, _NUMBER),
            *(_do(*step) for number in calls.values() for step in ((_EQUAL, number, 0, 1), (_RETURN, _ALLOW))),
            # What it would start is behind a pointer, which a filter cannot follow: C libraries then take the older.
            _do(_EQUAL, newer, 0, 1),
            _do(_RETURN, _REFUSE | errno.ENOSYS),
            # Threads, and no processes.
            _do(_EQUAL, threads, 0, 4),
            _do(_LOAD, _FIRST),
            _do(_ANY_BIT, _CLONE_THREAD, 0, 1),
            _do(_RETURN, _ALLOW),
            _do(_RETURN, refused),
            # Limits of its own, and of no other process.
            _do(_EQUAL, limits, 0, 5),
            _do(_LOAD, _FIRST),
            _do(_EQUAL, 0, 0, 3),
            _do(_LOAD, _FIRST_HIGH),
            _do(_EQUAL, 0, 0, 1),
            _do(_RETURN, _ALLOW),
            _do(_RETURN, refused),
        ]
    )


def _do(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("HBBI", code, then, otherwise, value)
