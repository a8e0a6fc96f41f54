"""Captions: cleaning, counting, language detection, and conversion to token ids and back."""
