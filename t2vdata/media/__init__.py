"""Decode media files (``decode``, ``clip_reader``), and encode frames as the pixel members of samples (``encode``)."""
