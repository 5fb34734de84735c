"""The `costobs` command: every management command, with the embedded database brought along when none is given."""

import difflib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from costobs.embedded import locks, paths, postgres, up

_NEEDS_NO_SCHEMA = {"migrate", "makemigrations", "showmigrations", "sqlmigrate"}
_NEEDS_NO_DATABASE = {"check", "collectstatic", "diffsettings", "findstatic", "spectacular", "help", "version"}
_UP_HELP = "Run everything on this machine: database, broker, web, worker, clock and the sample"


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Runs one command. Returns the status: 0 done, 1 an expected error, 2 a wrong command line, 130 interrupted."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "costobs.settings")
    try:
        if not argv or argv[0] in {"-h", "--help", "help"}:
            return _list_commands()
        if argv[0] == "up":
            return up.main(argv[1:])
        if list(argv[:2]) == ["gate", "serve"]:
            return _serve_gate(argv[2:])
        _name_the_running_address()
        return _dispatch(argv[0], list(argv[1:]))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `costobs spend | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except postgres.ServerFailed as problem:
        sys.stderr.write(f"costobs: {problem}\n")
        return 1


def _serve_gate(argv: Sequence[str]) -> int:
    """The gate as a proxy. It needs neither database nor settings, and asks costobs over the network like any gate."""
    from costobs_gate.proxy import serve  # type: ignore[import-untyped]

    status: int = serve.main(argv, "costobs gate serve")
    return status


def _name_the_running_address() -> None:
    # Links that a command prints lead to the stack that runs beside it, whatever port that one has.
    address = up.running_address(paths.data_dir())
    if address:
        os.environ.setdefault("COSTOBS_URL", address)


def _list_commands() -> int:
    import django
    from django.core import management

    django.setup()
    lines = [("up", _UP_HELP)]
    for name, app in sorted(management.get_commands().items()):
        if isinstance(app, str) and _is_ours(app):
            lines.append((name.replace("_", "-"), management.load_command_class(app, name).help.splitlines()[0]))
    width = max(len(name) for name, _ in lines)
    sys.stdout.write("usage: costobs COMMAND …\n\n")
    sys.stdout.writelines(f"  {name:<{width}}  {text}\n" for name, text in lines)
    sys.stdout.write(
        "\n`costobs COMMAND --help` says more. COSTOBS_DATA names the data directory (default .costobs).\n"
    )
    return 0


def _is_ours(app: str) -> bool:
    return app.split(".")[0] in {"costobs", "ingest", "attribution", "alerts"}


def _dispatch(name: str, args: list[str]) -> int:
    import django
    from django.core import management
    from django.core.management.base import BaseCommand

    django.setup()
    stem = name.replace("-", "_")
    commands = management.get_commands()
    if stem not in commands:
        return _unknown(name, [known.replace("_", "-") for known in commands])
    app = commands[stem]
    command = app if isinstance(app, BaseCommand) else management.load_command_class(app, stem)
    command._called_from_command_line = True  # type: ignore[attr-defined]  # argparse's own message instead of an exception
    command.create_parser("costobs", name).parse_args(args)  # a wrong command line costs no start of the database
    if isinstance(app, str) and _is_ours(app):
        command.requires_system_checks = []  # they import every page; `make test` runs them
    with _database(stem):
        return _execute(command, [name, *args])


def _unknown(name: str, known: list[str]) -> int:
    near = difflib.get_close_matches(name, [*known, "up"], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`costobs --help` lists the commands"
    sys.stderr.write(f"costobs: there is no command {name!r}; {hint}\n")
    return 2


@contextmanager
def _database(stem: str) -> Iterator[None]:
    if stem in _NEEDS_NO_DATABASE:
        yield
        return
    if os.environ.get("DATABASE_URL", "").strip():
        _bring_schema_up_to_date(stem)
        yield
        return
    with postgres.running():
        _bring_schema_up_to_date(stem)
        yield


def _bring_schema_up_to_date(stem: str) -> None:
    from django.core.management import call_command
    from django.db import OperationalError, connection
    from django.db.migrations.executor import MigrationExecutor

    if stem in _NEEDS_NO_SCHEMA:
        return
    with locks.exclusive(paths.data_dir() / "locks" / "migrate"):
        try:
            executor = MigrationExecutor(connection)
        except OperationalError as problem:
            raise postgres.ServerFailed(f"the database cannot be reached: {str(problem).strip()}") from problem
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", interactive=False, skip_checks=True, verbosity=0)


def _execute(command: object, argv: list[str]) -> int:
    from django.core.management.base import BaseCommand, SystemCheckError
    from django.db import connections

    assert isinstance(command, BaseCommand)
    try:
        command.run_from_argv(["costobs", *argv])
    except SystemExit as ended:
        return _status(ended.code)
    except SystemCheckError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    finally:
        connections.close_all()
        sys.stdout.flush()
    return 0


def _status(code: object) -> int:
    return code if isinstance(code, int) else 0 if code is None else 1
