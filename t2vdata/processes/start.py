"""How a child process starts: where it finds modules, and which descriptors it may take for its own.

A child finds each module where its parent finds it, and nowhere else. Python on its own would put the current folder in front
(``python -c`` and ``python -m`` do), so that a stray ``queue.py`` there would be run by a child of a program that never sees
it; and through ``PYTHONPATH`` the ``sitecustomize.py`` of a project would be run by the children alone.
"""

from __future__ import annotations

import contextlib
import os
import sys

# With -P, Python puts no folder in front of the path. Nothing is imported before the path is the parent's. What keeps a child
# from starting is no exception that it could report in the usual way: it is sent as text.
_BOOTSTRAP = """
import sys
module, receiving, sending, *sys.path = sys.argv[1:]
try:
    from t2vdata.processes.child_main import run_child
    run_child(module, int(receiving), int(sending))
except BaseException as error:
    import os
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    text = f"{type(error).__name__}: {error} ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"
    text = text.encode("utf-8", "backslashreplace")
    header = b'{"ended": true}'
    message = len(header).to_bytes(4, "little") + len(text).to_bytes(8, "little") + header + text
    try:
        os.write(int(sending), message)
    except OSError:
        pass
    os._exit(1)
"""


def usable_cores() -> int:
    """Return how many cores this process may run on, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def search_path() -> list[str]:
    """Return the folders in which this process finds modules, in order, as absolute paths: a child's ``sys.path``."""
    # "" stands for the current folder, in programs that Python runs without a file.
    return [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str) and _is_reachable(entry)]


def command(module: str, receiving: int, sending: int) -> list[str]:
    """Return the command line of a child that runs ``main(channel)`` of a module with the two ends of its channel."""
    return [sys.executable, "-P", "-c", _BOOTSTRAP, module, str(receiving), str(sending), *search_path()]


def reserve_standard_descriptors() -> None:
    """Open the null device as standard input, output or error where one of them is closed, as in a daemon.

    Otherwise the next pipe or file gets its number: a child then loses it, or what is printed is written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is taken: this one.
            opened = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(opened, True)


def _is_reachable(entry: str) -> bool:
    """Return whether a path is absolute, or the current folder, which it is relative to, still exists."""
    if os.path.isabs(entry):
        return True
    with contextlib.suppress(FileNotFoundError):
        return bool(os.getcwd())
    return False
