"""The contract of an export: a statement in, bytes out; without a table or a clock, so the same statement gives the same bytes."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from attribution import printing
from attribution.queries import FocusRow, Statement
from costobs.kernel.period import month

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True, slots=True)
class Document:
    """One statement with everything that its exports say. `focus_rows` is filled only for kinds that need them."""

    id: str
    statement: Statement
    sheet: printing.PrintedStatement
    sha256: str
    cost_centre: str | None = None
    teams: tuple[str, ...] | None = None
    company: str = ""
    journal: Mapping[str, Any] = field(default_factory=dict)
    focus_rows: Sequence[FocusRow] = ()
    categories: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Showback or chargeback."""
        return printing.kind(self.statement)

    @property
    def dated(self) -> datetime:
        """The date on the document: when the month was closed, else the end of the month."""
        return self.statement.closed_at or month(self.statement.month).end_at - timedelta(seconds=1)

    @property
    def meaning(self) -> str:
        """What the statement may be used for, in a sentence."""
        if self.statement.is_chargeback:
            closed = self.statement.closed_at
            at = f" on {closed.astimezone(UTC):%-d %b %Y %H:%M} UTC" if closed else ""
            return f"Chargeback: the books of the month were closed{at}, version {self.statement.version}."
        return f"Showback: a report only. The month is {self.statement.state}, and its figures may still change."

    @property
    def name(self) -> str:
        """The stem of its files: statement-2026-10-USD-effective-4410-v1."""
        return f"statement-{self.id.replace('/', '-').replace('@', 'team-').replace(',', '+')}"

    def lines(self) -> Iterator[tuple[Any, printing.Printed]]:
        """Each line of the statement beside its printed row."""
        return zip(self.statement.lines, self.sheet.rows, strict=True)


class Export(ABC):
    """One kind of file. Its class docstring says what is in it."""

    kind: ClassVar[str]
    title: ClassVar[str]
    extension: ClassVar[str]
    media_type: ClassVar[str]
    needs_focus: ClassVar[bool] = False
    # Raised whenever the same statement gives other bytes than before: who holds the old file must get the new one.
    version: ClassVar[int] = 1

    @abstractmethod
    def write(self, document: Document) -> Iterator[bytes]:
        """The file, piece by piece."""

    def basis(self, document: Document) -> Iterator[bytes]:
        """What the file depends on besides the figures of the statement."""
        yield document.id.encode()
        yield document.company.encode()

    def file_name(self, document: Document) -> str:
        """What the file is called."""
        return f"{document.name}.{self.extension}"

    def tag(self, document: Document) -> str:
        """Changes whenever the bytes do; cheaper than writing them."""
        digest = hashlib.sha256(f"{self.kind} {self.version} {document.sha256}".encode())
        for piece in self.basis(document):
            digest.update(b"\x00")
            digest.update(piece)
        return digest.hexdigest()


def guarded(text: str) -> str:
    """Text for a spreadsheet: one that begins like a formula would be run, the apostrophe keeps it text."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def percent(value: Decimal) -> str:
    """A percentage without the zeros of its column: 5, 7.25."""
    return f"{value.normalize():f}"
