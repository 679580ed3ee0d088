"""System-call facts as data: what each call reads, writes and may do.

`relive.syscalls.table` is the way in; a file per family holds the facts,
``encode.py`` hands them to the C core, ``format.py`` prints calls.
"""
