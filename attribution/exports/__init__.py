"""The files a statement can be had as."""

from attribution.exports.base import Document, Export, guarded
from attribution.exports.columnar import FocusParquet, Parquet
from attribution.exports.focus import Focus
from attribution.exports.journal import Journal
from attribution.exports.paper import Pdf
from attribution.exports.plain import Csv
from attribution.exports.tree import Json
from attribution.exports.workbook import Xlsx
from costobs.kernel.registry import Registry

KINDS: Registry[Export] = Registry("export", [Csv, Json, Xlsx, Parquet, Focus, FocusParquet, Journal, Pdf])

__all__ = ["KINDS", "Document", "Export", "guarded"]
