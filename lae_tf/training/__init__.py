"""Training stages and the run directory."""
