"""The format on disk: shards, samples, the index, the manifest and the dataset card."""
