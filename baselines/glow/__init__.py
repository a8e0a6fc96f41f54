"""Flows that make clips frame by frame, with an exact likelihood: Glow, conditioned on labels and on the frames before.

After "Label-conditioned next-frame video generation with neural flows" (arXiv:1910.11106), with data that are quantised:

- ``model`` (spec.py): what a frame depends on, and what a pixel is;
- ``head``, ``tail`` (flow.py): the flows of the first frame and of later ones;
- ``loss``, ``evaluation`` (spec.py): what is minimised; how likelihoods are measured and clips sampled;
- ``head_optimiser``, ``tail_optimiser``, ``state_optimiser``: how each part learns.
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
