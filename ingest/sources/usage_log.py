"""LLM calls as lines of JSON: files, and batches pushed over HTTP."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ingest.sources.base import Cursor, Normalized, Produces, Raw, Source, SourceUnavailable, Window, setting
from ingest.sources.formats import openings
from ingest.sources.formats.usage import usage_rows

SUFFIXES = (".ndjson", ".jsonl", ".json", ".ndjson.gz", ".jsonl.gz", ".json.gz", ".ndjson.zst", ".jsonl.zst")


@dataclass(frozen=True, slots=True)
class UsageLogConfig:
    """Where the log lies and what to fill in where a line is silent."""

    path: str = setting("", hint="A file or a directory on this machine; empty when events are only pushed")
    provider: str = setting("", hint="For lines that name none: openai, anthropic, aws.bedrock, self_hosted, …")
    deployment: str = setting("", hint="For lines that name none: the model server that answered, as its GPUs call it")


class UsageLog(Source):
    """One JSON object per line: our own event, or a provider's response with the time it came.

    Files (.ndjson or .jsonl, plain, gzip or zstd), directories of them, or batches pushed to the API. The README of
    this folder tells every field and every response that is understood. Example configuration:

        {"path": "/var/log/llm", "provider": "openai", "deployment": ""}

    `path` may be "" when events are only pushed. `provider` and `deployment` are used where a line names none.
    """

    kind: ClassVar[str] = "usage_log"
    title: ClassVar[str] = "Usage log"
    produces: ClassVar[Produces] = "usage"
    Config: ClassVar[type[UsageLogConfig]] = UsageLogConfig
    expected_lag_seconds: ClassVar[int] = 300

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Files below `path` that were not read before, by name and content; a file that grew is read again."""
        if not self.config.path:
            return
        seen = dict(cursor.get("files", {}))
        for raw in self.open_paths([self.config.path]):
            if seen.get(raw.name) == raw.content_hash:
                continue
            seen[raw.name] = raw.content_hash
            yield Raw(
                name=raw.name,
                payload=raw.payload,
                content_hash=raw.content_hash,
                size_bytes=raw.size_bytes,
                cursor={"files": dict(seen)},
                files=raw.files,
            )

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The events of one file. Lines that cannot be read are rejected; a damaged file is refused as a whole."""
        defaults = usage_rows.Defaults(provider=self.config.provider, deployment=self.config.deployment)
        yield from usage_rows.normalize(raw.payload, defaults)

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """One unit for each file; directories are searched for the known endings."""
        for path in paths:
            if not Path(path).exists():
                raise SourceUnavailable(f"{path} does not exist")
            files = openings.within(path, SUFFIXES) if Path(path).is_dir() else [path]
            for file in files:
                part = openings.Part(name=Path(file).name, path=file)
                found, size = openings.digest([part])
                yield Raw(name=part.name, payload=part, content_hash=found, size_bytes=size, files=(part.name,))

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """A pushed batch, plain or gzip."""
        part = openings.Part(name=name, content=content)
        found, size = openings.digest([part])
        return Raw(name=name, payload=part, content_hash=found, size_bytes=size, files=(name,))
