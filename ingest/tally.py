"""What a unit was found to hold: rows by file, those refused and those left out with the reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ingest.rows import Rejected
from ingest.sources.base import Normalized

KEPT_REJECTS = 1000


@dataclass(slots=True)
class Tally:
    """What was found in the parts of a unit so far."""

    read: int = 0
    refused: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    files: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, part: Normalized) -> None:
        skipped = sum(part.skipped.values())
        read = part.batch.num_rows + len(part.rejected) + skipped
        self.read += read
        self.refused += len(part.rejected)
        self.rejected.extend(part.rejected[: max(0, KEPT_REJECTS - len(self.rejected))])
        self.skipped.update(part.skipped)
        if part.file:
            counts = {"read": read, "quarantined": len(part.rejected), "skipped": skipped}
            self.files.setdefault(part.file, Counter()).update(counts)
            self.reasons.setdefault(part.file, Counter()).update(part.skipped)

    def add_late(self, rejected: Sequence[Rejected], rows: int) -> None:
        """Rows that were refused after they had been read, to their file; to the only one when there is no other."""
        if len(self.files) == 1:
            next(iter(self.files.values()))["quarantined"] += rows
            return
        for one in rejected:
            if one.file in self.files:
                self.files[one.file]["quarantined"] += 1

    def columns(self) -> dict[str, Any]:  # values of columns of Load
        """What a Load keeps of it."""
        names = ("read", "quarantined", "skipped")
        return {
            "rows_read": self.read,
            "rows_skipped": self.skipped.total(),
            "skipped": dict(self.skipped),
            "files": [
                {"name": file, **{name: found[name] for name in names}, "reasons": dict(self.reasons[file])}
                for file, found in self.files.items()
            ],
        }
