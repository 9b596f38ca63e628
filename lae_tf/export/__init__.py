"""Export of a trained run: SavedModel for TensorFlow Serving, TFLite and ONNX, each held against the checkpoint."""
