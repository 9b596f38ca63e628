"""Scores and heatmaps for images, videos and pools of any size."""
