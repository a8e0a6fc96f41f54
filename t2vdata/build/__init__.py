"""Building a dataset: plan shards, build each one on an engine, resume after interruptions, write the manifest last."""
