"""Models as they are loaded, versioned, batched and run."""
