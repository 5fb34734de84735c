"""The sample organisation in a PostgreSQL of its own, for what measures on it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def loaded(data: str | None) -> Iterator[None]:
    """Django is set up and the sample is there: in a data directory (COSTOBS_DATA), or in a temporary one."""
    with ExitStack() as stack:
        folder = data or stack.enter_context(tempfile.TemporaryDirectory(prefix="costobs-bench-"))
        os.environ["COSTOBS_DATA"] = folder
        (Path(folder) / "static").mkdir(parents=True, exist_ok=True)
        os.environ.pop("DATABASE_URL", None)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "costobs.settings")
        import django

        from costobs.embedded import postgres

        django.setup()
        stack.enter_context(postgres.running())
        from django.core.management import call_command

        from ingest import queries

        call_command("migrate", verbosity=0)
        if not queries.has_sample():
            call_command("sample")
        yield
