"""Recordings on disk: the format, its writer and reader, stored files, archives.

`docs/format.md` draws the format.  This file stays empty on purpose: the
recorder imports `relive.trace.writer` and must not pay for the reader.
"""
