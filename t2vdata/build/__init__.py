"""Build a dataset: plan shards, build each on an engine, resume after interruptions, write the manifest last."""
