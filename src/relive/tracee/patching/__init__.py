"""Code patching: instructions of a stopped process replaced by a jump to code of ours.

The purpose is a *site*: whenever the program executes the instruction at an address, it runs a
piece of code first (a *body*; see relive.conditions.inprocess), at the price of a jump there and
back.  The program must not be able to tell, and nothing may go wrong in silence: where a jump
can't be put safely, the site becomes a breakpoint instead and says why.


The jump
========

`jmp rel32` has five bytes; the instruction at the site may have one.  What is displaced, runs
later from a *copy* behind the body.  The danger is in the bytes after the site's instruction:
the program may jump there, return there, or have a thread there.  So every form of patch keeps
one promise: **an instruction boundary inside the bytes we change, other than the site itself,
holds a byte that traps when it is executed.**  Whoever gets there by a way that nobody foresaw
stops in the supervisor, which moves the task to the copy of the instruction it was about to
execute (Happened.STRAY), and remembers the address.  The forms, in templates.py:

JUMP    The displaced instructions have five bytes or more.  One long instruction is the simple
        case.  When it takes several, the displacement's bytes at the boundaries between them
        must be trapping ones: int3, or else one of nineteen bytes that are no instruction in
        64-bit mode, or hlt.  That is a demand on where the stub lies: "the second byte of
        rel32 is CC".  space.py finds an address that satisfies it.
PUN     The jump's last bytes are the *unchanged* first bytes of the next instruction
        ("instruction punning", Chamith, Svensson, Dalessandro and Newton, PLDI 2017).  Nothing
        but the displaced instruction changes, so there is nothing to prove about jumps to the
        next.  The displacement is then fixed in one to four bytes, and the stub has to be
        wherever that leads: in a window of 16 MiB, of 64 KiB, of 256 bytes, or at one address.
        Prefixes without meaning (2E) before the E9 shift the window, which gives short
        instructions two or three chances.  A window may be taken, or lie outside of user
        space: programs linked to the lowest 2 GiB lose most of the negative half.
SHORT   `jmp rel8`, two bytes, to padding that is never executed nearby, which takes the long
        jump.  Padding is int3 or nop after an instruction that does not fall through, up to an
        aligned address, with no known way into it.  A signal that arrives between the two jumps
        would leave an address in its frame that means something else once the patch is gone:
        so only where signals are not delivered just anywhere (a replay; `Patcher(short=True)`).
BREAKPOINT  int3.  Not in-process; the copy still saves the single-step: a task goes on at
        `Patch.resume`, with nothing to take out of the code meanwhile.

Two things widen what a jump can reach:

Landings.  What the site jumps to may be no more than another jump, of five bytes, to the stub
somewhere else.  Five bytes are free where a whole stub is not, and a stub is then near what it
uses.  A task at a landing is a task at the site.

Chains (chain.py).  The bytes that a pun has to live with are the next instruction's.  If that is
moved as well, and becomes a jump to its copy (a patch with no body, a *helper* of the site's),
the bytes are E9, or a prefix that means nothing, and a displacement which can be chosen
together with the site's own; where it is short, the next one's is, and so on for up to six
instructions.  The idea is e9patch's (Duck, Gao and Roychoudhury, "Binary Rewriting without
Control Flow Recovery", PLDI 2020: successor eviction).  Each link is one instruction, displaced
alone, whose first byte is where its patch begins: it may be jumped to and returned to, and
nothing traps.  It has to *be* an instruction: it is what the site falls through to, or known to be
jumped to, or padding; behind a system call or a direct call, which might not return, only inside
a function whose bounds are known.  A link that is a site itself is planned anew together with the
new one.

Which instructions may be displaced together?  Not one that is known to be jumped to, or to be
returned to (a trap at every return would be safe and slow): decode.py looks for those in the
function, direct branches exactly, jump tables by the two shapes compilers give them.  Indirect
jumps make this undecidable, hence the promise above rather than the analysis carries the
safety.  The analysis only decides preference: in a function whose ways in are all known, JUMP
comes before PUN (stubs lie densely together), else PUN before JUMP (no trap can be hit).
Nothing is displaced after a call (it is returned to), nor after a system call (the kernel may
step back to it), nor after an instruction that does not fall through, except padding.

A jump into the *middle* of an instruction exists in practice: past a lock prefix, in older C
libraries.  Where decoding the function shows one, its byte is made to trap too.


Many sites
==========

A pun relies on bytes of its neighbour, and a neighbour may be a site.  So sites are planned from
the highest address down, each on the bytes that its successors have got, and a site ends where
the next one begins.  Arming a site in the bytes that an earlier one relies on, or disarming one,
plans those before it anew (Patcher._affected).  Who uses a byte, to change it or to rely on it, is
kept by address (Patcher._users).  Patching a thousand sites in one `update` is cheaper than one by
one, and gives better forms.


The copy
========

relocate.py, with iced-x86's encoder, one instruction at a time; a branch back to the site must
reach the site, and not its copy, or a loop of one instruction would be counted once.

call    pushes the *original* return address, so that unwinders, exceptions and code that reads
        its return address see nothing; and it keeps the processor's return stack in step,
        which push and jmp alone would throw out of it for all returns above.  The return of
        that call is mispredicted, which costs about 10 ns.
syscall leaves rip in rcx: put right behind it.
rip-relative operands, branches of every kind, loop, jrcxz, xbegin: re-encoded.
A fault in a copy (the program's own null pointer) is reported at the original address: before
the signal is delivered, `resolve` moves the task there.
Refused: the program's own int3, sysenter, loads of segment registers, far calls, calls through
rsp's red zone.


Tasks that are there
====================

Patching happens while all tasks that share the memory are stopped; a stop ends in a return to
user mode that serialises the processor, so modified code needs no more care than that.
A task whose rip is in bytes that are now displaced goes to their copy.  A task in a stub that
goes away (it is disarmed, or planned anew) leaves it: inside a body, the body says what the
registers were when the site was reached, and takes back what it counted, or says that it had
done all it does; in a copy, each step says where in the original code it stands.  So each hit is
counted once, whatever happens around it.
A task in a system call is never moved: the kernel may restart the call by stepping back from
rip.  If it comes back to displaced bytes, they trap.
Stub memory is not reused while it may be in use: a signal frame may hold an address in a stub
(the only place where one is ever stored: copies push original addresses).  `release` looks for
such frames and leaves the pages mapped if it finds any; they are harmless.

Stopping has a catch: a task that executed an int3, or faulted, may report the interruption first
and the signal after it was resumed.  If the patch went away in between, the signal would make no
sense.  See `Target` and `trap_pending`.


Where stubs lie
===============

arenas.py maps pages near the code, by a system call that a stopped task is made to execute.
Never where brk or the stack grow, and never where `Target.usable` objects.  A replay is told
before the heap grows and takes its stubs away: those with a single window, of which a program in
the lowest 2 GiB loses many to the heap's room, may lie nearer there.  The pages are readable and
executable, not writable; the supervisor writes through /proc/PID/mem.  A thousand puns take about
a thousand pages, each a mapping of its own (vm.max_map_count is 65530 by default).


Reading, forking, going
=======================

`read_original` shows memory as if nothing were patched, `present` registers.  A fork copies code
and stubs: `fork` makes the child's patcher.  An exec makes everything void; so does an unmapped
library for the sites in it (`unmapped`).


Things that don't work
======================

- A program that reads its own code (checksums, some packers) sees the jumps.  So does a child
  that is not traced; and when it hits a trapping byte, or a body that traps, nobody is there to
  help it: SIGTRAP ends it.  Whoever patches has to be there, or undo it first.
- A program that writes its code at a site (JIT compilers do, in code that they made) destroys
  the patch, and disarming puts old bytes back.
- A signal whose disposition is default or whose delivery is blocked is *forced* by the kernel
  when an instruction raises it: a trap while the program blocks SIGTRAP unblocks it, and sets
  its handler, if it has one, to the default (force_sig_info_to_task, kernel/signal.c).  Bodies
  trap with int3 for that reason: few programs handle SIGTRAP.  The other trapping bytes, and
  loads in a condition that fault, raise SIGILL and SIGSEGV.
- A signal that arrives in a stub shows its handler an address in the stub.  Handlers that look
  at it (profilers, Go's preemption) find no function there.  There is no unwind information
  for stubs.
- Restartable sequences (rseq(2)): a site inside one leaves it, and the kernel clears the
  sequence instead of restarting it when the task is preempted in the stub.  Don't.
- User shadow stacks (CET): the way a copy makes a call mismatches the shadow stack.  glibc
  does not turn them on unless told to.  Indirect-branch tracking is not available to programs.
- Code at `rip` inside a hardware transaction aborts on traps, as it does anyway.
- Stack below the red zone is written by bodies.  Go keeps as little as 800 bytes of stack in
  reserve, and other runtimes that switch stacks may keep less: bodies for Go code should not
  leave room for a red zone it does not have.
- Addresses where the jump can't reach any free memory, and nothing can be moved: a return of one
  byte, or a jump of two, with code right behind it that is not known to be code.  About one
  in several thousand in libraries; a few in a thousand in programs linked to the lowest 2 GiB,
  above which a gigabyte is left to the heap.
- An instruction that was moved for another's sake costs a jump there and back, too.
- A site that is not at an instruction boundary corrupts an instruction.  Nothing here can know.
- Instructions that are jumped to in their middle from another function, other than past the
  bytes that stay, are not protected in their first five bytes.
"""

from relive.tracee.patching.arenas import MAP_SHARED, Arenas, NoRoom
from relive.tracee.patching.patcher import (
    Body,
    CannotPatch,
    Happened,
    Patch,
    Patcher,
    Request,
    Trap,
)
from relive.tracee.patching.target import Registers, Target, trap_pending
from relive.tracee.patching.templates import Form

__all__ = [
    "MAP_SHARED",
    "Arenas",
    "Body",
    "CannotPatch",
    "Form",
    "Happened",
    "NoRoom",
    "Patch",
    "Patcher",
    "Registers",
    "Request",
    "Target",
    "Trap",
    "trap_pending",
]
