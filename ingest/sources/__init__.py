"""The kinds of sources, in one explicit list."""

from costobs.kernel.registry import Registry
from ingest.sources.base import Source
from ingest.sources.dcgm import Dcgm
from ingest.sources.fine_tunes import FineTunes
from ingest.sources.focus_export import FocusExport
from ingest.sources.gate import GateLog
from ingest.sources.usage_log import UsageLog

KINDS: Registry[Source] = Registry("source", [FocusExport, UsageLog, GateLog, Dcgm, FineTunes])
