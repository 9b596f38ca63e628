"""Numbers that say how good scores are, with their intervals."""
