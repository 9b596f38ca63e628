"""What people look at: plots, panels of images, and one HTML page."""
