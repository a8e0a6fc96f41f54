"""A network that learns: its optimiser, its schedule, its clipping, its average over time.

A family has one for each player: a GAN one for the generator and one for the discriminators, a flow one for each part that is
clipped apart. Gradients are averaged over ranks here, in one call for all parameters, and not by DistributedDataParallel, whose
hooks on the forward pass do not see gradient penalties and two players.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from t2vdata.errors import RequestError

# Updates before the average of the gradients' norms says what is usual.
_JUDGED_AFTER = 100
_NORM_MEMORY = 0.99


class DivergedError(ArithmeticError):
    """Gradients that are not finite, or far larger than they were: the loop returns to the last checkpoint."""


@dataclass(frozen=True)
class OptimiserSpec:
    """How a network learns."""

    name: Literal["adam", "adamw", "adamax", "rmsprop", "sgd"] = "adam"
    lr: float = 2.0e-4
    betas: tuple[float, float] = (0.5, 0.999)
    """Of Adam and Adamax. SGD takes the first as momentum, RMSprop the second as smoothing."""
    eps: float = 1.0e-8
    weight_decay: float = 0.0
    warmup_steps: int = 0
    """Updates over which the rate grows to ``lr``, in a line."""
    decay: Literal["none", "linear", "cosine", "halve"] = "none"
    """What becomes of the rate: it falls to 0 over ``decay_steps``, or is halved whenever so many have passed."""
    decay_start: int = 0
    """Updates before it begins to fall."""
    decay_steps: int | None = None
    clip_norm: float | None = None
    """Largest norm of the gradient of all parameters together."""
    clip_weights: float | None = None
    """Largest absolute value of a parameter, as WGAN's critic has it."""
    ema: float | None = None
    """Share that an average of the weights keeps of itself in an update: 0.999 looks back over a thousand. The averaged weights
    are those that are judged."""
    spike: float | None = None
    """How many times its usual value the gradient's norm may be, before the run returns to its last checkpoint."""

    def __post_init__(self) -> None:
        for name in ("lr", "eps", "clip_norm", "clip_weights", "decay_steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise RequestError(f"{name} {value}: expected more than 0")
        if self.ema is not None and not 0 < self.ema < 1:
            raise RequestError(f"ema {self.ema}: expected between 0 and 1, such as 0.999, or null for none")
        if self.spike is not None and self.spike <= 1:
            raise RequestError(f"spike {self.spike}: expected more than 1, such as 10, or null for none")
        if (self.decay == "none") != (self.decay_steps is None):
            raise RequestError(f"decay {self.decay!r} with decay_steps {self.decay_steps}; give both, or neither")

    def rate(self, update: int) -> float:
        """Return the learning rate of an update, counted from 0."""
        rate = self.lr * min(1.0, (update + 1) / self.warmup_steps) if self.warmup_steps else self.lr
        if self.decay_steps is None:
            return rate
        passed = max(0, update - self.decay_start) / self.decay_steps
        match self.decay:
            case "linear":
                return rate * max(0.0, 1 - passed)
            case "cosine":
                return rate * (1 + math.cos(math.pi * min(1.0, passed))) / 2
            case _:
                return rate * 0.5 ** int(passed)


class Learner:
    """A network and what makes it learn."""

    def __init__(self, module: nn.Module, spec: OptimiserSpec, *, world: int = 1) -> None:
        self.module, self.spec, self._world = module, spec, world
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._optimiser = _optimiser(self._parameters, spec)
        self._averaged = copy.deepcopy(module).eval().requires_grad_(False) if spec.ema is not None else None
        self.num_updates = 0
        self._usual_norm = 0.0

    @property
    def averaged(self) -> nn.Module:
        """The network with its average weights; the network itself where none are kept. Call it under ``eval()``."""
        return self.module if self._averaged is None else self._averaged

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a loss to what the next update takes; other networks that the loss runs through get none."""
        torch.autograd.backward(loss, inputs=self._parameters)

    def update(self) -> torch.Tensor:
        """Take one step against the gradient, averaged over all ranks; return its norm, a scalar.

        Raises DivergedError, and changes nothing, where the norm is not finite or ``spike`` times what it usually is.
        """
        self._average_over_ranks()
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        self._judge(float(norm))
        if self.spec.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self._parameters, self.spec.clip_norm, norm)
        for group in self._optimiser.param_groups:
            group["lr"] = self.spec.rate(self.num_updates)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        if self.spec.clip_weights is not None:
            with torch.no_grad():
                for parameter in self._parameters:
                    parameter.clamp_(-self.spec.clip_weights, self.spec.clip_weights)
        self.num_updates += 1
        self._average_over_time()
        return norm

    def state_dict(self) -> dict[str, Any]:
        optimiser = self._optimiser.state_dict()
        return {
            "module": self.module.state_dict(),
            "averaged": {} if self._averaged is None else self._averaged.state_dict(),
            # The rate and the like are the recipe's.
            "optimiser": {str(place): values for place, values in optimiser["state"].items()},
            "num_updates": self.num_updates,
            "usual_norm": self._usual_norm,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        if self._averaged is not None:
            self._averaged.load_state_dict(state["averaged"])
        # Copied, for the optimiser keeps the very tensors that it is given.
        values = {int(place): copy.deepcopy(values) for place, values in state["optimiser"].items()}
        self._optimiser.load_state_dict({"state": values, "param_groups": self._optimiser.state_dict()["param_groups"]})
        self._optimiser.zero_grad(set_to_none=True)
        self.num_updates, self._usual_norm = state["num_updates"], state["usual_norm"]

    def _judge(self, norm: float) -> None:
        if not math.isfinite(norm):
            raise DivergedError(f"the gradient's norm is {norm}")
        usual, spike = self._usual_norm, self.spec.spike
        if spike is not None and self.num_updates >= _JUDGED_AFTER and norm > spike * usual:
            raise DivergedError(f"the gradient's norm is {norm:.4g}, over {spike:g} times its usual {usual:.4g}")
        memory = min(_NORM_MEMORY, self.num_updates / (self.num_updates + 1))
        self._usual_norm = memory * usual + (1 - memory) * norm

    def _average_over_ranks(self) -> None:
        if self._world == 1:
            return
        for parameter in self._parameters:
            # Every rank sends the same: one that did not use a parameter sends zeros.
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        means = torch.split(flat / self._world, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    @torch.no_grad()
    def _average_over_time(self) -> None:
        if self._averaged is None or self.spec.ema is None:
            return
        # Early on the average looks back over less, so that the first weights, which know nothing, are soon forgotten.
        kept = min(self.spec.ema, self.num_updates / (self.num_updates + 10))
        averages: list[torch.Tensor] = [*self._averaged.parameters()]
        values: list[torch.Tensor] = [*self.module.parameters()]
        torch._foreach_lerp_(averages, values, 1 - kept)
        for average, value in zip(self._averaged.buffers(), self.module.buffers(), strict=True):
            average.copy_(value)


def _optimiser(parameters: list[nn.Parameter], spec: OptimiserSpec) -> torch.optim.Optimizer:
    first, second = spec.betas
    match spec.name:
        case "adam":
            return torch.optim.Adam(parameters, spec.lr, spec.betas, spec.eps, spec.weight_decay)
        case "adamw":
            return torch.optim.AdamW(parameters, spec.lr, spec.betas, spec.eps, spec.weight_decay)
        case "adamax":
            return torch.optim.Adamax(parameters, spec.lr, spec.betas, spec.eps, spec.weight_decay)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, spec.lr, alpha=second, eps=spec.eps, weight_decay=spec.weight_decay)
        case "sgd":
            return torch.optim.SGD(parameters, spec.lr, momentum=first, weight_decay=spec.weight_decay)
