"""What works without a kernel: the picture that a widget leaves in its notebook, and one page."""
