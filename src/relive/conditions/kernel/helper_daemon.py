#!/usr/bin/env python3
"""relive-bpf-helper: loads BPF programs for a relive that may not do so itself.

Off unless an administrator installs and starts it (docs/kernel-evaluator.md says how).  This
file needs nothing but the Python standard library; copy it, read it, run it with `python3 -I`.

    relive-bpf-helper --listen PATH [--group NAME] [--user NAME]
    (or started by a systemd socket unit, with the socket in LISTEN_FDS)

Whoever may connect to the socket may have programs loaded.  What they get by it is no more than
this, by the rules below, which are checked before the kernel's verifier sees a program:

 1. It is for a perf event or a kprobe (uprobe).  To attach it, the client needs an event of its
    own, which perf_event_open(2) gives for its own processes.
 2. Program, map and ring have limited sizes, and a connection a limited number of them.
 3. It calls only helpers that tell the task's id, read the task's own user memory, signal the
    task itself, or append to its ring.  No other function, no other map, no file descriptor
    that the client names.
 4. Memory is accessed at constant offsets from R6 (the registers of the task), R7 (its map) and
    R10 (its stack) only.  The addresses in R6, R7 and R10 are never copied, computed with,
    compared or stored, except that an argument of a helper may be R10 plus a constant.  So no
    kernel address gets out, and no index depends on data (the verifier lets privileged
    programs do both).
 5. The part of the stack that is used is zeroed first: what others left there is not read.
 6. Jumps go forward.

The kernel adds no barriers against speculation to the programs of the privileged, and these are:
do not let connect whom you would not trust with CAP_PERFMON on a machine with such secrets.

Protocol: packets of SOCK_SEQPACKET, little endian.
    request   8 bytes "relive-1", u32 program type, u32 bytes of the map, u32 bytes of the ring
              (or 0), u32 0, then instructions of 8 bytes; where a map's file descriptor belongs
              stands 0 for the map, 1 for the ring
    answer    8 bytes "relive-1", u32 errno (0: done), then text (why not; the verifier's log);
              with it, as SCM_RIGHTS, the file descriptors of program, map and ring
"""

from __future__ import annotations

import argparse
import array
import ctypes
import errno
import grp
import os
import pwd
import selectors
import socket
import struct
import sys

MAGIC = b"relive-1"
REQUEST = struct.Struct("<8sIIII")
ANSWER = struct.Struct("<8sI")

TYPES = {7: "perf event", 2: "kprobe"}
MAX_INSTRUCTIONS = 16384
MAX_PACKET = REQUEST.size + 8 * MAX_INSTRUCTIONS
PAGE = 4096
MAX_VALUES = 64 << 10
MAX_RING = 16 << 20
MAX_LOG = 32 << 10
#: of one connection
MAX_PROGRAMS = 256
MAX_RINGS = 64 << 20
MAX_CONNECTIONS = 16

HELPERS = {
    14: "get_current_pid_tgid",
    112: "probe_read_user",
    117: "send_signal_thread",
    120: "get_ns_current_pid_tgid",
    130: "ringbuf_output",
}


class Refused(Exception):
    """The request breaks a rule; str() says which."""


# ------------------------------------------------------------------------- the rules

R1, R6, R7, R10 = 1, 6, 7, 10
ARGUMENTS = range(1, 6)
FROM_R10 = {argument: argument | R10 << 4 for argument in ARGUMENTS}
#: registers that hold an address all the time
ADDRESSES = (R6, R7, R10)

# Opcodes, by class; the low 3 bits.
LD_IMM64 = 0x18
LDX, ST, STX, JMP, ALU64 = 1, 2, 3, 5, 7
MODE_MEM, MODE_ATOMIC = 0x60, 0xC0
BY_REGISTER = 0x08
MOV, ADD, NEG, END = 0xB0, 0x00, 0x80, 0xD0
JA, CALL, EXIT = 0x00, 0x80, 0x90
MAP_FD, MAP_VALUE = 1, 2


def check(kind: int, value_size: int, ring_size: int, text: bytes) -> None:
    """Raise Refused unless the request keeps the rules."""
    if kind not in TYPES:
        raise Refused(f"programs of type {kind} are not loaded")
    if not 0 < len(text) // 8 <= MAX_INSTRUCTIONS or len(text) % 8:
        raise Refused(f"a program has 1 to {MAX_INSTRUCTIONS} instructions")
    if not 0 < value_size <= MAX_VALUES or value_size % PAGE:
        raise Refused(f"a map has whole pages, up to {MAX_VALUES} bytes")
    if ring_size and (not PAGE <= ring_size <= MAX_RING or ring_size & (ring_size - 1)):
        raise Refused(f"a ring has a power of two of bytes, up to {MAX_RING}")
    check_instructions(text, ring_size > 0)


def check_instructions(text: bytes, has_ring: bool) -> None:
    """Rules 3 to 6, in one pass over the instructions in their order.

    `held` are the argument registers that hold an address.  They do so from where it is put there
    to the next call, and no jump lies between: so what this pass sees is what happens on every
    path.
    """
    code = list(struct.iter_unpack("<BBhi", text))
    # mov r6, r1; r7 = address of the map; mov r1, 0
    prologue = [(0xBF, R6 | R1 << 4, 0, 0), (LD_IMM64, R7 | MAP_VALUE << 4, 0, 0), (0, 0, 0, 0)]
    if code[:3] != prologue or code[3:4] != [(0xB7, R1, 0, 0)]:
        raise Refused("a program begins by putting its context in r6 and its map in r7")
    at = 4
    while code[at : at + 1] == [(ST | MODE_MEM | 0x18, R10, -8 * (at - 3), 0)]:
        at += 1
    stack = -8 * (at - 4)
    held: set[int] = set()
    while at < len(code):
        op, registers, off, imm = code[at]
        dst, src = registers & 15, registers >> 4

        def refuse(why: str, at: int = at) -> Refused:
            return Refused(f"instruction {at}: {why}")

        def plain(register: int, held: set[int] = held) -> bool:
            """Whether the register holds a number."""
            return register < 10 and register not in ADDRESSES and register not in held

        kind = op & 7
        if op == LD_IMM64:
            if (src, dst, off, imm) != (MAP_FD, R1, 0, 1) or not has_ring:
                raise refuse("the only map to be named is the ring, as first argument")
            if code[at + 1 : at + 2] != [(0, 0, 0, 0)]:
                raise refuse("half an instruction")
            held.add(R1)
            at += 1
        elif kind == LDX:
            if op & 0xE0 != MODE_MEM or src not in ADDRESSES:
                raise refuse("loads are from r6, r7 and r10")
            if dst > 9 or dst in ADDRESSES:
                raise refuse(f"r{dst} does not change")
            if src == R10 and off < stack:
                raise refuse("the stack there was not zeroed")
            held.discard(dst)
        elif kind in (ST, STX) and op & 0xE0 == MODE_MEM:
            if dst not in (R7, R10):
                raise refuse("stores are to r7 and r10")
            if kind == STX and not plain(src):
                raise refuse("an address is not stored")
        elif op == STX | MODE_ATOMIC | 0x18:
            # Of the atomic operations, addition of a word with and without the old value.
            if dst != R7 or imm not in (0, 1) or not plain(src):
                raise refuse("atomic additions are to r7")
        elif kind == ALU64:
            operation, by_register = op & 0xF0, bool(op & BY_REGISTER)
            if operation >= END or off or dst > 9 or dst in ADDRESSES:
                raise refuse(f"not this operation, or not on r{dst}")
            if operation == MOV and by_register and src == R10 and dst in ARGUMENTS:
                held.add(dst)
            elif dst in held and not by_register and operation == ADD:
                # An argument is used from there upwards.
                if not stack <= imm < 0 or code[at - 1] != (
                    MOV | ALU64 | BY_REGISTER,
                    FROM_R10[dst],
                    0,
                    0,
                ):
                    raise refuse("an argument is r10 plus a constant, in the zeroed stack")
            elif by_register and not plain(src):
                raise refuse(f"r{src} is an address")
            elif operation == MOV:
                held.discard(dst)
            elif not plain(dst):
                raise refuse(f"r{dst} is an address")
        elif op == JMP | CALL:
            if src or imm not in HELPERS:
                raise refuse(f"function {imm} is not called")
            held.clear()  # a call leaves nothing in the argument registers
        elif kind == JMP and op & 0xF0 <= 0xD0:
            operation = op & 0xF0
            if held:
                raise refuse("a jump with an address in an argument register")
            if operation == CALL:
                raise refuse("not this call")
            if operation == EXIT:
                if op != JMP | EXIT:
                    raise refuse("not this exit")
            elif off < 0 or op == JMP | JA | BY_REGISTER:
                raise refuse("a jump back, or to where a register says")
            elif operation != JA and (not plain(dst) or (op & BY_REGISTER and not plain(src))):
                raise refuse("an address is not compared")
        else:
            raise refuse(f"operation {op:#04x} is not used")
        at += 1


# ------------------------------------------------------------------------ the kernel

NR_BPF = 321
MAP_CREATE, PROG_LOAD = 0, 5
ARRAY, RINGBUF, MMAPABLE = 2, 27, 1 << 10
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def bpf(command: int, attr: bytes) -> int:
    """bpf(2) on a union bpf_attr; raises OSError."""
    memory = ctypes.create_string_buffer(attr, 128)
    size = ctypes.c_long(len(memory))
    fd = int(_libc.syscall(ctypes.c_long(NR_BPF), ctypes.c_long(command), memory, size))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def load(kind: int, value_size: int, ring_size: int, text: bytes) -> list[int]:
    """File descriptors of program, map and ring; raises OSError, the log in `filename`."""
    fds: list[int] = []
    try:
        fds.append(bpf(MAP_CREATE, struct.pack("<5I", ARRAY, 4, value_size, 1, MMAPABLE)))
        if ring_size:
            fds.append(bpf(MAP_CREATE, struct.pack("<5I", RINGBUF, 0, 0, ring_size, 0)))
        which = list(fds)
        code = bytearray(text)
        for at in range(0, len(code), 8):
            if code[at] == LD_IMM64:
                struct.pack_into("<i", code, at + 4, which[code[at + 4]])
        fds.insert(0, load_program(kind, bytes(code)))
        return fds
    except BaseException:
        close(fds)
        raise


def load_program(kind: int, code: bytes) -> int:
    """BPF_PROG_LOAD, with the log of a refusal in OSError.filename."""
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(1 << 20)
    first = struct.pack(
        "<IIQQ", kind, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(licence)
    )
    name = struct.pack("<II16s", 0, 0, b"relive_helper")
    try:
        return bpf(PROG_LOAD, first + struct.pack("<IIQ", 0, 0, 0) + name)
    except OSError:
        pass
    try:
        return bpf(
            PROG_LOAD,
            first + struct.pack("<IIQ", 1, len(log), ctypes.addressof(log)) + name,
        )
    except OSError as error:
        said = log.value[-MAX_LOG:].decode("utf-8", "replace")
        raise OSError(error.errno, error.strerror, said) from None


def close(fds: list[int]) -> None:
    """Close them all."""
    for fd in fds:
        os.close(fd)


# ----------------------------------------------------------------------- connections


class Client:
    """A connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_LOG)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.pid, self.uid, _ = struct.unpack("iII", credentials)
        self.programs = 0
        self.rings = 0

    def serve(self) -> bool:
        """Answer one request; whether there can be another."""
        try:
            packet = self.connection.recv(MAX_PACKET + 1)
        except OSError:
            return False
        if not packet:
            return False
        fds: list[int] = []
        try:
            number, text, fds = self.answer(packet)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            self.connection.sendmsg([ANSWER.pack(MAGIC, number) + text.encode()], rights)
        except OSError:
            return False  # it does not listen
        finally:
            close(fds)
        return True

    def answer(self, packet: bytes) -> tuple[int, str, list[int]]:
        """errno, text and file descriptors for a request."""
        what = "a packet that makes no sense"
        try:
            if len(packet) < REQUEST.size or not packet.startswith(MAGIC):
                raise Refused(what)
            _, kind, value_size, ring_size, zero = REQUEST.unpack_from(packet)
            text = packet[REQUEST.size :]
            what = f"{TYPES.get(kind, kind)}, {len(text) // 8} instructions"
            if zero or len(packet) > MAX_PACKET:
                raise Refused("a packet that makes no sense")
            check(kind, value_size, ring_size, text)
            if self.programs >= MAX_PROGRAMS or self.rings + ring_size > MAX_RINGS:
                raise Refused("too many programs for one connection")
            fds = load(kind, value_size, ring_size, text)
        except Refused as refused:
            self.log(f"{what}: refused: {refused}")
            return errno.EPERM, str(refused), []
        except OSError as error:
            self.log(f"{what}: {error.strerror}")
            return error.errno or errno.EIO, str(error.filename or ""), []
        self.programs += 1
        self.rings += ring_size
        self.log(f"{what}: loaded")
        return 0, "", fds

    def log(self, text: str) -> None:
        """A line on standard error."""
        print(f"relive-bpf-helper: uid {self.uid}, pid {self.pid}: {text}", file=sys.stderr)
        sys.stderr.flush()


def serve(listener: socket.socket) -> None:
    """Serve connections for ever."""
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, None)
        clients = 0
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        continue
                    if clients >= MAX_CONNECTIONS:
                        connection.close()
                        continue
                    clients += 1
                    selector.register(connection, selectors.EVENT_READ, Client(connection))
                elif not key.data.serve():
                    selector.unregister(key.fileobj)
                    key.data.connection.close()
                    clients -= 1


# --------------------------------------------------------------------------- start-up

CAP_PERFMON, CAP_BPF = 38, 39
PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS = 8, 38
NR_CAPSET = 126


def keep_only_what_loading_needs(user: str) -> None:
    """Become `user`, with no capability but CAP_BPF and CAP_PERFMON."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        if _libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_KEEPCAPS)")
        os.setgroups([])
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    both = 1 << CAP_PERFMON - 32 | 1 << CAP_BPF - 32
    # struct __user_cap_header_struct version 3, and two __user_cap_data_struct.
    header = ctypes.create_string_buffer(struct.pack("<Ii", 0x20080522, 0), 8)
    data = ctypes.create_string_buffer(struct.pack("<6I", 0, 0, 0, both, both, 0), 24)
    if _libc.syscall(ctypes.c_long(NR_CAPSET), header, data):
        raise OSError(ctypes.get_errno(), "capset: CAP_BPF and CAP_PERFMON are needed")
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")


def listen(path: str, group: str | None) -> socket.socket:
    """A socket at `path` that its owner and `group` may connect to."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    if group:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
        os.chmod(path, 0o660)  # noqa: PTH101 - needs no other module
    listener.listen(MAX_CONNECTIONS)
    return listener


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="relive-bpf-helper", description="see the file itself")
    parser.add_argument("--listen", metavar="PATH", help="socket to make")
    parser.add_argument("--group", help="whose members may connect (else the owner only)")
    parser.add_argument("--user", default="nobody", help="whom to run as when started by root")
    options = parser.parse_args()
    if os.environ.get("LISTEN_FDS") == "1" and os.environ.get("LISTEN_PID") == str(os.getpid()):
        listener = socket.socket(fileno=3)
    elif options.listen:
        listener = listen(options.listen, options.group)
    else:
        parser.error("--listen PATH, or start it by a systemd socket unit")
    keep_only_what_loading_needs(options.user)
    try:
        serve(listener)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
