"""Images, masks and manifests in; batches out. Knows nothing of the model."""
