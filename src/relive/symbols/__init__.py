"""Names of places in programs: symbols, source lines and addresses, both ways.

`image` reads one ELF file, `process` puts the files of a live process together, `place` is what
a person types (`libc:malloc`, `file.c:120`, `main+0x12`, `0x401000`), `unwind` walks stacks by
the unwind tables that compilers emit.

Sources of the formats: the System V ABI (gABI) chapters 4 and 5, the Linux Standard Base 5.0
core specification (symbol versions, .eh_frame, .eh_frame_hdr), DWARF 5.
"""

from __future__ import annotations
