"""What debugging information says of a program's variables and their types (DWARF 2 to 5).

`info` finds the entries of one file by address and by name, `scopes` what a name means at an
address, `types` is what C knows of a type, `locations` where a variable is at an address, `abi`
where parameters are before a function's first instruction.

pyelftools reads the entries; it is imported when they are asked for first.  Nothing is read as a
whole: a unit is found by its addresses, a name by the bytes that refer to it.
"""

from __future__ import annotations
