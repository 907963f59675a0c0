"""Timelines and metrics. Pure numpy, no input or output."""
