"""The worker process of floor.py: receives clips to decode, returns clips per second."""

from __future__ import annotations

from t2vdata.bench.floor import Job, decode_alone
from t2vdata.processes import Channel


def main(channel: Channel) -> None:
    message = channel.receive()
    if message is None:
        return

    def wait_for_the_others() -> None:
        channel.send({"ready": True})
        channel.receive()

    channel.send({"clips_per_second": decode_alone(Job.from_json(message.header), wait_for_the_others)})
