"""The trained weights that come with the package."""

from __future__ import annotations

from importlib import resources
from typing import TypeVar

from safetensors.torch import load
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def load_weights(network: Network, name: str) -> Network:
    """Return ``network`` in evaluation mode, with the weights in the packaged file ``name``, stored in half precision."""
    data = resources.files("t2vdata.scoring").joinpath(name).read_bytes()
    network.load_state_dict({key: tensor.float() for key, tensor in load(data).items()})
    return network.eval()
