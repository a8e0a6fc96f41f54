"""Does the video match its caption? A score for clips of moving digits, by anyone's model.

The truth of ``mnist-motion`` is known, so a generated clip can be judged without any downloaded network: where its digit goes
is measured, which digit it is a small network tells that was trained on handwriting of the training split. docs/benchmark.md
defines all of it. To score a model from Python:

    from t2vdata.scoring import score
    from t2vdata.scoring.real import Real

    score.score(videos, captions)                           # Score: do they match? No real clips are needed
    real = Real.of_dataset("data/mnist-motion", "test", num_clips=400)
    score.controls(real.videos, real.captions)              # {name: Score} of real clips with something taken away
    score.full(videos, captions, real=real)                 # Full: .match is the Score, .quality the rest
    score.table({"yours": (videos, captions)}, real)        # {name: Full}, yours and the controls: the whole table

Clips are (T, H, W) or (T, H, W, C) uint8. ``Full.as_json()`` is what `t2vdata score --json` prints of a row. Two GANs are
compared by ``gam.gam``, from what their discriminators decided. ``train`` and ``train_classifier`` make the networks' weights.
"""
