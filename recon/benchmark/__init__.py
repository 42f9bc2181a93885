"""Benchmarks: how well a method shows a person in poses that it has not seen."""

from recon.benchmark.clip import PreparedClip, PreparedFrame
from recon.benchmark.config import FewshotConfig, NamedClip, find_clips
from recon.benchmark.method import METHODS, Fitted, Method, get_method
from recon.benchmark.protocol import Protocol
from recon.benchmark.report import Report
from recon.benchmark.run import run_fewshot

__all__ = [
    "METHODS",
    "FewshotConfig",
    "Fitted",
    "Method",
    "NamedClip",
    "PreparedClip",
    "PreparedFrame",
    "Protocol",
    "Report",
    "find_clips",
    "get_method",
    "run_fewshot",
]
