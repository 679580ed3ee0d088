"""Files that hits are saved to: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Sequence
from typing import IO, Any, Protocol, TypeAlias

from relive.errors import ReliveError, UsageError
from relive.live.facts import Block

FIXED = ("place", "address", "pid", "tid", "hit")


Values: TypeAlias = "Sequence[Sequence[int | None]]"


class Sink(Protocol):
    """Where records go."""

    def put(self, block: Block, values: Values, signed: Sequence[bool]) -> None:
        """Append records, with these in place of their columns.

        signed: which values are signed numbers; what the first block says is kept.
        Raises OSError, and ReliveError for a value that its column can't hold.
        """

    def close(self) -> None:
        """Write out what is left."""


def sink(path: str, names: Sequence[str], signed: Sequence[bool]) -> Sink:
    """A file for records with values of these names, by its extension.

    signed: which values are signed numbers, as far as it is known before there is any.
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


def _places(block: Block) -> tuple[list[str], list[int]]:
    """The columns place and address."""
    known = {one: (one.wanted.request.place, one.address) for one in set(block.armed)}
    both = [known[one] for one in block.armed]
    return [place for place, _ in both], [address for _, address in both]


class _Csv:
    """place,address,pid,tid,hit and the values in decimal; empty for what has no value."""

    def __init__(self, file: IO[str], columns: Sequence[str]) -> None:
        self._file = file
        self._writer = csv.writer(file)
        self._writer.writerow(columns)

    def put(self, block: Block, values: Values, signed: Sequence[bool]) -> None:
        columns = (*_places(block), [block.pid] * len(block), block.tids, block.hits, *values)
        self._writer.writerows(zip(*columns, strict=True))

    def close(self) -> None:
        self._file.close()


class _JsonLines:
    """An object a line; null for what has no value."""

    def __init__(self, file: IO[str], columns: Sequence[str]) -> None:
        self._file = file
        self._names = [json.dumps(name).replace("%", "%%") for name in columns]

    def put(self, block: Block, values: Values, signed: Sequence[bool]) -> None:
        places, addresses = _places(block)
        quoted = {place: json.dumps(place) for place in set(places)}
        columns: list[Sequence[object]] = [[quoted[place] for place in places], addresses]
        columns += [[block.pid] * len(block), block.tids, block.hits]
        columns += [
            column
            if isinstance(column, array)
            else ["null" if value is None else value for value in column]
            for column in values
        ]
        nulls = [f"{name}: null" for name in self._names[len(columns) :]]
        fields = [f"{name}: %s" for name in self._names[: len(columns)]]
        line = "{" + ", ".join(fields + nulls) + "}\n"
        self._file.write("".join([line % row for row in zip(*columns, strict=True)]))

    def close(self) -> None:
        self._file.close()


class _Parquet:
    """Columns of 64-bit integers: unsigned, but signed for expressions that are."""

    def __init__(self, path: str, columns: Sequence[str], signed: Sequence[bool]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise ReliveError(
                "Parquet files are written with pyarrow, which is not installed",
                "pip install pyarrow, or save to .csv or .jsonl",
            ) from None
        self._arrow = pyarrow
        self._parquet = pyarrow.parquet
        self._names = columns
        self._signed = list(signed)
        self._file = open(path, "wb")  # noqa: SIM115
        self._schema: Any = None
        self._writer: Any = None
        self._tables: list[Any] = []
        self._rows = 0

    def _begin(self, signed: Sequence[bool]) -> None:
        """Decide the types of the columns, and write the beginning of the file."""
        if self._writer is not None:
            return
        arrow = self._arrow
        count = len(self._names) - len(FIXED)
        signed = [*signed, *[False] * count][:count]
        kinds = [arrow.string(), arrow.uint64(), *[arrow.int32()] * 2, arrow.uint64()]
        kinds += [arrow.int64() if one else arrow.uint64() for one in signed]
        self._schema = arrow.schema(list(zip(self._names, kinds, strict=True)))
        self._writer = self._parquet.ParquetWriter(self._file, self._schema)

    def put(self, block: Block, values: Values, signed: Sequence[bool]) -> None:
        self._begin(signed)
        places, addresses = _places(block)
        columns: list[Sequence[object] | None] = [places, addresses, [block.pid] * len(block)]
        columns += [list(block.tids), block.hits, *values]
        columns += [None] * (len(self._schema) - len(columns))
        arrays = [
            self._array(column, field, len(block))
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._tables.append(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows += len(block)
        if self._rows >= 1 << 18:
            self._flush()

    def _array(self, column: Sequence[object] | None, field: Any, length: int) -> Any:
        arrow, kind = self._arrow, field.type
        if column is None:
            return arrow.nulls(length, kind)
        if isinstance(column, array) and (column.typecode == "q") == (kind == arrow.int64()):
            return arrow.Array.from_buffers(kind, length, [None, arrow.py_buffer(column)])
        try:
            return arrow.array(column, type=kind)
        except (OverflowError, arrow.ArrowInvalid):
            raise ReliveError(
                f"{field.name} is signed at one site and unsigned at another, and a value does not"
                " fit into their common column",
                "write u64(...) or i64(...) around the expression",
            ) from None

    def _flush(self) -> None:
        if self._tables:
            self._writer.write_table(self._arrow.concat_tables(self._tables))
        self._tables.clear()
        self._rows = 0

    def close(self) -> None:
        self._begin(self._signed)
        self._flush()
        self._writer.close()
        self._file.close()
