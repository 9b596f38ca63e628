"""Ready models on the disk: what their folders hold, and where they are found. Knows no TensorFlow."""
