"""The command `costobs-gate`; `serve` needs the extra [proxy]."""

import sys


def main() -> int:
    """Run one command. 2: there is no such command."""
    argv = sys.argv[1:]
    if not argv or argv[0] != "serve":
        sys.stderr.write("usage: costobs-gate serve --upstream NAME=URL …   (costobs-gate serve --help says more)\n")
        return 0 if argv[:1] in (["-h"], ["--help"]) else 2
    try:
        from costobs_gate.proxy import serve
    except ImportError as error:
        sys.stderr.write(
            f"costobs-gate serve needs its extra: pip install 'costobs-gate[proxy]' ({error.name} is missing)\n"
        )
        return 1
    return serve.main(argv[1:])


if __name__ == "__main__":
    sys.exit(main())
