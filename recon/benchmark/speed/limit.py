"""The least time that a picture's blending can take on this machine, from what must be computed.

A vector is 16 float32: one block of 4 x 4 pixels. Counted are the (splat, block) pairs in which a
splat reaches a pixel that still takes colour; each costs the instructions below, and the machine
issues no more of them a second than `vector_peak` measures. Sorting and listing could be done by
other units meanwhile, so they do not add to the limit.
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (an intrinsic is called without the typing context that its definition takes)

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from avatar3d.gaussians import Gaussians
from avatar3d.numba_threads import in_parallel, thread_count
from avatar3d.numba_tickets import take_ticket
from recon.benchmark.speed.scene import Scene
from render.backends import base, reference
from render.backends.cpu.layout import BLOCK_PX
from render.backends.cpu.vector import FLOATS, INT64, LANES, Lanes, array_pointer, int64

# Vector instructions per block-vector, counted in the bodies of `_blend_block` (blend.py) and
# `_blend_splats_backward` (blend_backward.py); loads, broadcasts and masks come with them for free.
#   log2(alpha) as a polynomial 5, 2^x 10 (round 3, 5 of the polynomial, 2 for the exponent), cap 1,
#   two comparisons, new transmittance 1, weight 1, done mark 2, colours 3
FORWARD_INSTRUCTIONS = 25
#   log2(alpha) from distances 7, 2^x 10, cap 1, three comparisons, transmittance 2, done mark 1,
#   weight 1, shade 4, what is behind 1, a division (it costs more than one), w and its two
#   products 3, nine sums
BACKWARD_INSTRUCTIONS = 43


class Count(NamedTuple):
    pairs: int  # (splat, pixel) that change the picture
    block_vectors: int  # (splat, block of 4 x 4 px) with a pixel that must be looked at


def count_work(scene: Scene) -> Count:
    """Counted on the reference's projection in float64."""
    camera = scene.camera
    gaussians = Gaussians(*(value.detach().double() for value in scene.gaussians))
    splats = reference.project(
        gaussians,
        camera.viewmat.double(),
        camera.K.double(),
        camera.width,
        camera.height,
        antialiased=False,
    )
    arrays = (
        value.numpy()
        for value in (splats.means_px, splats.conics, splats.opacities, splats.half_sizes_px)
    )
    return Count(*_count(*arrays, camera.width, camera.height))


def vector_peak() -> float:
    """Fused multiply-adds of 16 float32 lanes a second, over all of torch's threads."""
    return max(_rate(probe) for probe in (_four_chains, _eight_chains, _twelve_chains))


def limit_ms(block_vectors: int, instructions: int, peak: float) -> float:
    return 1e3 * block_vectors * instructions / peak


@njit(cache=True)
def _count(means_px, conics, opacities, half_sizes_px, width, height):
    transmittance = np.ones((height, width))
    pairs, block_vectors = 0, 0
    for i in range(means_px.shape[0]):
        px, py = means_px[i, 0], means_px[i, 1]
        xx, xy, yy = conics[i, 0], conics[i, 1], conics[i, 2]
        # Pixels on the box's edge are looked at too: alpha decides.
        x0, x1 = max(int(px - half_sizes_px[i, 0] - 1.0), 0), px + half_sizes_px[i, 0] + 1.0
        y0, y1 = max(int(py - half_sizes_px[i, 1] - 1.0), 0), py + half_sizes_px[i, 1] + 1.0
        end_x, end_y = min(int(max(x1, 0.0)) + 1, width), min(int(max(y1, 0.0)) + 1, height)
        for top in range(y0 // BLOCK_PX * BLOCK_PX, end_y, BLOCK_PX):
            for left in range(x0 // BLOCK_PX * BLOCK_PX, end_x, BLOCK_PX):
                reached = False
                for y in range(top, min(top + BLOCK_PX, height)):
                    for x in range(left, min(left + BLOCK_PX, width)):
                        if transmittance[y, x] <= 0.0:  # this pixel is done
                            continue
                        dx, dy = x + 0.5 - px, y + 0.5 - py
                        power = -0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy
                        alpha = min(opacities[i] * math.exp(power), base.MAX_ALPHA)
                        if alpha < base.ALPHA_THRESHOLD:
                            continue
                        reached = True
                        after = transmittance[y, x] * (1.0 - alpha)
                        if after > base.TRANSMITTANCE_THRESHOLD:
                            transmittance[y, x] = after
                            pairs += 1
                        else:
                            transmittance[y, x] = 0.0
                block_vectors += reached
    return pairs, block_vectors


def _multiply_add_loop(chains: int):
    """An intrinsic (turns, array of LANES floats): `turns` times `chains` independent FMAs."""

    @intrinsic
    def loop(typing_context, turns, out):
        def generate(context, builder, signature, arguments):
            turns_ = arguments[0]
            out_ = array_pointer(context, builder, signature.args[1], arguments[1])
            lanes = Lanes(builder)
            factor = lanes.load(out_, int64(0))  # not known when compiling
            entry = builder.block
            body = builder.append_basic_block("body")
            done = builder.append_basic_block("done")
            builder.branch(body)

            builder.position_at_end(body)
            turn = builder.phi(INT64)
            turn.add_incoming(int64(0), entry)
            sums = [builder.phi(FLOATS) for _ in range(chains)]
            updated = [lanes.multiply_add(value, factor, factor) for value in sums]
            for index, (phi, value) in enumerate(zip(sums, updated)):
                phi.add_incoming(lanes.constant(float(index)), entry)
                phi.add_incoming(value, body)
            next_turn = builder.add(turn, int64(1))
            turn.add_incoming(next_turn, body)
            builder.cbranch(builder.icmp_signed("<", next_turn, turns_), body, done)

            builder.position_at_end(done)
            total = updated[0]
            for value in updated[1:]:
                total = builder.fadd(total, value)
            lanes.store(total, out_, int64(0))
            return ir.Constant(ir.IntType(32), 0)

        return types.int32(types.int64, out), generate

    @njit(nogil=True)
    def run(tickets, turns, out):
        probe = take_ticket(tickets)
        while probe < out.shape[0]:
            loop(turns, out[probe])
            probe = take_ticket(tickets)

    return run, chains


# A unit that starts two a cycle and needs four cycles is busy with eight; more hide more, but
# registers are few: 16 where a vector takes two of them.
_four_chains, _eight_chains, _twelve_chains = (_multiply_add_loop(count) for count in (4, 8, 12))
_TURNS = 200_000  # a fraction of a millisecond, so that some rounds are not disturbed
_ROUNDS = 60


def _rate(probe) -> float:
    run, chains = probe
    threads = thread_count()
    out = np.full((threads, LANES), 0.5, np.float32)
    in_parallel(run, 1, out)
    seconds = []
    for _ in range(_ROUNDS):
        out.fill(0.5)
        started = time.perf_counter()
        in_parallel(run, _TURNS, out)
        seconds.append(time.perf_counter() - started)
    return threads * chains * _TURNS / min(seconds)
