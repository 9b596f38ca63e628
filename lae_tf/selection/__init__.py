"""Which images are worth a mask: scoring the candidates, channel concepts, strategies and the budget."""
