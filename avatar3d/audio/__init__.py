"""Voice to expression: sound in, ARKit coefficients out, frame by frame."""
