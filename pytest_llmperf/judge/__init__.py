"""Verdicts on SLOs and on changes. Pure, no input or output."""
