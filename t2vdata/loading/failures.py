"""Count the samples of a loader, and stop it if too many are bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from t2vdata.errors import DataError
from t2vdata.loading.spec import LoadSpec
from t2vdata.types import Tally

# With fewer samples, a failure rate means little.
MIN_SAMPLES_TO_JUDGE = 100


class BadSample(NamedTuple):
    """A sample that is missing from its batch."""

    shard: str
    key: str
    error: str
    reason: str


class FailureCounter:
    """Counts kept and bad samples; raises DataError for the first bad one, or for too many, as the spec says."""

    def __init__(self, spec: LoadSpec, path: str) -> None:
        self._spec, self._path = spec, path
        self._kept = 0
        self._failed: Counter[str] = Counter()

    @property
    def tally(self) -> Tally:
        return Tally(kept=self._kept, failed=dict(self._failed))

    def count(self, num_kept: int, bad: Sequence[BadSample]) -> None:
        """Count the samples of a batch. Clips that take the positions of bad ones are not counted."""
        self._kept += num_kept
        for sample in bad:
            if self._spec.on_error == "raise":
                raise DataError(
                    f"{sample.shard}: {sample.key} cannot be loaded: {sample.error}: {sample.reason}; check the dataset with "
                    f"`t2vdata verify {self._path} --deep`, or skip bad samples: LoadSpec(on_error='count')"
                )
            self._failed[sample.error] += 1
        if bad:
            self.judge(self.tally, bad[-1])

    def judge(self, tally: Tally, latest: BadSample) -> None:
        """Raise DataError if too many samples of a tally are bad."""
        if tally.seen < MIN_SAMPLES_TO_JUDGE or tally.num_failed <= self._spec.max_failure_rate * tally.seen:
            return
        reasons = ", ".join(f"{name} {count}" for name, count in Counter(tally.failed).most_common())
        raise DataError(
            f"{tally.num_failed} of {tally.seen} samples failed, more than {self._spec.max_failure_rate:.0%}: {reasons}; the "
            f"last was {latest.key} in {latest.shard}: {latest.reason}; check with `t2vdata verify {self._path} --deep`"
        )

    def none_is_sound(self, latest: BadSample) -> DataError:
        """Return the error for a rank none of whose samples can be loaded."""
        return DataError(
            f"no clip of this rank can be loaded; the last was {latest.key} in {latest.shard}: {latest.error}: {latest.reason}"
            f"; check with `t2vdata verify {self._path} --deep`"
        )
