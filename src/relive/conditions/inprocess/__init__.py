"""The in-process evaluator: conditions decided by a compiled stub that the site jumps to.

    lower_x86.py   conditions as machine code (asm.py assembles it)
    build.py       a stub: save, count, decide, act, restore
    stub.py        what a task somewhere inside a stub was before it
    shared.py      counters, in memory shared with the supervisor
    ring.py        collected records, likewise
    evaluator.py   all of it for one address space: arm, disarm, traps, records

relive.tracee.patching puts stubs into a process and describes how, and what can't be done.

A stub uses no vector register, and keeps what it changes in a frame below the red zone, so that
signals and any number of tasks may be in it at once.  It counts with one instruction, which is
exact without a lock while one task runs, since no signal splits an instruction; `several_tasks`
turns the prefix before it into lock.

It stops by int3 for a match, for a division by zero and for a full ring; a load that faults is
recognised by its address.  In each case the task's registers are as they were at the site when
the user sees them.  While nobody supervises the process, nothing of this may happen: counting,
and collecting registers with `lose`, are safe then; conditions with loads are only if they
can't fault.  See "Things that don't work" in relive.tracee.patching for what a forced signal does
to a program that blocks it.
"""
