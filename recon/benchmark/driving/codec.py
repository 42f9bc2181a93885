"""`avatar3d benchmark codec`: how few bits a second codes need, and how exact they stay."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from avatar3d.animation import expression_tour
from avatar3d.animation.codec import CodeDecoder, CodeEncoder, bits_per_second
from avatar3d.motion import Motion
from recon.benchmark.driving.plots import plots_of
from recon.benchmark.report import Report, Row, commit, make_report, markdown_table

NAME = "codec"
RATE = 30.0
LOSS = 0.05
HEADER_BYTES = 28  # of IPv4 and UDP, which every packet pays besides


class CodecReport(Report):
    def plots(self) -> dict[str, str]:
        return plots_of(self.name, self.rows)

    def markdown(self) -> str:
        figures = "\n".join(f"| {name} | {value:.4g} |" for name, value in self.summary.items())
        columns = [
            ("kbit/s", "kbit_per_second", 2),
            ("greatest error", "greatest_error", 4),
            ("mean error", "mean_error", 4),
            ("5 % lost: mean error", "mean_error_with_loss", 4),
            ("us a code", "us_per_code", 0),
        ]
        table = markdown_table(self.rows, ("motion",), columns)
        return f"{self.heading()}| figure | value |\n|---|---:|\n{figures}\n\n{table}"


def run_codec(motions: Mapping[str, Motion], *, quick: bool = False) -> Report:
    """Send each motion at 30 codes a second; without any, the expressions of the demo."""
    commit()
    motions = dict(motions) or {"expressions": expression_tour(RATE)}
    rows = [{"motion": name, **_sent(motion, quick)} for name, motion in motions.items()]
    summary = {
        figure: float(np.mean([row[figure] for row in rows]))
        for figure in ("kbit_per_second", "mean_error", "mean_error_with_loss")
    }
    summary["kbit_per_second_most"] = max(row["kbit_per_second"] for row in rows)
    summary["greatest_error"] = max(row["greatest_error"] for row in rows)
    summary["kbit_per_second_with_udp_headers"] = (
        summary["kbit_per_second"] + HEADER_BYTES * 8 * RATE / 1e3
    )
    settings = {"rate": RATE, "loss": LOSS, "motions": list(motions), "quick": quick}
    return make_report(NAME, settings, rows, summary, CodecReport)


def _sent(motion: Motion, quick: bool) -> Row:
    codes = motion.resample(RATE).codes
    count = min(len(codes.coefficients), 60 if quick else 1800)
    encoder, decoder, lossy = CodeEncoder(RATE), CodeDecoder(), CodeDecoder()
    rng = np.random.default_rng(0)
    packets, errors, errors_lossy = [], [], []
    started = time.perf_counter()
    for index in range(count):
        packets.append(encoder.encode(codes.at(index)))
    seconds = time.perf_counter() - started
    shown = 0
    for index, packet in enumerate(packets):
        received = decoder.decode(packet)[-1].code.coefficients
        errors.append((received - codes.coefficients[index]).abs())
        if index and rng.random() < LOSS:
            continue
        for each in lossy.decode(packet):
            errors_lossy.append((each.code.coefficients - codes.coefficients[shown]).abs())
            shown += 1
    return {
        "kbit_per_second": bits_per_second(packets, RATE) / 1e3,
        "greatest_error": float(max(error.max() for error in errors)),
        "mean_error": float(np.mean([error.mean() for error in errors])),
        "mean_error_with_loss": float(np.mean([error.mean() for error in errors_lossy])),
        "us_per_code": 1e6 * seconds / max(count, 1),
    }
