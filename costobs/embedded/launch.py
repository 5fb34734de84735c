"""Runs one command as a child that dies with its parent and, for servers that refuse root, as another user.

Run by its path with `python -I -S`, so that nothing but the standard library is loaded before the command replaces it.
"""

import argparse
import ctypes
import os
import pwd
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NOBODY = 65534
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1


def command(argv: Sequence[str], *, die_with: signal.Signals, user: str = "same") -> list[str]:
    """The argument list that runs `argv` and sends it `die_with` when the calling process dies (Linux).

    `user` is `same`, `namespace` (the caller's files, seen as nobody's in a user namespace) or `nobody` (setuid).
    """
    options = [f"--parent={os.getpid()}", f"--die-with={int(die_with)}", f"--user={user}"]
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), *options, "--", *argv]


def user_for_servers_that_refuse_root() -> str:
    """`same` for an ordinary user; else `namespace` where the kernel allows it, else `nobody` for root."""
    if os.geteuid() != 0 and _has_a_name(os.geteuid()):
        return "same"
    trial = subprocess.run(
        command(["true"], die_with=signal.SIGKILL, user="namespace"), capture_output=True, check=False
    )
    if trial.returncode == 0:
        return "namespace"
    return "nobody" if os.geteuid() == 0 else "same"


def _has_a_name(uid: int) -> bool:
    # A container may run as a number that no user has; initdb asks for the name.
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _enter_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare") or libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "no user namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {gid} 1")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {uid} 1")


def _become_nobody() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    # The one right that is kept: to walk through parents of the installation (/root, say) that are closed to others.
    # Where even that is refused, the server says itself which directory it cannot enter.
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    wanted = 1 << _CAP_DAC_OVERRIDE
    if libc.capset(header, struct.pack("6I", wanted, wanted, wanted, 0, 0, 0)) == 0:
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


def _die_with_parent(parent: int, number: int) -> None:
    if sys.platform != "linux":
        return
    # After the change of user: the kernel forgets the death signal when credentials change.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the parent died before its child had started")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--die-with", type=int, required=True)
    parser.add_argument("--user", choices=["same", "namespace", "nobody"], required=True)
    parser.add_argument("argv", nargs="+")
    options = parser.parse_args()
    if options.user == "namespace":
        _enter_namespace()
    elif options.user == "nobody":
        _become_nobody()
    _die_with_parent(options.parent, options.die_with)
    try:
        os.execvp(options.argv[0], options.argv)  # noqa: S606  (no shell is the point)
    except OSError as problem:
        raise SystemExit(f"cannot run {options.argv[0]}: {problem.strerror}") from problem


if __name__ == "__main__":
    main()
