"""Bytes to frames and frames to bytes."""
