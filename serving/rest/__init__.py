"""TensorFlow Serving's REST API over ASGI."""
