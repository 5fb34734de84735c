"""Usage events from lines of JSON: columnar where they are of our own shape, line by line only where they are not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.json as pj

from ingest.rows import ATTRIBUTES, TOKEN_KINDS, USAGE, Rejected
from ingest.sources.base import Normalized
from ingest.sources.formats import classify, instants, lines, openings
from ingest.sources.formats.usage import usage_bodies, usage_checks

BATCH_ROWS = 100_000
EXTRA = "extra as text"  # a key of an event under which everything without a column travels, as JSON in text
OUTCOMES = ("ok", "error", "refused", "cancelled", "unknown")

_ATTRIBUTE_TYPE = pa.struct([(name, pa.string()) for name in ATTRIBUTES])
_KNOWN = pa.schema(
    [(name, pa.string()) for name in usage_bodies.TEXTS]
    + [(name, pa.int64()) for name in (*usage_bodies.COUNTS, *usage_bodies.NUMBERS)]
    + [("usage_known", pa.bool_()), ("attributes", _ATTRIBUTE_TYPE)]
)
_KNOWN_NAMES = frozenset(_KNOWN.names)
_ATTRIBUTE_NAMES = frozenset(ATTRIBUTES)
_COLUMN_TYPES = pl.Schema(_KNOWN)
_SLOW = usage_bodies.BODY_KEYS | (usage_bodies.ALIASES.keys() - {"provider", "model", "operation", "status", "time"})
_AMBIGUOUS = {
    "provider",
    "model",
    "operation",
    "status",
    "time",
}  # aliases that may as well be somebody's own extra key


# NUL, which PostgreSQL cannot hold, and halves of surrogate pairs, as they are escaped.
_ODD_ESCAPES = (b"\\u0000", b"\\ud", b"\\uD")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a source fills in where a line says nothing."""

    provider: str = ""
    deployment: str = ""


@dataclass(slots=True)
class Seen:
    """Which of the known keys the lines of a file have so far. Each column read costs time, even where it is empty."""

    top: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    has_unknown: bool = False

    def add(self, table: pa.Table) -> None:
        """Remembers what was found reading with all known keys."""
        self.top |= {name for name in _KNOWN.names if table.column(name).null_count < table.num_rows}
        kind = table.schema.field("attributes").type
        self.attributes |= {inner.name for inner in kind if inner.name in ATTRIBUTES}
        self.has_unknown |= table.num_columns > len(_KNOWN) or kind.num_fields > len(ATTRIBUTES)

    def schema(self) -> pa.Schema:
        """The columns to read when these are all."""
        inner = [one for one in _ATTRIBUTE_TYPE if one.name in self.attributes] or [_ATTRIBUTE_TYPE.field(0)]
        known = [one.with_type(pa.struct(inner)) if one.name == "attributes" else one for one in _KNOWN]
        return pa.schema([one for one in known if one.name in self.top])


def normalize(part: openings.Part, defaults: Defaults) -> Iterator[Normalized]:
    """The events of one file in batches. Lines that cannot be read are rejected by number and field; the rest load."""
    seen = Seen()
    with openings.stream(part) as stream:
        for block in lines.blocks(stream, name=part.name):
            yield from of_block(block, part.name, defaults, seen)


def of_block(block: lines.Block, name: str, defaults: Defaults, seen: Seen) -> Iterator[Normalized]:
    """The events of one block of lines; `seen` is kept from block to block of a file."""
    rejected = list(block.rejected)
    found = _columnar(block, seen)
    if found is None:
        block, found = _line_by_line(block, name, rejected)
    frame = found.with_columns(block.rows.alias("row_number"))
    frame = _with_ids(_prepared(frame, defaults), block)
    marks = usage_checks.wrong(frame)
    if marks.any():
        rejected += usage_checks.reasons(frame, marks, block, name)
        frame = frame.filter(~marks)
    rejected.sort(key=lambda each: each.row)
    table = _shaped(frame)
    for offset in range(0, max(table.num_rows, 1), BATCH_ROWS):
        batch = table.slice(offset, BATCH_ROWS).combine_chunks()
        batches = batch.to_batches() or [pa.RecordBatch.from_pylist([], schema=USAGE)]
        yield Normalized(batches[0], rejected if offset == 0 else ())


def _columnar(block: lines.Block, seen: Seen) -> pl.DataFrame | None:
    """The block read as columns, or None when any line of it needs a closer look."""
    if not len(block.rows) or _has_odd_text(block.data):
        return None
    try:
        if not block.data.isascii():
            block.data.decode("utf-8")  # Arrow's reader would pass on what is not UTF-8
        first = orjson.loads(block.line(0))
        if not isinstance(first, dict) or usage_bodies.is_body(first):
            return None
        if (narrow := _read_seen(block, first, seen)) is not None:
            return narrow
        table = _read(block.data, _KNOWN)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, orjson.JSONDecodeError, UnicodeDecodeError):
        return None
    unusual = _SLOW | {name for name in _AMBIGUOUS if table.column(usage_bodies.ALIASES[name]).null_count}
    attributes = {field.name.lower() for field in table.schema.field("attributes").type}
    if table.num_rows != len(block.rows) or unusual & set(table.schema.names):
        return None
    if attributes & usage_bodies.ATTRIBUTE_ALIASES.keys():
        return None
    seen.add(table)
    return _frame(table)


def _read_seen(block: lines.Block, first: dict[str, object], seen: Seen) -> pl.DataFrame | None:
    """The block read with the columns seen so far and those of its first line, or None when it holds any other key."""
    attributes = first.get("attributes")
    seen.top |= _KNOWN_NAMES & first.keys()
    seen.attributes |= _ATTRIBUTE_NAMES & attributes.keys() if isinstance(attributes, dict) else set()
    if seen.has_unknown:
        return None
    try:
        table = pj.read_json(
            pa.BufferReader(block.data),
            read_options=pj.ReadOptions(block_size=max(len(block.data) // 8, 4 << 20)),
            parse_options=pj.ParseOptions(explicit_schema=seen.schema(), unexpected_field_behavior="error"),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(block.rows):
        return None
    frame = _frame(table)
    missing = [name for name in _KNOWN.names if name not in frame.columns]
    return frame.with_columns(pl.lit(None, dtype=_COLUMN_TYPES[name]).alias(name) for name in missing)


def _has_odd_text(data: bytes) -> bool:
    return b"\x00" in data or (b"\\" in data and any(odd in data for odd in _ODD_ESCAPES))


def _line_by_line(block: lines.Block, name: str, rejected: list[Rejected]) -> tuple[lines.Block, pl.DataFrame]:
    """The readable lines of a block as columns; the others are added to `rejected`."""
    kept, events = [], []
    rows = block.rows.to_list()
    for index, row in enumerate(rows):
        try:
            events.append(orjson.dumps(usage_bodies.event(block.line(index))))
            kept.append(index)
        except usage_bodies.Unreadable as problem:
            rejected.append(Rejected(name, row, problem.field, str(problem), block.head(index)))
    readable = lines.Block(block.data, block.starts.gather(kept), block.ends.gather(kept), block.rows.gather(kept))
    if not events:
        return readable, _frame(_KNOWN.empty_table())
    return readable, _frame(_read(b"\n".join(events), _KNOWN, extra_as_text=True))


def _read(data: bytes, schema: pa.Schema, *, extra_as_text: bool = False) -> pa.Table:
    """Known columns by our schema, unknown ones as they come; text that merely looks like a date stays text."""
    try:
        table = pj.read_json(
            pa.BufferReader(data),
            read_options=pj.ReadOptions(block_size=max(len(data) // 8, 4 << 20)),
            parse_options=pj.ParseOptions(explicit_schema=schema),
        )
    except pa.ArrowInvalid:
        if not extra_as_text:
            raise
        return _read_with_text_extra(data, schema)
    guessed = [_without_instants(field) for field in table.schema]
    if pa.schema(guessed).equals(table.schema):
        return table
    return _read(data, pa.schema(guessed), extra_as_text=extra_as_text)


def _read_with_text_extra(data: bytes, schema: pa.Schema) -> pa.Table:
    """The same where extra keys change their type from line to line: they travel together, as one JSON text."""
    rewritten = []
    for line in data.split(b"\n"):
        parsed = orjson.loads(line)
        own = {key: value for key, value in parsed.items() if key in schema.names}
        attributes = own.get("attributes") or {}
        loose = {key: value for key, value in attributes.items() if key not in ATTRIBUTES}
        loose |= {key: value for key, value in parsed.items() if key not in schema.names}
        own["attributes"] = {key: value for key, value in attributes.items() if key in ATTRIBUTES}
        own[EXTRA] = orjson.dumps(loose).decode()
        rewritten.append(orjson.dumps(own))
    return _read(b"\n".join(rewritten), schema)


def _without_instants(field: pa.Field) -> pa.Field:
    if pa.types.is_timestamp(field.type):
        return pa.field(field.name, pa.string())
    if pa.types.is_struct(field.type):
        return pa.field(field.name, pa.struct([_without_instants(inner) for inner in field.type]))
    if pa.types.is_list(field.type):
        return pa.field(field.name, pa.list_(_without_instants(field.type.value_field)))
    return field


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)  # a table is never a single column
    return frame


def _prepared(frame: pl.DataFrame, defaults: Defaults) -> pl.DataFrame:
    """The frame with what the checks look at: instants, provider, disjoint kinds."""
    count = {key: pl.col(name) for name, key in usage_bodies.COUNTS.items()}
    part = {key: column.fill_null(0) for key, column in count.items()}
    known = pl.col("usage_known").fill_null(count["input_tokens"].is_not_null() | count["output_tokens"].is_not_null())
    kinds = {
        "input_uncached": count["input_tokens"]
        - part["cache_read_tokens"]
        - part["cache_write_tokens"]
        - part["input_audio_tokens"]
        - part["input_image_tokens"],
        "cache_read": part["cache_read_tokens"],
        "cache_write_5m": part["cache_write_tokens"] - part["cache_write_1h_tokens"],
        "cache_write_1h": part["cache_write_1h_tokens"],
        "output": count["output_tokens"] - part["output_audio_tokens"],
        "reasoning": part["output_reasoning_tokens"],
        "audio_input": part["input_audio_tokens"],
        "audio_output": part["output_audio_tokens"],
        "image_input": part["input_image_tokens"],
    }
    provider = _filled("gen_ai.provider.name", defaults.provider)
    return frame.with_columns(
        instants.parse(frame["occurred_at"]).alias("instant"),
        _mapped(provider, classify.otel_provider).alias("provider_name"),
        known.alias("known"),
        *(value.alias(f"kind_{kind}") for kind, value in kinds.items()),
        _filled("deployment", defaults.deployment).alias("deployment"),
    )


def _filled(name: str, default: str) -> pl.Expr:
    column = pl.col(name).fill_null("")
    return pl.when(column == "").then(pl.lit(default)).otherwise(column) if default else column


def _mapped(column: pl.Expr, change: Callable[[str], str]) -> pl.Expr:
    """A function of text over its few distinct values."""

    def over(series: pl.Series) -> pl.Series:
        distinct = series.unique()
        return series.replace_strict(distinct, [change(text) for text in distinct], return_dtype=pl.String)

    return column.map_batches(over, return_dtype=pl.String)


def _with_ids(frame: pl.DataFrame, block: lines.Block) -> pl.DataFrame:
    """Events without an id get one from their content."""
    missing = frame["event_id"].fill_null("") == ""
    if not missing.any():
        return frame
    made = [
        usage_bodies.content_id(orjson.loads(block.line(index))) if absent else ""
        for index, absent in enumerate(missing)
    ]
    return frame.with_columns(
        pl.when(missing).then(pl.Series(made, dtype=pl.String)).otherwise(pl.col("event_id")).alias("event_id")
    )


def _shaped(frame: pl.DataFrame) -> pa.Table:
    """The columns of the USAGE schema, in its order and types."""
    status = pl.col("http.response.status_code").fill_null(0)
    given = pl.col("outcome").fill_null("")
    outcome = (
        pl.when(given.is_in(OUTCOMES))
        .then(given)
        .when(status >= 400)
        .then(pl.lit("error"))
        .when((status >= 200) & (status < 300))
        .then(pl.lit("ok"))
        .otherwise(pl.lit("unknown"))
    )
    frame = frame.with_columns(_extra(frame))
    # Counts that came with `usage_known: false` are a lower bound, as of a stream that was cut: they are kept and count.
    said = pl.any_horizontal(pl.col(f"kind_{name}") > 0 for name in TOKEN_KINDS).fill_null(value=False)
    kind = {name: pl.when(pl.col("known") | said).then(pl.col(f"kind_{name}")) for name in TOKEN_KINDS}
    request = _filled("gen_ai.request.model", "")
    response = pl.col("gen_ai.response.model").fill_null("")
    columns = {
        "row_number": pl.col("row_number"),
        "event_id": pl.col("event_id"),
        "occurred_at": pl.col("instant"),
        "provider": pl.col("provider_name"),
        "request_model": pl.when(request == "").then(response).otherwise(request),
        "response_model": pl.when(response == "").then(request).otherwise(response),
        "operation": _filled("gen_ai.operation.name", "chat"),
        "deployment": pl.col("deployment"),
        "service_tier": pl.col("service_tier").fill_null(""),
        **kind,
        "usage_known": pl.col("known"),
        "latency_ms": pl.col("latency_ms"),
        "ttft_ms": pl.col("ttft_ms"),
        "status": status,
        "outcome": outcome,
        "trace_id": pl.col("trace_id").fill_null(""),
        "session_id": pl.col("session_id").fill_null(""),
        "extra": pl.col("extra_json"),
        **{f"attr_{name}": _attribute(frame, name) for name in ATTRIBUTES},
    }
    shaped = frame.select(value.alias(name) for name, value in columns.items())
    return shaped.to_arrow().cast(USAGE)


def _attribute(frame: pl.DataFrame, name: str) -> pl.Expr:
    kind = frame.schema["attributes"]
    assert isinstance(kind, pl.Struct)  # the schema we read with says so
    if name not in {inner.name for inner in kind.fields}:
        return pl.lit("")
    return pl.col("attributes").struct.field(name).fill_null("")


def _extra(frame: pl.DataFrame) -> pl.Expr:
    """Everything that has no column, as one JSON object without its nulls."""
    own = {*_KNOWN.names, "row_number", "instant", "provider_name", "known", *(f"kind_{kind}" for kind in TOKEN_KINDS)}
    if EXTRA in frame.columns:
        return pl.col(EXTRA).alias("extra_json")
    top = [name for name, kind in frame.schema.items() if name not in own and kind != pl.Null]
    attribute_type = frame.schema["attributes"]
    assert isinstance(attribute_type, pl.Struct)  # the schema we read with says so
    loose = [field.name for field in attribute_type.fields if field.name not in ATTRIBUTES and field.name not in top]
    if not top and not loose:
        return pl.lit("{}").alias("extra_json")
    gathered = pl.struct(*top, *(pl.col("attributes").struct.field(name) for name in loose)).struct.json_encode()
    return _mapped(gathered, _without_nulls).alias("extra_json")


def _without_nulls(text: str) -> str:
    return orjson.dumps(_pruned(orjson.loads(text))).decode()


def _pruned(value: object) -> object:
    if isinstance(value, dict):
        return {key: _pruned(inner) for key, inner in value.items() if inner is not None}
    return [_pruned(inner) for inner in value] if isinstance(value, list) else value
