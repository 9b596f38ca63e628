"""What lae_tf runs on: the two stacks, memory, registration with Keras, calls of Python from the graph."""
