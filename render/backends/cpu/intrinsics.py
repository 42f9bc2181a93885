"""Scalar instructions that Numba has no name for."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def float_bits(typing_context, value):
    """The bits of a float32 as int32; for positive floats they sort as the floats do."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def bits_float(typing_context, value):
    """The float32 of an int32's bits."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


def _rounding(name: str):
    """LLVM's own, since Numba calls a function that keeps a loop scalar."""

    @intrinsic
    def rounding(typing_context, value):
        def generate(context, builder, signature, arguments):
            number = ir.FloatType()
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(number, [number]), f"llvm.{name}.f32"
            )
            return builder.call(function, arguments)

        return types.float32(types.float32), generate

    return rounding


floor, ceil = _rounding("floor"), _rounding("ceil")


@intrinsic
def lowest_bit(typing_context, mask):
    """Index of the lowest set bit of a nonzero int32."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int32(types.int32), generate
