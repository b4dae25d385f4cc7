"""A seccomp filter in classic BPF: no sockets, no other processes, no changes but to contents.

It closes what namespaces and Landlock leave open: every family of sockets, io_uring (which goes
round filters), attributes of files, tracing, keys, mounts, memory that no limit counts. `seal` then
forbids new processes and signals to others, for the rest of the process's life; threads stay
possible.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

# x86-64 and AArch64 numbers; None where the architecture has no such call.
_TABLE: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "socketpair": (53, 199),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "process_madvise": (440, 440), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "setns": (308, 268), "unshare": (272, 97), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "bpf": (321, 280), "perf_event_open": (298, 241),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "userfaultfd": (323, 282), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "quotactl": (179, 60),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "sethostname": (170, 161), "setdomainname": (171, 162),
    "acct": (163, 89), "syslog": (103, 116), "personality": (135, 92),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "move_pages": (279, 239),
    "migrate_pages": (256, 238), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
    "mq_open": (240, 180), "memfd_secret": (447, 447),
    "memfd_create": (319, 279),
}  # fmt: skip
_PROCESSES: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
}  # fmt: skip
_PRLIMIT, _CLONE, _CLONE3 = (302, 261), (56, 220), (435, 435)
_KILL, _TGKILL = (62, 129), (234, 131)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_PR_SET_NO_NEW_PRIVS = 38


def unavailable() -> str | None:
    """Return why no filter can be written for this machine, or None."""
    if not hasattr(os, "uname") or os.uname().sysname != "Linux":
        return "not Linux"
    if platform.machine() not in _ARCHITECTURES or ctypes.sizeof(ctypes.c_void_p) != 8:
        return f"no list of system calls for {platform.machine()}"
    return None


def confine() -> None:
    """Forbid the network and what else a computation does not need. Raises OSError."""
    column = _column()
    program = _deny(_TABLE, column)
    program += _only(_PRLIMIT[column], _EQUAL, 0)
    _install(program)


def seal() -> None:
    """Forbid new processes, and signals to others, in all threads. Raises OSError."""
    column = _column()
    program = _deny(_PROCESSES, column)
    program += _refuse(_CLONE3[column], errno.ENOSYS)  # the C library then uses clone
    program += _only(_CLONE[column], _ANY_BIT, _CLONE_THREAD)
    for call in (_KILL, _TGKILL):
        program += _only(call[column], _EQUAL, os.getpid())
    _install(program)


def no_new_privileges() -> None:
    """Let no program started from here gain privileges. Raises OSError."""
    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")


def _column() -> int:
    reason = unavailable()
    if reason is not None:
        raise OSError(errno.ENOSYS, reason)
    return _ARCHITECTURES[platform.machine()][0]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _instruction(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)


def _refuse(number: int, error: int = errno.EPERM) -> list[bytes]:
    return [_instruction(_EQUAL, number, 0, 1), _instruction(_RETURN, _ERRNO | error)]


def _deny(table: dict[str, tuple[int | None, int | None]], column: int) -> list[bytes]:
    numbers = (entry[column] for entry in table.values())
    return [step for number in numbers if number is not None for step in _refuse(number)]


def _only(number: int, test: int, value: int) -> list[bytes]:
    """Allow a call only if its first argument passes a test."""
    return [
        _instruction(_EQUAL, number, 0, 4),
        _instruction(_LOAD, _ARGUMENT),
        _instruction(test, value, 1, 0),
        _instruction(_RETURN, _ERRNO | errno.EPERM),
        _instruction(_RETURN, _ALLOW),
    ]


def _install(program: list[bytes]) -> None:
    _, architecture, call = _ARCHITECTURES[platform.machine()]
    steps = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, _X32, 0, 1),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
        *program,
        _instruction(_RETURN, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(steps))
    header = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
    no_new_privileges()
    libc = _libc()
    libc.syscall.restype = ctypes.c_long
    done = libc.syscall(
        ctypes.c_long(call),
        ctypes.c_ulong(_SET_MODE_FILTER),
        ctypes.c_ulong(_ALL_THREADS),
        ctypes.create_string_buffer(header, len(header)),
    )
    if done:
        raise OSError(ctypes.get_errno() or errno.EBUSY, "seccomp")
