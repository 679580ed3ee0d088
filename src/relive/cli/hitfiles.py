"""Files that hits are saved to: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from typing import IO, Any, Protocol

from relive.errors import ReliveError, UsageError
from relive.live.facts import Record

FIXED = ("place", "address", "pid", "tid", "hit")


class Sink(Protocol):
    """Where records go.  Each takes the values as they are to be shown."""

    def put(self, records: Sequence[Record], values: Sequence[Sequence[int | None]]) -> None:
        """Append.  Raises OSError."""

    def close(self) -> None:
        """Write out what is left."""


def sink(path: str, names: Sequence[str], signed: Sequence[bool]) -> Sink:
    """A file for records with values of these names, by its extension.

    signed: which values are signed numbers.
    Raises UsageError for an unknown one, ReliveError when the file can't be made.
    """
    columns = [*FIXED, *_distinct(names)]
    try:
        if path.endswith(".csv"):
            return _Csv(open(path, "w", newline="", encoding="utf-8"), columns)
        if path.endswith((".jsonl", ".ndjson")):
            return _JsonLines(open(path, "w", encoding="utf-8"), columns)
        if path.endswith(".parquet"):
            return _Parquet(path, columns, signed)
    except OSError as error:
        raise ReliveError(f"{path} can't be written: {error.strerror}") from None
    raise UsageError(
        f"break: what to write to {path} is not known", "its name ends in .csv, .jsonl or .parquet"
    )


def _distinct(names: Sequence[str]) -> list[str]:
    result: list[str] = []
    for name in names:
        number = 2
        chosen = name
        while chosen in result or chosen in FIXED:
            chosen = f"{name} ({number})"
            number += 1
        result.append(chosen)
    return result


def _row(record: Record, values: Sequence[int | None]) -> list[Any]:
    return [record.place, record.address, record.pid, record.tid, record.hit, *values]


class _Csv:
    """place,address,pid,tid,hit and the values in decimal; empty for what has no value."""

    def __init__(self, file: IO[str], columns: Sequence[str]) -> None:
        self._file = file
        self._writer = csv.writer(file)
        self._writer.writerow(columns)

    def put(self, records: Sequence[Record], values: Sequence[Sequence[int | None]]) -> None:
        pairs = zip(records, values, strict=True)
        self._writer.writerows(_row(record, one) for record, one in pairs)

    def close(self) -> None:
        self._file.close()


class _JsonLines:
    """An object a line; null for what has no value."""

    def __init__(self, file: IO[str], columns: Sequence[str]) -> None:
        self._file = file
        self._columns = columns

    def put(self, records: Sequence[Record], values: Sequence[Sequence[int | None]]) -> None:
        for record, one in zip(records, values, strict=True):
            row = dict(zip(self._columns, _row(record, one), strict=True))
            self._file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        self._file.close()


class _Parquet:
    """Columns of 64-bit integers: unsigned, but signed for expressions that are."""

    def __init__(self, path: str, columns: Sequence[str], signed: Sequence[bool]) -> None:
        try:
            import pyarrow  # type: ignore[import-not-found]
            import pyarrow.parquet  # type: ignore[import-not-found]
        except ImportError:
            raise ReliveError(
                "Parquet files are written with pyarrow, which is not installed",
                "pip install pyarrow, or save to .csv or .jsonl",
            ) from None
        kinds = [pyarrow.string(), pyarrow.uint64(), *[pyarrow.int32()] * 2, pyarrow.uint64()]
        kinds += [pyarrow.int64() if one else pyarrow.uint64() for one in signed]
        self._arrow = pyarrow
        self._schema = pyarrow.schema(list(zip(columns, kinds, strict=True)))
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self._rows: list[list[Any]] = []

    def put(self, records: Sequence[Record], values: Sequence[Sequence[int | None]]) -> None:
        for record, one in zip(records, values, strict=True):
            self._rows.append(_row(record, one))
        if len(self._rows) >= 1 << 16:
            self._flush()

    def _flush(self) -> None:
        arrow = self._arrow
        arrays = [
            arrow.array([row[at] for row in self._rows], type=field.type)
            for at, field in enumerate(self._schema)
        ]
        self._writer.write_table(arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        self._flush()
        self._writer.close()
