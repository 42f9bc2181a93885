"""Ways to rasterize; `base.py` is what they share."""
