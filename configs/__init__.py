"""Training configurations, one YAML per protocol."""
