"""Ctrl-C and SIGTERM in a long command: the first asks for an orderly end, a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

from t2vdata.errors import T2VError

# A cluster sends SIGTERM before it kills, or SIGUSR1 if asked to (sbatch --signal=USR1@120). SIGHUP: the terminal is gone.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
# Ctrl-C reaches a process of torchrun twice: from the terminal, and passed on by torchrun.
_REPEAT_SECONDS = 1.0


class InterruptedRunError(T2VError):
    """A signal asked the command to end, and it did so in order. Running it again resumes it."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message, number)
        self.number = number
        """The number of the signal."""

    def __str__(self) -> str:
        return str(self.args[0])


class Interruption:
    """Takes note of signals that ask this process to end, for the duration of a ``with`` block in the main thread."""

    def __init__(self) -> None:
        self.number = 0
        """The number of the first signal; 0 as long as none came."""
        self._first_seconds = 0.0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # A signal that is ignored, such as SIGINT in a background job, stays ignored.
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.number:
            self.number, self._first_seconds = number, now
        elif number == signal.SIGINT and now - self._first_seconds > _REPEAT_SECONDS:
            # A third ends the process even where Python code does not run.
            self.__exit__()
            raise KeyboardInterrupt
