"""Architecture facts as data: registers, calling convention, instruction bytes.

Nothing above this package names a register except through it.
"""
