"""Who does the work: an engine is ``run(work, plans) -> reports``, in any order. It knows nothing of the work."""
