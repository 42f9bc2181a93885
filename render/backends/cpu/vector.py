"""Sixteen float32 lanes as explicit LLVM vectors, for kernels that LLVM leaves scalar.

Inside a Numba `@intrinsic` a `Lanes` emits instructions on `<16 x float>`; LLVM maps them to one
AVX-512 register, two AVX or four NEON ones. A vector holds a block of 4 x 4 pixels.

Numba caches a kernel by the file that holds it: after a change here, delete `__pycache__/*.nb*`.
"""

from __future__ import annotations

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
# The bits of 1/x are about this minus the bits of x; three Newton steps make it exact to rounding.
_RECIPROCAL_SEED = 0x7EF311C7
_SIGN_BIT = -(2**31)


def int64(value: int) -> Value:
    return ir.Constant(INT64, value)


class Lanes:
    """Emits vector instructions at a builder's position."""

    def __init__(self, builder: Any):
        self.builder = builder
        self._undefined = ir.Constant(FLOATS, ir.Undefined)

    def constant(self, value: float | list[float]) -> Value:
        values = value if isinstance(value, list) else [value] * LANES
        return ir.Constant(FLOATS, [float(np.float32(lane)) for lane in values])

    def splat(self, scalar: Value) -> Value:
        """The scalar in all lanes."""
        first = self.builder.insert_element(self._undefined, scalar, ir.Constant(INT32, 0))
        return self.builder.shuffle_vector(first, self._undefined, ir.Constant(INTS, [0] * LANES))

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

    def exp2(self, power: Value) -> Value:
        """2^power for powers up to 127; anything below 2^-60 gives 2^-60."""
        builder = self.builder
        power = self.maximum(power, self.constant(-60.0))
        rint = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(FLOATS, [FLOATS]), f"llvm.rint.{_FLOATS_TYPE_NAME}"
        )
        whole = builder.call(rint, [power])
        fraction = builder.fsub(power, whole)
        value = self.constant(_EXP2_POLYNOMIAL[0])
        for coefficient in _EXP2_POLYNOMIAL[1:]:
            value = self.multiply_add(value, fraction, self.constant(coefficient))
        shift = builder.shl(builder.fptosi(whole, INTS), ir.Constant(INTS, [23] * LANES))
        return builder.bitcast(builder.add(builder.bitcast(value, INTS), shift), FLOATS)

    def reciprocal(self, a: Value) -> Value:
        """1 / a for normal positive a; several times the throughput of a vector division."""
        builder = self.builder
        seed = ir.Constant(INTS, [_RECIPROCAL_SEED] * LANES)
        inverse = builder.bitcast(builder.sub(seed, builder.bitcast(a, INTS)), FLOATS)
        for _ in range(3):
            error = self.multiply_add(self.negate(a), inverse, self.constant(1.0))
            inverse = self.multiply_add(inverse, error, inverse)
        return inverse

    def with_sign_bit(self, a: Value) -> Value:
        """-|a|."""
        builder = self.builder
        bits = builder.or_(builder.bitcast(a, INTS), ir.Constant(INTS, [_SIGN_BIT] * LANES))
        return builder.bitcast(bits, FLOATS)

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
