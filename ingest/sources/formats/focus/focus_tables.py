"""Reading CSV and Parquet files of a bill as tables of text, in pieces that fit in memory."""

import csv
import re
from collections.abc import Callable, Iterator
from typing import IO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from ingest.sources.base import BadDelivery
from ingest.sources.formats import openings

BATCH_ROWS = 100_000
# Arrow reads up to 32 blocks ahead, so a block bounds the memory; several make one table.
_BLOCK_BYTES = 4 << 20
_TABLE_ROWS = 25_000
_HEADER_BYTES = 1 << 20
# Of one column of some rows: as text of a bill it would be a sentence of a thousand words in each.
_MOST_BYTES = 512 << 20
_DELIMITERS = (",", ";", "\t", "|")
# Between the pairs of a map, between a key and its value, and for no value: ASCII separators, which no tag may hold.
_PAIR, _VALUE, _NULL = "\x1e", "\x1f", "\x1d"
_LINE_END = re.compile(r"\r\n|\n|\r")
_BY_LINE = re.compile(r"(?:Row #|[Rr]ow )(\d+)")


def tables(
    part: openings.Part, wanted: Callable[[str], bool] = lambda _: True, *, rows: int = BATCH_ROWS
) -> Iterator[pa.Table]:
    """A file's rows in order, at most `rows` at a time, all text except instants. BadDelivery names damage.

    Columns whose title is not `wanted` are left out.
    """
    try:
        if openings.is_parquet(part):
            yield from _parquet(part, wanted, rows)
        else:
            with openings.stream(part) as stream:
                head = _read_up_to(stream, _HEADER_BYTES)
            with openings.stream(part) as stream:
                # A plain file is read by Arrow itself, without Python in between.
                plain = part.path and not openings.is_compressed(part)
                source = pa.OSFile(part.path) if plain else pa.PythonFile(stream, mode="r")
                yield from _csv(source, head, part.name, wanted, rows)
    except FileNotFoundError as problem:
        raise openings.broken(part.name, "the file is named but does not exist") from problem
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeError, csv.Error) as problem:
        reason = str(problem).partition("\n")[0]
        row = _BY_LINE.search(reason)
        # The library counts the header as row 1.
        raise openings.broken(part.name, reason, row=max(int(row.group(1)) - 1, 0) if row else 0) from problem


def _csv(source: pa.NativeFile, head: bytes, name: str, wanted: Callable[[str], bool], rows: int) -> Iterator[pa.Table]:
    if not head.strip(b"\xef\xbb\xbf\r\n \x00"):
        raise openings.broken(name, "the file is empty: not even a header")
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf8"
    first = _LINE_END.split(head.decode(encoding if encoding == "utf-16" else "utf-8-sig", "replace"), 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    titles = next(csv.reader([first], delimiter=delimiter), [])
    chosen = [f"f{position}" for position, title in enumerate(titles) if wanted(title)]
    reader = pcsv.open_csv(
        source,
        read_options=pcsv.ReadOptions(
            use_threads=False, block_size=_BLOCK_BYTES, encoding=encoding, autogenerate_column_names=True
        ),
        parse_options=pcsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        # Without names from the header nothing is guessed from it: types are forced to text by position.
        convert_options=pcsv.ConvertOptions(
            column_types={f"f{position}": pa.string() for position in range(_width(first, delimiter) + 1)},
            include_columns=chosen if 0 < len(chosen) < len(titles) else [],
            strings_can_be_null=True,
            null_values=["", "NULL", "null", "Null"],
        ),
    )
    header: list[str] = []
    for table in _gathered(reader):
        if not header and table.num_rows:
            header = [str(column[0]).lstrip("\ufeff") for column in table.columns]
            table = table.slice(1)
        for offset in range(0, table.num_rows, rows):
            yield _named(table.slice(offset, rows), header)
    if header:
        yield _named(pa.table([pa.array([], pa.string()) for _ in header], names=header), header)


def _gathered(reader: pcsv.CSVStreamingReader) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in reader:
        held.append(batch)
        rows += batch.num_rows
        if rows >= _TABLE_ROWS:
            yield pa.Table.from_batches(held)
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _width(first_line: str, delimiter: str) -> int:
    return first_line.count(delimiter) + 1


def _named(table: pa.Table, header: list[str]) -> pa.Table:
    return pa.Table.from_arrays([_text(column) for column in table.columns], names=header)


def _parquet(part: openings.Part, wanted: Callable[[str], bool], rows: int) -> Iterator[pa.Table]:
    source = part.path or pa.BufferReader(part.content)
    try:
        # Texts as the dictionaries they are stored as: a small file may repeat a large text a million times.
        schema = pq.read_schema(source)
        texts = [each.name for each in schema if pa.types.is_string(each.type) or pa.types.is_large_string(each.type)]
        file = pq.ParquetFile(source, read_dictionary=texts)
    except (pa.ArrowInvalid, OSError) as problem:
        raise openings.broken(part.name, f"the Parquet file is truncated or damaged ({problem})") from problem
    with file:
        # By position: two columns may have one name, and both are read.
        chosen = [position for position, name in enumerate(file.schema_arrow.names) if wanted(name)]
        names = [file.schema_arrow.names[position] for position in chosen]
        try:
            yield _typed(file.schema_arrow.empty_table().select(chosen), names)
            for batch in file.iter_batches(batch_size=rows, columns=list(dict.fromkeys(names))):
                yield _typed(pa.Table.from_batches([batch]), names)
        except BadDelivery:
            raise
        except OSError as problem:
            raise openings.broken(part.name, f"the Parquet file is truncated or damaged ({problem})") from problem


def _typed(table: pa.Table, names: list[str]) -> pa.Table:
    return pa.Table.from_arrays([_text(column) for column in table.columns], names=names)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as text without loss; instants keep their type, in UTC."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        if (size := sum(map(_spelled_out, column.chunks))) > _MOST_BYTES:
            raise pa.ArrowInvalid(f"{len(column):,} rows of one column are {size:,} bytes of text: no bill is so long")
        return _text(column.cast(kind.value_type))
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", tz="UTC"), safe=False)
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
    if pa.types.is_nested(kind):
        return pa.chunked_array([_json(column)])
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column.cast(pa.string())
    if pa.types.is_null(kind):
        return pa.chunked_array([pa.array([""] * len(column), pa.string())])
    text = column if pa.types.is_string(kind) else column.cast(pa.string())
    return pc.fill_null(text, "") if text.null_count else text


def _spelled_out(chunk: pa.DictionaryArray) -> int:
    """How many bytes the texts of a dictionary take once each row has its own."""
    if not (pa.types.is_string(chunk.type.value_type) or pa.types.is_large_string(chunk.type.value_type)):
        return 0
    return pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0


def _json(column: pa.ChunkedArray) -> pa.Array:
    """Maps, structs and lists (Tags, SkuPriceDetails) as JSON; a map's pairs become an object."""
    kind = column.type
    if pa.types.is_map(kind) and pa.types.is_string(kind.key_type) and pa.types.is_string(kind.item_type):
        return _maps(column)
    is_map = pa.types.is_map(kind)
    found = []
    for value in column.to_pylist():
        if value is None:
            found.append("")
            continue
        found.append(orjson.dumps(dict(value) if is_map else value, default=str).decode())
    return pa.array(found, pa.string())


def _maps(column: pa.ChunkedArray) -> pa.Array:
    """Maps of text, each distinct one turned into JSON once: bills repeat them in every line."""
    pieces = []
    for chunk in column.chunks:
        pairs = pc.binary_join_element_wise(chunk.keys, pc.fill_null(chunk.items, _NULL), _VALUE)
        joined = pc.binary_join(pa.ListArray.from_arrays(chunk.offsets, pairs), _PAIR)
        pieces.append(pc.if_else(chunk.is_null(), pa.scalar(None, pa.string()), joined))
    encoded = pa.chunked_array(pieces, pa.string()).combine_chunks().dictionary_encode()
    told = []
    for text in encoded.dictionary.to_pylist():
        pairs = dict(pair.split(_VALUE, 1) for pair in text.split(_PAIR)) if text else {}
        told.append(orjson.dumps({key: None if each == _NULL else each for key, each in pairs.items()}).decode())
    return pc.fill_null(pa.array(told, pa.string()).take(encoded.indices), "")


def _read_up_to(stream: IO[bytes], size: int) -> bytes:
    pieces = []
    while size > 0 and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
