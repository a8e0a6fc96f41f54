"""Does the video match its caption? A score for clips of moving digits, by anyone's model.

The truth of ``mnist-motion`` is known, so a generated clip can be judged without any downloaded network: where its digit goes
is measured, which digit it is a small network tells that was trained on handwriting of the training split. docs/benchmark.md
defines all of it.
"""
