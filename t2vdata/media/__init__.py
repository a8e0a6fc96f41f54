"""Media files to frames (``decode``, ``clip_reader``) and frames to the pixel members of samples (``encode``)."""
