"""Training on several ranks from an object store: every sample once per epoch, even if ranks die."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import fsspec
import pytest
import servers

import t2vdata
from t2vdata.build.run import BuildResult
from t2vdata.loading import Loader, LoadSpec

RANK = Path(__file__).parent / "rank.py"


def torchrun(num_ranks: int, *words: object) -> None:
    """Run ``rank.py`` on several ranks; torchrun restarts all once if one dies."""
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--max-restarts", "1"]
    command += ["--nproc-per-node", str(num_ranks), str(RANK), *map(str, words)]
    # Else the ranks that start once more find the addresses of those that were, and gloo connects to nobody (torch 2.13).
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr


def keys_read(notes: Path, epoch: int) -> list[str]:
    """Return the keys of all batches of an epoch: by position, and side by side on its ranks, as the epoch's order has them."""
    by_place: dict[str, list[list[str]]] = {}
    for path in sorted(notes.glob(f"{epoch}-*-*")):
        by_place.setdefault(path.name.rpartition("-")[0], []).append(path.read_text().split())
    return [key for ranks in by_place.values() for side_by_side in zip(*ranks, strict=True) for key in side_by_side]


@pytest.mark.timeout(600)
@pytest.mark.long
def test_ranks_read_each_sample_once_although_one_dies_and_their_number_changes(
    s3: str, s3_settings: str, built: BuildResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fsspec.filesystem("s3")
    store.makedirs("ranks", exist_ok=True)
    for path in sorted(Path(built.out).iterdir()):
        store.put_file(str(path), f"ranks/set/{path.name}")
    notes = tmp_path / "notes"
    notes.mkdir()
    with servers.unreliable_proxy(s3, refuse=lambda _: False) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        # Three steps on two ranks, of which one dies before the second: half an epoch. Then three ranks, to the next one's end.
        torchrun(2, "s3://ranks/set", tmp_path / "cache", notes, 30, 10)
        assert (notes / "died").exists()
        assert len(keys_read(notes, 0)) == 30
        torchrun(3, "s3://ranks/set", tmp_path / "cache", notes, -1, -1)
        fetched = Counter(path.rpartition("/")[2] for method, path in proxy.requests if method == "GET")
    alone = Loader(t2vdata.open_dataset(built.out)["train"], LoadSpec(batch_size=60, window=2), seed=5)
    for epoch in (0, 1):
        (batch,) = alone
        assert keys_read(notes, epoch) == list(batch.keys), epoch
        assert len(set(batch.keys)) == 60
    # Seven processes have read, and all of them from what one of them had fetched; the one that died may have been at it.
    shards = {name: times for name, times in fetched.items() if name.endswith(".tar")}
    assert shards.keys() == {f"mnist-motion-train-00000{number}.tar" for number in range(3)}
    assert sum(shards.values()) <= 4
