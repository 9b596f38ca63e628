"""Which images are worth a mask: scoring the pool, channel concepts, strategies and the budget."""
