"""Training loops of Lightning and Accelerate: each clip once an epoch, each epoch in an order of its own."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from support import ROOT
from torch import nn, optim
from torch.utils.data import DataLoader

import t2vdata
from t2vdata.build.run import BuildResult
from t2vdata.format.dataset import Split
from t2vdata.loading import Batch, Loader, LoadSpec, Resources
from t2vdata.loading.torch_dataset import BatchDataset

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
    # What the frameworks warn of is not ours, such as their own deprecations, and unused cores.
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SPEC = LoadSpec(batch_size=8, num_frames=2)
NUM_EPOCHS = 3


@pytest.fixture(scope="module")
def split(built: BuildResult) -> Split:
    return t2vdata.open_dataset(built.out)["train"]


def loader(split: Split) -> Loader:
    return Loader(split, SPEC, seed=3, resources=Resources(workers=1))


def dataloader(split: Split, **options: Any) -> DataLoader:
    return DataLoader(BatchDataset(split, SPEC, seed=3), batch_size=None, **options)


def persistent(split: Split) -> DataLoader:
    return dataloader(split, num_workers=2, persistent_workers=True)


def expected(split: Split) -> list[list[str]]:
    reading = loader(split)
    return [keys(reading) for _ in range(NUM_EPOCHS)]


def keys(batches: Iterable[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.keys]


class PixelMean(nn.Module):
    """A model that scales the mean of the pixels, and counts clips."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.num_clips = nn.Parameter(torch.ones(1)), 0

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        self.num_clips += len(video)
        return self.scale * video.float().mean()


def lightning_model(model: PixelMean) -> Any:
    """Return a LightningModule that trains a model, and has the keys of each epoch."""
    import pytorch_lightning

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    class Model(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.epochs = model, []

        def on_train_epoch_start(self) -> None:
            self.epochs.append([])

        def training_step(self, batch: Batch, _: int) -> torch.Tensor:
            self.epochs[-1] += batch.keys
            return self.model(batch.video).mean()

        def configure_optimizers(self) -> optim.Optimizer:
            return optim.SGD(self.parameters(), 0.001)

    return Model()


@pytest.mark.parametrize("make", [loader, persistent])
def test_lightning_trains_on_each_clip_once_an_epoch(split: Split, make: Callable) -> None:
    import pytorch_lightning

    model = lightning_model(PixelMean())
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    # Lightning leaves an epoch at this step, and never asks for more.
    trainer = pytorch_lightning.Trainer(max_epochs=NUM_EPOCHS, accelerator="cpu", limit_train_batches=8, **quiet)
    trainer.fit(model, make(split))
    assert model.epochs == expected(split)


@pytest.mark.parametrize("framework", ["loss.backward()", "lightning", "accelerate"])
def test_the_training_loops_of_the_loading_page_run(split: Split, framework: str) -> None:
    page = (ROOT / "docs" / "loading.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", page, re.S) if framework in block)
    model = PixelMean()
    names = {
        "loader": functools.partial(Loader, resources=Resources(workers=1)), "LoadSpec": LoadSpec, "dataset": {"train": split},
        "model": model, "optimizer": optim.SGD(model.parameters(), 0.001), "lightning_model": lightning_model(model),
    }  # fmt: skip
    exec(code, names)
    assert model.num_clips == 180


@pytest.mark.parametrize("make", [loader, dataloader, persistent])
def test_accelerate_trains_on_each_clip_once_an_epoch(split: Split, make: Callable) -> None:
    import accelerate

    # A Loader is left as it is. By default, Accelerate reads an IterableDataset on the first rank only.
    each_rank_reads = accelerate.DataLoaderConfiguration(dispatch_batches=False)
    accelerator = accelerate.Accelerator(cpu=True, dataloader_config=each_rank_reads)
    model = PixelMean()
    model, optimizer, batches = accelerator.prepare(model, optim.SGD(model.parameters(), 0.001), make(split))
    epochs = []
    for _ in range(NUM_EPOCHS):
        epochs.append([])
        for batch in batches:
            batch = batch.to(accelerator.device)
            epochs[-1] += batch.keys
            accelerator.backward(model(batch.video).mean())
            optimizer.step()
            optimizer.zero_grad()
    assert epochs == expected(split)


def test_accelerate_leaves_the_dataloader_of_a_batch_dataset_as_it_is(split: Split) -> None:
    import accelerate

    dataset = BatchDataset(split, SPEC, seed=3)
    batches = dataset.dataloader()
    assert accelerate.Accelerator(cpu=True).prepare(batches) is batches
    # Exactly as many steps as batches: the next loop is the next epoch.
    epochs = [
        [key for _, batch in zip(range(len(batches)), batches, strict=False) for key in batch.keys] for _ in range(NUM_EPOCHS)
    ]
    assert epochs == expected(split)
