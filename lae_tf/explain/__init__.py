"""Explanations of decisions, and which of them to trust. Our own attention stands beside methods of tf-keras-vis."""
