"""The configuration of a run: its sections, what their keys mean, and plain values from YAML."""
