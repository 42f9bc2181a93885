"""Scalar instructions that Numba has no name for."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from render.backends.cpu.vector import array_pointer


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
def take_ticket(typing_context, counter):
    """Atomically: the value of counter[0], which then is one more. counter is an int64 array."""

    def generate(context, builder, signature, arguments):
        pointer = array_pointer(context, builder, signature.args[0], arguments[0])
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), generate


@intrinsic
def lowest_bit(typing_context, mask):
    """Index of the lowest set bit of a nonzero int32."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int32(types.int32), generate
