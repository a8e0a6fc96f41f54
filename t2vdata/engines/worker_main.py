"""The worker process of ``local.processes``: works on plans, until the main process ends."""

from __future__ import annotations

import gc
import pickle
import signal
from typing import Any

from t2vdata.engines.local import portable
from t2vdata.processes import Channel
from t2vdata.processes.child_main import leave_with_parent


def main(channel: Channel) -> None:
    """Receive the work, then plans; send a report, or an error, for each. All are pickled by our own processes."""
    # Ctrl-C reaches the whole process group; the parent decides when the workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    leave_with_parent(channel)
    message = channel.receive()
    if message is None:
        return
    work = pickle.loads(message.payload)  # noqa: S301  # our own
    # Imported modules stay, and a shard is plain data without cycles: collecting less often saves time.
    gc.freeze()
    gc.set_threshold(50_000)
    for message in channel:
        answer: tuple[Any, Exception | None]
        try:
            answer = (work(pickle.loads(message.payload)), None)  # noqa: S301  # our own
        except Exception as error:
            answer = (None, portable(error))
        channel.send({}, pickle.dumps(answer))
