"""Training of voice to expression: real clips, synthetic speech, weights, their benchmark."""
