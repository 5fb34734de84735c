"""The gate around the tiny model server, for tests that need whole processes."""

from costobs_gate import Gate

from tests.gate.upstream import Upstream

app = Gate(Upstream())
