"""Glow for video: clips frame by frame with an exact likelihood, conditioned on labels and on earlier frames.

After "Label-conditioned next-frame video generation with neural flows" (arXiv:1910.11106), on quantised data. Recipe sections:

- ``model`` (spec.py): what a frame is conditioned on, and how pixels are quantised;
- ``head``, ``tail`` (flow.py): the flows of the first frame and of later frames;
- ``loss``, ``evaluation`` (spec.py): what is minimised; how likelihoods are estimated and clips sampled;
- ``head_optimiser``, ``tail_optimiser``, ``state_optimiser``: the optimiser of each part.
"""

from __future__ import annotations

from baselines.glow.flow import FlowSpec
from baselines.glow.spec import EvaluationSpec, LossSpec, ModelSpec
from baselines.glow.trainer import Trainer
from baselines.learner import OptimiserSpec

__all__ = ["SECTIONS", "Trainer"]

SECTIONS = {
    "model": ModelSpec,
    "head": FlowSpec,
    "tail": FlowSpec,
    "loss": LossSpec,
    "evaluation": EvaluationSpec,
    "head_optimiser": OptimiserSpec,
    "tail_optimiser": OptimiserSpec,
    "state_optimiser": OptimiserSpec,
}
