"""Image and landmark metrics, each beside the reference that defines it."""
