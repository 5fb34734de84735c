"""Gates and the keys of their clients."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One client key of the gates; never the key itself."""

    id: int
    key_id: str
    name: str
    team: str
    features: tuple[str, ...] | None
    models: tuple[str, ...] | None
    created_at: datetime
    revoked_at: datetime | None
    is_sample: bool


@dataclass(frozen=True, slots=True)
class GateLine:
    """One model server with a gate; `is_live`: it asked for its policy within the last minute."""

    id: int
    name: str
    provider: str
    deployment: str
    source_id: int
    last_seen_at: datetime | None
    seen_policy_version: str
    processes: int
    is_live: bool
    is_sample: bool
