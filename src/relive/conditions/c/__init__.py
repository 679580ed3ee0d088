"""C variables, fields and types in conditions.

`names` is what a name means at a site, `operands` what can be done with a variable, `lowering`
makes the intermediate form of the places that debugging information gives, `places` loads
from them, `typenames` reads types.  All of it ends as loads and arithmetic of
relive.conditions.ir, so that every evaluator has it.
"""

from __future__ import annotations
