"""Metrics, seen-against-unseen evaluation and reports."""
