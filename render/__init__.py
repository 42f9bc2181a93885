"""Gaussians and cameras to pixels."""
