"""Training loops of Lightning and Accelerate: each clip once an epoch, each epoch in an order of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest
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


def test_lightning_trains_on_each_clip_once_an_epoch(split: Split) -> None:
    import pytorch_lightning as lightning

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.epochs = nn.Linear(1, 1), []

        def on_train_epoch_start(self) -> None:
            self.epochs.append([])

        def training_step(self, batch: Batch, _: int) -> Any:
            self.epochs[-1] += batch.keys
            loss = self.linear(batch.video.float().mean().reshape(1, 1)).mean()
            self.log("loss", loss, on_epoch=True, batch_size=len(batch))
            return loss

        def configure_optimizers(self) -> optim.Optimizer:
            return optim.SGD(self.parameters(), 0.001)

    def train(batches: Iterable[Batch], **options: Any) -> list[list[str]]:
        quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
        trainer, model = lightning.Trainer(max_epochs=NUM_EPOCHS, accelerator="cpu", **quiet, **options), Model()
        trainer.fit(model, batches)
        return model.epochs

    # Lightning stops such an epoch at its last step, and never asks for more.
    assert train(loader(split), limit_train_batches=8) == expected(split)
    assert train(persistent(split)) == expected(split)


@pytest.mark.parametrize("make", [loader, dataloader, persistent])
def test_accelerate_trains_on_each_clip_once_an_epoch(split: Split, make: Callable) -> None:
    import accelerate

    # A Loader is left as it is. By default, Accelerate reads an IterableDataset on the first rank only.
    each_rank_reads = accelerate.DataLoaderConfiguration(dispatch_batches=False)
    accelerator = accelerate.Accelerator(cpu=True, dataloader_config=each_rank_reads)
    model = nn.Linear(1, 1)
    model, optimizer, batches = accelerator.prepare(model, optim.SGD(model.parameters(), 0.001), make(split))
    epochs = []
    for _ in range(NUM_EPOCHS):
        epochs.append([])
        for batch in batches:
            batch = batch.to(accelerator.device)
            epochs[-1] += batch.keys
            accelerator.backward(model(batch.video.float().mean().reshape(1, 1)).mean())
            optimizer.step()
            optimizer.zero_grad()
    assert epochs == expected(split)
