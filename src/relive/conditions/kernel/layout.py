"""The map of values: what a program and the supervisor tell each other, in 64-bit words.

      0   hits        executions the program saw           } one cache line that
      1   candidates  the condition was not 0               } the program writes
      2   undecided   it could not be evaluated             }
      3   lost        the ring was full                     }
      4   unsent      the signal could not be sent          }
      5   told        hits let through                      }
      8   stop at     the first candidate to let through    } read only to the program
      9   signal      the one to send (Notify by program)   }
     10   device      } of the pid namespace in which task  }
     11   inode       } ids are told                        }
     12   muted       let nothing through, collect nothing  }
     16   8 stop slots of 4 words: claims, tid, hit, why
     48   constants of the condition, in the order the program uses them

A rejected hit is one that is neither a candidate nor undecided: no counter of its own.

Stop slots say of which hit a stopped task is.  The program claims the first slot whose
`claims` it finds 0 by adding 1 to it, and fills in the rest; the supervisor, having seen the
task stop, reads the slot with the task's id and sets `claims` to 0.  Tasks that stop while
all 8 are taken have none (eight tasks on eight cores at once).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    # Not subscriptable at run time before Python 3.14.
    Words = memoryview[int]

HITS: Final = 0
CANDIDATES: Final = 1
UNDECIDED: Final = 2
LOST: Final = 3
UNSENT: Final = 4
TOLD: Final = 5
STOP_AT: Final = 8
SIGNAL: Final = 9
NS_DEVICE: Final = 10
NS_INODE: Final = 11
MUTED: Final = 12
SLOTS: Final = 16
N_SLOTS: Final = 8
SLOT_WORDS: Final = 4
CONSTANTS: Final = SLOTS + N_SLOTS * SLOT_WORDS
#: words that a load with a 16-bit signed offset reaches
MAX_WORDS: Final = 4096
PAGE: Final = 4096

NEVER: Final = (1 << 64) - 1
"""For STOP_AT: no candidate."""

RECORD_HEADER: Final = 16
"""Bytes before the values of a collected record: u32 tid, u32 0, u64 hit."""


class Why(enum.IntEnum):
    """Why a program let a hit through.

    CANDIDATE: the condition is not 0.  UNDECIDED: the supervisor must decide.
    COLLECT: a candidate whose values the supervisor must collect: the ring is full, or one of
    them could not be read.
    """

    CANDIDATE = 1
    UNDECIDED = 2
    COLLECT = 3


class Told(NamedTuple):
    """A stop slot: the task, the number of the hit at the site (from 1), and why."""

    tid: int
    hit: int
    why: Why


def value_size(constants: int) -> int:
    """Bytes of a map for so many constants, whole pages."""
    return -(-(CONSTANTS + constants) * 8 // PAGE) * PAGE


def take_slot(values: Words, tid: int) -> Told | None:
    """What the program told of the stopped task `tid`, once; None when there is no slot."""
    for at in range(SLOTS, CONSTANTS, SLOT_WORDS):
        if values[at] and values[at + 1] == tid and values[at + 3]:
            told = Told(tid, values[at + 2], Why(values[at + 3]))
            values[at + 3] = 0
            values[at] = 0
            return told
    return None


def reset(values: Words) -> None:
    """Zero the counters and slots.  No task may run over the site meanwhile."""
    for at in (*range(TOLD + 1), *range(SLOTS, CONSTANTS)):
        values[at] = 0
