"""Score generated clips of moving digits: do they match their captions, and are they like real clips?

The ground truth of ``mnist-motion`` is known, so no downloaded network is needed to score a generated clip: motion is measured,
and a small network trained on the training split classifies the digit. docs/benchmark.md defines all metrics. From Python:

    from t2vdata.scoring import score
    from t2vdata.scoring.reference import ReferenceClips

    score.score(videos, captions)                           # Score: do they match? Needs no real clips
    reference = ReferenceClips.from_dataset("data/mnist-motion", "test", num_clips=400)
    score.controls(reference.videos, reference.captions)    # {name: Score} of degraded real clips, for comparison
    score.full_score(videos, captions, reference=reference) # FullScore: .match is the Score, .quality the rest
    score.table({"yours": (videos, captions)}, reference)   # {name: FullScore}, yours and the controls: the whole table

Clips are (T, H, W) or (T, H, W, C) uint8. ``FullScore.as_json()`` is a row of `t2vdata score --json`. ``gam.gam`` compares two
GANs by the decisions of their discriminators. ``train_digit_classifier`` and ``train_clip_classifier`` train the networks.
"""

from t2vdata import extras

extras.require("scoring", "torch", "torch", "safetensors")
