"""The comparison: all peers and LAE on one task, trained on one manipulation and tested on unseen ones."""
