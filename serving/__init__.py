"""Serving: the TensorFlow Serving REST API on one machine, and its clients."""
