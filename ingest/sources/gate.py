"""What our gate meters in front of a model server, pushed in batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ingest.sources.base import Normalized, Produces, Raw, Source, setting
from ingest.sources.formats import openings
from ingest.sources.formats.usage import usage_rows


@dataclass(frozen=True, slots=True)
class GateConfig:
    """What to fill in where the gate is silent."""

    provider: str = setting("self_hosted", hint="Who runs the models behind the gate; self_hosted for own GPUs")
    deployment: str = setting(
        "", hint="The model server behind the gate, as its GPUs call it; empty when the gate says so"
    )


class GateLog(Source):
    """Requests that the costobs gate admitted and metered, in the event shape of `usage_log`.

    The team, key and feature of these events are verified: the gate bound them to the key that was presented, so no
    header of a caller can change them. Events arrive by push only. Example configuration:

        {"provider": "self_hosted", "deployment": "chat-small"}
    """

    kind: ClassVar[str] = "gate"
    title: ClassVar[str] = "Gate"
    produces: ClassVar[Produces] = "usage"
    Config: ClassVar[type[GateConfig]] = GateConfig
    expected_lag_seconds: ClassVar[int] = 60
    is_pushed: ClassVar[bool] = True

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The events of one batch; lines that cannot be read are rejected, the rest load."""
        defaults = usage_rows.Defaults(provider=self.config.provider, deployment=self.config.deployment)
        yield from usage_rows.normalize(raw.payload, defaults)

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """A pushed batch, plain or gzip."""
        part = openings.Part(name=name, content=content)
        found, size = openings.digest([part])
        return Raw(name=name, payload=part, content_hash=found, size_bytes=size, files=(name,))
