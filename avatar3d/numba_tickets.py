"""How the threads of a Numba kernel share its tasks. Imported by kernels only: Numba is optional."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

if TYPE_CHECKING:
    import numpy as np

    def take_ticket(tickets: np.ndarray) -> int:
        """Atomically: the value of tickets[0], which then is one more. tickets is an int64 array."""
        ...

else:

    @intrinsic
    def take_ticket(typing_context, tickets):
        def generate(context, builder, signature, arguments):
            pointer = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "monotonic")

        return types.int64(tickets), generate
