"""Sixteen float32 lanes as explicit LLVM vectors, for kernels that LLVM leaves scalar.

Inside a Numba `@intrinsic` a `Lanes` emits instructions on `<16 x float>`; LLVM maps them to one
AVX-512 register, two AVX or four NEON ones. A vector holds a block of 4 x 4 pixels.

Numba caches a kernel by the file that holds it: after a change here, delete `__pycache__/*.nb*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

Value = Any  # an ir.Value; llvmlite comes without types

LANES = 16
FLOAT, INT32, INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
MASK_BITS = ir.IntType(LANES)
FLOATS, INTS = ir.VectorType(FLOAT, LANES), ir.VectorType(INT32, LANES)
_FLOATS_TYPE_NAME = f"v{LANES}f32"

# 2^f on [-0.5, 0.5], relative error 2e-7: highest power first.
_EXP2_POLYNOMIAL = (1.3333558e-3, 9.6181291e-3, 5.5504109e-2, 2.4022651e-1, 6.9314718e-1, 1.0)
# Added to a float, it rounds to whole numbers and leaves them in the lowest bits: 1.5 * 2^23.
_ROUNDER = 12582912.0
_SIGN_BIT = -0.0
# What an inner loop may hold in registers (see `Lanes.hold`).
EXP2_CONSTANTS = (*_EXP2_POLYNOMIAL, _ROUNDER)
SIGN_CONSTANTS = (_SIGN_BIT,)


def int64(value: int) -> Value:
    return ir.Constant(INT64, value)


class Lanes:
    """Emits vector instructions at a builder's position."""

    def __init__(self, builder: Any):
        self.builder = builder
        self._undefined = ir.Constant(FLOATS, ir.Undefined)
        self._held: dict[bytes, Value] = {}

    def hold(self, base: Value, constants: Sequence[float]) -> None:
        """Take these constants from memory, where the kernel's caller put them.

        LLVM reads a constant that it knows from memory again in every turn of a loop; what it does
        not know stays in a register.
        """
        for index, constant in enumerate(constants):
            self._held[np.float32(constant).tobytes()] = self.load_splat(base, int64(index))

    def constant(self, value: float | list[float]) -> Value:
        if isinstance(value, list):
            return ir.Constant(FLOATS, [float(np.float32(lane)) for lane in value])
        held = self._held.get(np.float32(value).tobytes())
        return ir.Constant(FLOATS, [float(np.float32(value))] * LANES) if held is None else held

    def splat(self, scalar: Value) -> Value:
        """The scalar in all lanes."""
        first = self.builder.insert_element(self._undefined, scalar, ir.Constant(INT32, 0))
        return self.builder.shuffle_vector(first, self._undefined, ir.Constant(INTS, [0] * LANES))

    def splat_int(self, scalar: Value) -> Value:
        undefined = ir.Constant(INTS, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(INT32, 0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(INTS, [0] * LANES))

    def compress(self, values: Value, kept: Value) -> Value:
        """The kept integers at the front, in order; anything behind them."""
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(INTS, [INTS, ir.VectorType(ir.IntType(1), LANES), INTS]),
            f"llvm.experimental.vector.compress.v{LANES}i32",
        )
        return self.builder.call(function, [values, kept, ir.Constant(INTS, ir.Undefined)])

    def load(self, base: Value, index: Value) -> Value:
        pointer = self.builder.gep(base, [index])
        return self.builder.load(self.builder.bitcast(pointer, FLOATS.as_pointer()), align=4)

    def store(self, vector: Value, base: Value, index: Value) -> None:
        pointer = self.builder.gep(base, [index])
        self.builder.store(vector, self.builder.bitcast(pointer, FLOATS.as_pointer()), align=4)

    def load_splat(self, base: Value, index: Value) -> Value:
        """One float of memory in all lanes."""
        return self.splat(self.builder.load(self.builder.gep(base, [index])))

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c, rounded once."""
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(FLOATS, [FLOATS] * 3),
            f"llvm.fma.{_FLOATS_TYPE_NAME}",
        )
        return self.builder.call(function, [a, b, c])

    def negate(self, a: Value) -> Value:
        return self.builder.fneg(a)

    def minimum(self, a: Value, b: Value) -> Value:
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)

    def maximum(self, a: Value, b: Value) -> Value:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def exp2(self, powers: list[Value]) -> list[Value]:
        """2^power for -126 < power < 128; below, something. Step by step for all of them."""
        builder = self.builder
        rounder = self.constant(_ROUNDER)
        rounded = [builder.fadd(power, rounder) for power in powers]
        fractions = [
            builder.fsub(power, builder.fsub(whole, rounder))
            for power, whole in zip(powers, rounded)
        ]
        values = [self.constant(_EXP2_POLYNOMIAL[0]) for _ in powers]
        for coefficient in _EXP2_POLYNOMIAL[1:]:
            values = [
                self.multiply_add(value, fraction, self.constant(coefficient))
                for value, fraction in zip(values, fractions)
            ]
        by = ir.Constant(INTS, [23] * LANES)
        shifts = [builder.shl(builder.bitcast(whole, INTS), by) for whole in rounded]
        return [
            builder.bitcast(builder.add(builder.bitcast(value, INTS), shift), FLOATS)
            for value, shift in zip(values, shifts)
        ]

    def with_sign_bit(self, a: Value) -> Value:
        """-|a|."""
        builder = self.builder
        sign = builder.bitcast(self.constant(_SIGN_BIT), INTS)
        return builder.bitcast(builder.or_(builder.bitcast(a, INTS), sign), FLOATS)

    def absolute(self, a: Value) -> Value:
        builder = self.builder
        bits = builder.and_(builder.bitcast(a, INTS), ir.Constant(INTS, [2**31 - 1] * LANES))
        return builder.bitcast(bits, FLOATS)

    def to_8_bit(self, a: Value) -> Value:
        """0..1 to 0..255 (sixteen int8), rounded and clipped; what is not a number becomes 0."""
        builder = self.builder
        scaled = self.maximum(builder.fmul(a, self.constant(255.0)), self.constant(0.0))
        scaled = builder.fadd(self.minimum(scaled, self.constant(255.0)), self.constant(0.5))
        return builder.trunc(builder.fptosi(scaled, INTS), ir.VectorType(ir.IntType(8), LANES))

    def part(self, a: Value, first: int, count: int) -> Value:
        """Lanes first..first + count."""
        return self._shuffle(a, a, range(first, first + count))

    def interleaved(self, vectors: list[Value], first: int, count: int) -> Value:
        """Lanes first..first + count of three vectors: a0 b0 c0 a1 b1 c1 ..."""
        a, b, c = vectors
        pairs = [first + k // 3 + (LANES if k % 3 == 1 else 0) for k in range(3 * count)]
        pairs += [0] * (LANES - len(pairs))
        third = [LANES + first + k // 3 if k % 3 == 2 else k for k in range(3 * count)]
        return self._shuffle(self._shuffle(a, b, pairs), c, third)

    def load_lines(self, base: Value, starts: list[Value]) -> Value:
        """Sixteen floats, four from each of four places."""
        fours = [self._load_some(base, start, 4) for start in starts]
        low, high = (self._shuffle(fours[k], fours[k + 1], range(8)) for k in (0, 2))
        return self._shuffle(low, high, range(LANES))

    def load_lines_of_three(self, base: Value, starts: list[Value]) -> list[Value]:
        """Of a0 b0 c0 a1 b1 c1 ..., four from each of four places: a, b and c."""
        twelves = [self._load_some(base, start, 12) for start in starts]
        pairs = [self._shuffle(twelves[k], twelves[k + 1], range(24)) for k in (0, 2)]
        every_third = [range(channel, 24, 3) for channel in range(3)]
        return [
            self._shuffle(
                self._shuffle(pairs[0], pairs[0], third),
                self._shuffle(pairs[1], pairs[1], third),
                range(LANES),
            )
            for third in every_third
        ]

    def _load_some(self, base: Value, index: Value, count: int) -> Value:
        pointer = self.builder.gep(base, [index])
        pointer = self.builder.bitcast(pointer, ir.VectorType(FLOAT, count).as_pointer())
        return self.builder.load(pointer, align=4)

    def store_any(self, vector: Value, base: Value, index: Value) -> None:
        """A vector of any type, from element `index`."""
        pointer = self.builder.gep(base, [index])
        pointer = self.builder.bitcast(pointer, vector.type.as_pointer())
        self.builder.store(vector, pointer, align=1 if vector.type.element == ir.IntType(8) else 4)

    def _shuffle(self, a: Value, b: Value, lanes: Iterable[int]) -> Value:
        lanes = list(lanes)
        mask = ir.Constant(ir.VectorType(INT32, len(lanes)), lanes)
        return self.builder.shuffle_vector(a, b, mask)

    def all_negative(self, a: Value) -> Value:
        """One bit: is the sign bit set in every lane?"""
        builder = self.builder
        signs = builder.icmp_signed("<", builder.bitcast(a, INTS), ir.Constant(INTS, [0] * LANES))
        every = ir.Constant(MASK_BITS, 2**LANES - 1)
        return builder.icmp_unsigned("==", builder.bitcast(signs, MASK_BITS), every)

    def mask_bits(self, condition: Value) -> Value:
        """Sixteen conditions as the low bits of an int32."""
        return self.builder.zext(self.builder.bitcast(condition, MASK_BITS), INT32)

    def sum_each(self, vectors: list[Value]) -> Value:
        """Up to 16 vectors -> one whose lane k is the sum over vector k (a reducing transpose)."""
        builder = self.builder
        even = ir.Constant(INTS, list(range(0, 2 * LANES, 2)))
        odd = ir.Constant(INTS, list(range(1, 2 * LANES, 2)))
        zero = self.constant(0.0)
        level = list(vectors)
        for _ in range(4):  # each turns pairs of vectors into one of half sums
            if len(level) % 2:
                level.append(zero)
            pairs = zip(level[::2], level[1::2])
            level = [
                zero
                if a is zero and b is zero
                else builder.fadd(
                    builder.shuffle_vector(a, b, even), builder.shuffle_vector(a, b, odd)
                )
                for a, b in pairs
            ]
        return level[0]


def array_pointer(context, builder: Any, array_type, value: Value) -> Value:
    """float* or int* to the first element of a contiguous Numba array argument."""
    return context.make_array(array_type)(context, builder, value).data
