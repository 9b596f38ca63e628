"""Ready models: the folders that hold them, and where they are found. Knows no network; lae_tf.model builds it."""
