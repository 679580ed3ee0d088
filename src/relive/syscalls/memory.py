"""Address space: mappings, protection, placement.

These change what exists rather than what is written, so the replayer makes
them for real (``replay=True``) where they have an effect a program can see.
"""

from __future__ import annotations

import errno
from typing import Final

from relive.syscalls.model import (
    Call,
    addr,
    call,
    facts,
    fd,
    flags,
    hexa,
    in_,
    iov_in,
    iov_out,
    long_,
    num,
    one_of,
    out,
    pid,
    select,
    size,
    unsigned,
)

_MMAP: Final = (addr(), size(), flags("prot"), flags("map"), fd(), long_())
_MAP_TYPE: Final = 0x0F
_MAP_PRIVATE: Final = 0x02
_MAP_ANONYMOUS: Final = 0x20

CALLS: Final[tuple[Call, ...]] = (
    # Private anonymous memory is known by address and size alone; everything else
    # (files, shared memory) needs the recorder to keep what was mapped.
    call(
        "mmap",
        9,
        *_MMAP,
        on_entry=True,
        on_exit=True,
        replay=True,
        ret="addr",
        variants=select(
            3,
            {_MAP_ANONYMOUS | _MAP_PRIVATE: facts("mmap", *_MMAP, replay=True, ret="addr")},
            mask=_MAP_ANONYMOUS | _MAP_TYPE,
        ),
    ),
    call("mprotect", 10, addr(), size(), flags("prot"), replay=True),
    call("munmap", 11, addr(), size(), replay=True),
    call("brk", 12, addr(), replay=True, ret="addr"),
    call("mremap", 25, addr(), size(), size(), flags("mremap"), addr(), replay=True, ret="addr"),
    call("msync", 26, addr(), size(), flags("msync")),
    # mincore: one byte a page; special_outs.
    call("mincore", 27, addr(), size(), addr(), on_exit=True),
    # MADV_DONTNEED, MADV_REMOVE and MADV_WIPEONFORK change what memory holds.
    call("madvise", 28, addr(), size(), one_of("madvise"), on_entry=True, replay=True),
    call("mlock", 149, addr(), size()),
    call("munlock", 150, addr(), size()),
    call("mlockall", 151, flags("mlockall")),
    call("munlockall", 152),
    call("mlock2", 325, addr(), size(), flags("none")),
    # Deprecated in 3.16; emulated by the kernel with a loop of mmaps.
    call(
        "remap_file_pages",
        216,
        addr(),
        size(),
        flags("prot"),
        size(),
        flags("map"),
        refuse=errno.ENOSYS,
        warn=True,
    ),
    # With protection keys refused, pkey_mprotect only ever succeeds as mprotect (pkey -1).
    call("pkey_mprotect", 329, addr(), size(), flags("prot"), num(), replay=True),
    # ENOSYS is what a kernel without the feature says, and programs probe for it as they start.
    call("pkey_alloc", 330, flags("none"), hexa(), refuse=errno.ENOSYS),
    call("pkey_free", 331, num(), refuse=errno.ENOSYS),
    call("mbind", 237, addr(), size(), num(), in_("nodeset", bits=4), unsigned(), hexa()),
    call("set_mempolicy", 238, num(), in_("nodeset", bits=2), unsigned()),
    # Whole words are written, as many as maxnode - 1 bits need (copy_nodes_to_user); FDSET
    # rounds maxnode itself, which may claim one word that is left alone.
    call("get_mempolicy", 239, out("int"), out("nodeset", nfds=2), unsigned(), addr(), hexa()),
    call("migrate_pages", 256, pid(), unsigned(), in_("nodeset", bits=1), in_("nodeset", bits=1)),
    call(
        "move_pages",
        279,
        pid(),
        unsigned(),
        in_("ptr", n=1),
        in_("int", n=1),
        out("int", n=1),
        hexa(),
    ),
    call("set_mempolicy_home_node", 450, addr(), size(), unsigned(), unsigned()),
    # Sealing forbids later changes. The answers to those are in the log, so a replay need not
    # seal.
    call("mseal", 462, addr(), size(), flags("none")),
    # Shadow stacks can't be kept in step with injected system calls.
    call(
        "map_shadow_stack", 453, addr(), size(), flags("none"), refuse=errno.EOPNOTSUPP, ret="addr"
    ),
    call(
        "process_vm_readv",
        310,
        pid(),
        iov_out(n=2),
        size(),
        in_("iovec", n=4),
        size(),
        flags("none"),
    ),
    # What it writes is in the other process: the recorder reads the remote vector (arguments 3
    # and 4) and logs the first `result` bytes of it as written there.
    call(
        "process_vm_writev",
        311,
        pid(),
        iov_in(n=2),
        size(),
        in_("iovec", n=4),
        size(),
        flags("none"),
        on_exit=True,
    ),
    call(
        "process_madvise",
        440,
        fd(),
        in_("iovec", n=2),
        size(),
        one_of("madvise"),
        flags("none"),
        refuse=errno.ENOSYS,
        warn=True,
    ),
    call("process_mrelease", 448, fd(), flags("none")),
    call("membarrier", 324, one_of("membarrier"), flags("none"), num()),
)
