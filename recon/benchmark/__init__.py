"""Benchmarks: how well a method shows a person in poses that it has not seen."""

from recon.benchmark.clip import PreparedClip, PreparedFrame
from recon.benchmark.method import METHODS, Fitted, Method, get_method
from recon.benchmark.protocol import Protocol

__all__ = [
    "METHODS",
    "Fitted",
    "Method",
    "PreparedClip",
    "PreparedFrame",
    "Protocol",
    "get_method",
]
