"""The process that ``floor`` starts: a job comes as a line of JSON, clips per second go back.

``python -m t2vdata.bench.worker``, with pipes; not for people.
"""

from __future__ import annotations

import sys

from t2vdata.bench.floor import Job, decode_alone


def main() -> None:
    sys.stdout.write(f"{decode_alone(Job.from_json(sys.stdin.readline()), _wait_for_the_others)}\n")


def _wait_for_the_others() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    main()
