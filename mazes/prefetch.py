"""Asking for memory ahead of its use."""

from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

_READ, _KEEP, _DATA = 0, 3, 1
"""The operands of LLVM's `llvm.prefetch`: what for, how long to keep it (3: longest), and of which cache."""


@intrinsic
def prefetch(typing_context, array, index):
    """Bring the cache line of an array's element nearer; one that is outside of the array does no harm.

    A processor finds out by itself which memory is read next if that lies in a row, and otherwise waits for it.
    """

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        integer = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [data.type, integer, integer, integer])
        function = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        place = builder.gep(data, [arguments[1]])
        builder.call(function, [place, *(integer(operand) for operand in (_READ, _KEEP, _DATA))])
        return context.get_dummy_value()

    return types.void(array, index), generate
