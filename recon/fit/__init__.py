"""From tracked frames to an avatar: a start from unprojected pixels, then refinement."""
