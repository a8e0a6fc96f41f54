"""Captions: cleaning and counting them, telling their language, turning them into token ids and back."""
