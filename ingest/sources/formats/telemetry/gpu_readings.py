"""GPU samples from series of any exporter: which accelerator, which workload, and one row for each moment."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from ingest.rows import GPU_SAMPLE
from ingest.sources.formats.telemetry.prometheus import Series

Labels = Mapping[str, str]

_HASHES = re.compile(r"-[bcdf-hj-np-tv-z2456789]{5}$")
_REPLICA_SET = re.compile(r"-[bcdf-hj-np-tv-z2456789]{8,10}$")
_ORDINAL = re.compile(r"-\d+$")
# The label was renamed in dcgm-exporter on 2026-05-12 (commit d5e5f51).
_NODES = (
    *("hostname", "Hostname", "exported_hostname", "exported_Hostname"),
    *("instance_id", "node", "node_name", "kubernetes_node", "instance"),
)
_SAID = ("node", "gpu_index", "mig_profile", "gpu_model", "namespace", "pod", "container", "deployment")
_KEYS = {"at": pl.Int64, "device": pl.UInt32, "speaker": pl.UInt32}
_SERIES = {
    "series": pl.UInt32,
    "device": pl.UInt32,
    "speaker": pl.UInt32,
    "name": pl.String,
    "per": pl.Float64,
    "rank": pl.UInt8,
    "is_part": pl.Boolean,
}
_OF_BOARD = ("power_watts", "energy_millijoules")
_KEPT = ("sm_active", "tensor_active", "dram_active", "power_watts", "memory_used_mib")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one metric says: our column for it, and how many of its own units one of ours is.

    Where several metrics say the same, the one with the lowest `rank` counts; `is_part` says that they are summed.
    """

    column: str
    per: float = 1
    rank: int = 0
    is_part: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Which accelerator, or slice of one, a series is about."""

    uuid: str
    instance: str = ""
    profile: str = ""
    index: str = ""
    model: str = ""
    # False where the readings of the whole board (power, energy) belong to another part of it.
    is_board: bool = True


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How one exporter names things. `is_blank` says of a `value` of a `column` that it is no reading, besides what is no
    number or negative; `activities` are our columns of activity 0 to 1 in the order of trust, by the
    word for where activity was read; `exporters` are what the names of the exporter's own pods hold.
    """

    readings: Mapping[str, Reading]
    identify: Callable[[Labels], Identity | None]
    is_blank: pl.Expr
    activities: Mapping[str, str]
    exporters: Sequence[str]
    # Our column -> what Prometheus is asked for; several metrics where versions of the exporter differ.
    queries: Mapping[str, str]
    # The label with the name that a process gave itself, where the exporter knows no pods.
    tag_label: str = ""


@dataclass(frozen=True, slots=True)
class Naming:
    """How series are named after the fleet's own words: our deployment for a pod, our node for a host name."""

    # pod, namespace/workload, workload, node/GPU or node -> deployment
    deployments: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)
    deployment_label: str = ""


@dataclass(frozen=True, slots=True)
class _Told:
    """One series: which accelerator it is about, and what its labels say of that."""

    labels: Labels
    name: str
    reading: Reading
    identity: Identity


_Voice = tuple[bool, bool, str, str]


class Gathering:
    """Series come one by one; samples go out by time and GPU. The same reading delivered twice counts once."""

    def __init__(self, vocabulary: Vocabulary, naming: Naming) -> None:
        self._vocabulary = vocabulary
        self._naming = naming
        self._told: list[_Told] = []
        self._points: list[pl.DataFrame] = []

    def take(self, found: Iterable[Series], *, column: str = "") -> None:
        """Adds series: by their names, or as readings of `column` where a query of the user's gave them no name."""
        series: list[int] = []
        points: list[tuple[int, str]] = []
        for one in found:
            reading = self._vocabulary.readings.get(one.name)
            if reading is None and column:
                reading = self._default(column)
            identity = self._vocabulary.identify(one.labels)
            if reading is None or identity is None or (reading.column in _OF_BOARD and not identity.is_board):
                continue
            series += [len(self._told)] * len(one.points)
            points += one.points
            self._told.append(_Told(one.labels, one.name, reading, identity))
        frame = pl.DataFrame(points, schema={"at": pl.Int64, "text": pl.String}, orient="row")
        self._points.append(
            frame.select(
                pl.Series("series", series, dtype=pl.UInt32), "at", value=pl.col("text").cast(pl.Float64, strict=False)
            )
        )

    def batch(self, *, interval_seconds: int) -> pa.RecordBatch:
        """The samples in order of time and GPU, as rows of the GPU_SAMPLE schema."""
        devices = sorted({(told.identity.uuid, told.identity.instance) for told in self._told})
        names = pl.DataFrame(devices, schema=dict.fromkeys(("uuid", "instance"), pl.String), orient="row")
        # One column after the other: all at once would hold every label of every point.
        numbers = {device: number for number, device in enumerate(devices)}
        voices = self._voices()
        orders = {voice: order for order, voice in enumerate(voices)}
        columns = {column: self._of_column(column, numbers, orders) for column in self._columns()}
        keys = pl.concat([pl.DataFrame(schema=_KEYS), *(found.select(*_KEYS) for found in columns.values())])
        rows = keys.group_by("at", "device").agg(pl.col("speaker").min()).sort("at", "device")
        for column, found in columns.items():
            kept = found.select("at", "device", pl.col("value").alias(column))
            rows = rows.join(kept, on=["at", "device"], how="left", maintain_order="left")
        rows = rows.join(self._speakers(voices.values()), on="speaker", maintain_order="left")
        rows = rows.join(names.with_row_index("device"), on="device", maintain_order="left")
        frame = rows.select(**self._shaped(rows.columns, interval_seconds))
        arrow: pa.Table = frame.select(GPU_SAMPLE.names).to_arrow().cast(GPU_SAMPLE).combine_chunks()
        return next(iter(arrow.to_batches()), pa.RecordBatch.from_pylist([], schema=GPU_SAMPLE))

    def _default(self, column: str) -> Reading | None:
        known = (reading for reading in self._vocabulary.readings.values() if reading.column == column)
        return min(known, key=lambda reading: reading.rank, default=None)

    def _columns(self) -> list[str]:
        return sorted({told.reading.column for told in self._told})

    def _of_column(
        self, column: str, devices: Mapping[tuple[str, str], int], orders: Mapping[_Voice, int]
    ) -> pl.DataFrame:
        """What this column is at each moment of each GPU, in our units. Of metrics that say the same the best is kept, of
        repeated readings the largest.
        """
        series = pl.DataFrame(
            [
                (
                    number,
                    devices[told.identity.uuid, told.identity.instance],
                    orders[self._voice(told)],
                    told.name,
                    told.reading.per,
                    told.reading.rank,
                    told.reading.is_part,
                )
                for number, told in enumerate(self._told)
                if told.reading.column == column
            ],
            schema=_SERIES,
            orient="row",
        )
        found = [
            points.join(series, on="series")
            .with_columns(column=pl.lit(column))
            .filter(pl.col("value").is_finite() & (pl.col("value") >= 0) & ~self._vocabulary.is_blank)
            .with_columns(pl.col("value") / pl.col("per"))
            for points in self._points
        ]
        return _summed(pl.concat(found))

    def _speakers(self, voices: Iterable[_Told]) -> pl.DataFrame:
        """What the labels of a series say, by its place in the order in which they are heard."""
        rows = [(order, *self._says(told)) for order, told in enumerate(voices)]
        return pl.DataFrame(rows, schema={"speaker": pl.UInt32, **dict.fromkeys(_SAID, pl.String)}, orient="row")

    def _voices(self) -> dict[_Voice, _Told]:
        """The series in the order in which they are heard."""
        voices = {self._voice(told): told for told in self._told}
        return {voice: voices[voice] for voice in sorted(voices)}

    def _voice(self, told: _Told) -> _Voice:
        """Of several series of one GPU (time-slicing, hpc_job, two jobs that scrape it) the first in this order speaks:
        one that names a workload, then one that names the host; of two workloads always the same, the first by name.
        """
        labels = told.labels
        found = self.workload(labels)
        is_named = _node(labels) not in ("", labels.get("instance", ""))
        return not found[1], not is_named, "/".join(found), repr((told.identity, sorted(labels.items())))

    def _says(self, told: _Told) -> tuple[str, ...]:
        namespace, pod, container = self.workload(told.labels)
        node = _node(told.labels)
        node, index = self._naming.nodes.get(node, node), told.identity.index
        deployment = self._deployment(told.labels, namespace, pod, (f"{node}/{index}", node))
        return node, index, told.identity.profile, told.identity.model, namespace, pod, container, deployment

    def _shaped(self, known: Sequence[str], interval_seconds: int) -> dict[str, pl.Expr]:
        def column(name: str) -> pl.Expr:
            return pl.col(name) if name in known else pl.lit(None, dtype=pl.Float64)

        sources = {name: source for name, source in self._vocabulary.activities.items() if name in known}
        activity = pl.coalesce(*(pl.col(name) for name in sources), pl.lit(None, dtype=pl.Float64))
        read_from = pl.coalesce(
            *(pl.when(pl.col(name).is_not_null()).then(pl.lit(source)) for name, source in sources.items()), pl.lit("")
        )
        by_parts = column("memory_used_mib") + column("memory_free_mib") + column("memory_reserved_mib").fill_null(0)
        return {
            "row_number": pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
            "sampled_at": pl.from_epoch("at", time_unit="ms").dt.replace_time_zone("UTC"),
            "interval_seconds": pl.lit(interval_seconds, dtype=pl.Int32),
            "gpu_uuid": pl.col("uuid"),
            "mig_instance": pl.col("instance"),
            **{name: pl.col(name) for name in _SAID},
            "activity": activity.clip(upper_bound=1.0),
            "activity_source": read_from,
            **{name: column(name) for name in _KEPT},
            "energy_millijoules": column("energy_millijoules").round().cast(pl.Int64),
            "memory_total_mib": pl.coalesce(column("memory_total_mib"), by_parts),
        }

    def workload(self, labels: Labels) -> tuple[str, str, str]:
        """Namespace, pod and container of what runs on a GPU, all "" when nothing does.

        With honor_labels off, Prometheus renames the exporter's own labels to exported_*, and the plain ones name the
        exporter itself; with it on, idle GPUs carry the exporter's labels because it sent none. Either way a GPU that is
        labelled with the exporter is idle.
        """
        prefix = "exported_" if any(name in labels for name in ("exported_pod", "exported_namespace")) else ""
        namespace, pod, container = (labels.get(f"{prefix}{name}", "") for name in ("namespace", "pod", "container"))
        if not pod or any(name in pod or name in container for name in self._vocabulary.exporters):
            return "", "", ""
        return namespace, pod, container

    def _deployment(self, labels: Labels, namespace: str, pod: str, places: Sequence[str]) -> str:
        label, known = self._naming.deployment_label, self._naming.deployments
        if label and labels.get(label) and (pod or self._vocabulary.tag_label or not labels.get("pod")):
            return labels[label]
        if pod:
            name = workload_name(pod)
            return known.get(pod) or known.get(f"{namespace}/{name}") or known.get(name) or name
        tag = labels.get(self._vocabulary.tag_label, "") if self._vocabulary.tag_label else ""
        # Without a name of its own the tag is the number of the process.
        found = known.get(tag) or ("" if tag.isdigit() else tag)
        return found or next((known[place] for place in places if place in known), "")


def workload_name(pod: str) -> str:
    """The workload a pod belongs to: its name without the hashes of replica sets and the ordinals of stateful sets."""
    name = _HASHES.sub("", pod)
    if name != pod:
        return _REPLICA_SET.sub("", name)
    return _ORDINAL.sub("", pod)


def _node(labels: Labels) -> str:
    return next((labels[name] for name in _NODES if labels.get(name)), "")


def _summed(readings: pl.DataFrame) -> pl.DataFrame:
    """The readings of one column: one value and the first speaker for each moment of each GPU."""
    key = ["at", "device"]
    speaker = pl.col("speaker").min()
    whole, parts = readings.filter(~pl.col("is_part")), readings.filter("is_part")
    if whole["rank"].n_unique() > 1:
        whole = whole.filter(pl.col("rank") == pl.col("rank").min().over(key))
    used = (
        parts.group_by(*key, "name")
        .agg(pl.col("value").max(), speaker)
        .group_by(key)
        .agg(pl.col("value").sum(), speaker)
    )
    return pl.concat([whole.group_by(key).agg(pl.col("value").max(), speaker), used])
