"""A network with its optimiser, learning-rate schedule, gradient clipping and weight average (EMA).

A family has one learner per player: a GAN has one for the generator and one for the discriminators, a flow has one for each
part with its own clipping. Gradients are averaged over ranks here, in one call for all parameters, instead of by
DistributedDataParallel, whose forward hooks do not handle gradient penalties and two players.
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

# Updates before the running mean of gradient norms is reliable enough to detect spikes.
_SPIKES_AFTER = 100
_NORM_DECAY = 0.99


class DivergedError(ArithmeticError):
    """Gradients are not finite or far larger than usual; the loop returns to the last checkpoint."""


@dataclass(frozen=True)
class OptimiserSpec:
    """Optimiser, schedule, clipping and averaging of a network."""

    name: Literal["adam", "adamw", "adamax", "rmsprop", "sgd"] = "adam"
    lr: float = 2.0e-4
    betas: tuple[float, float] = (0.5, 0.999)
    """Betas of Adam and Adamax. SGD uses the first as its momentum, RMSprop the second as its smoothing constant."""
    eps: float = 1.0e-8
    weight_decay: float = 0.0
    warmup_steps: int = 0
    """Updates over which the rate grows linearly to ``lr``."""
    decay: Literal["none", "linear", "cosine", "halve"] = "none"
    """How the rate decays: linear and cosine reach 0 after ``decay_steps``, halve halves it every ``decay_steps``."""
    decay_start: int = 0
    """Updates before the decay starts."""
    decay_steps: int | None = None
    clip_norm: float | None = None
    """Maximum norm of the gradient over all parameters."""
    clip_weights: float | None = None
    """Maximum absolute value of a parameter, as in WGAN's critic."""
    ema: float | None = None
    """Decay of the exponential moving average of the weights: 0.999 averages over about a thousand updates. Evaluation and
    sampling use the averaged weights."""
    spike: float | None = None
    """Multiple of its running mean that the gradient norm may reach before the run returns to its last checkpoint."""

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
        """Return the learning rate of an update; the first update is 0."""
        rate = self.lr * min(1.0, (update + 1) / self.warmup_steps) if self.warmup_steps else self.lr
        if self.decay_steps is None:
            return rate
        progress = max(0, update - self.decay_start) / self.decay_steps
        match self.decay:
            case "linear":
                return rate * max(0.0, 1 - progress)
            case "cosine":
                return rate * (1 + math.cos(math.pi * min(1.0, progress))) / 2
            case _:
                return rate * 0.5 ** int(progress)


class Learner:
    """A network and its optimisation."""

    def __init__(self, module: nn.Module, spec: OptimiserSpec, *, world: int = 1) -> None:
        self.module, self.spec, self._world = module, spec, world
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._optimiser = _optimiser(self._parameters, spec)
        self._averaged = copy.deepcopy(module).eval().requires_grad_(False) if spec.ema is not None else None
        self.num_updates = 0
        self._usual_norm = 0.0

    @property
    def averaged(self) -> nn.Module:
        """The network with averaged weights, or the network itself if ``ema`` is off. Call ``eval()`` on it before use."""
        return self.module if self._averaged is None else self._averaged

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate the gradient of a loss for the next update; other networks in its graph receive none."""
        torch.autograd.backward(loss, inputs=self._parameters)

    def update(self) -> torch.Tensor:
        """Apply the gradient, averaged over all ranks; return its norm, a scalar.

        Raises DivergedError, and changes nothing, if the norm is not finite or over ``spike`` times its running mean.
        """
        self._average_over_ranks()
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        self._check_norm(float(norm))
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
            # Parameter groups, such as the learning rate, come from the recipe.
            "optimiser": {str(index): values for index, values in optimiser["state"].items()},
            "num_updates": self.num_updates,
            "usual_norm": self._usual_norm,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        if self._averaged is not None:
            self._averaged.load_state_dict(state["averaged"])
        # Copied, because the optimiser does not copy the tensors that it loads.
        values = {int(index): copy.deepcopy(values) for index, values in state["optimiser"].items()}
        self._optimiser.load_state_dict({"state": values, "param_groups": self._optimiser.state_dict()["param_groups"]})
        self._optimiser.zero_grad(set_to_none=True)
        self.num_updates, self._usual_norm = state["num_updates"], state["usual_norm"]

    def _check_norm(self, norm: float) -> None:
        if not math.isfinite(norm):
            raise DivergedError(f"gradient norm is {norm}")
        usual, spike = self._usual_norm, self.spec.spike
        if spike is not None and self.num_updates >= _SPIKES_AFTER and norm > spike * usual:
            raise DivergedError(f"gradient norm is {norm:.4g}, over {spike:g} times its usual {usual:.4g}")
        decay = min(_NORM_DECAY, self.num_updates / (self.num_updates + 1))
        self._usual_norm = decay * usual + (1 - decay) * norm

    def _average_over_ranks(self) -> None:
        if self._world == 1:
            return
        for parameter in self._parameters:
            # All ranks must send equal sizes: zeros for a parameter that this rank did not use.
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
        # A shorter average at the start, so that the initial weights are soon forgotten.
        decay = min(self.spec.ema, self.num_updates / (self.num_updates + 10))
        averages: list[torch.Tensor] = [*self._averaged.parameters()]
        values: list[torch.Tensor] = [*self.module.parameters()]
        torch._foreach_lerp_(averages, values, 1 - decay)
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
