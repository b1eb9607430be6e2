"""What a reader of NNEF accepts beyond the letter of the standard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from nnefc.errors import Location

TRACT_PREFIX = "tract_"
"""What the words start with that declare tract's dialect, and the names of its operations."""

Notes = Callable[[str, Location | None], None]
"""Takes a line about something tolerated, and its place."""


@dataclass(frozen=True)
class Dialect:
    """Tolerances, each off in the standard's own dialect. Whoever uses one says so in a note."""

    missing_extensions: bool = False
    """Fragment definitions and operator expressions without the KHR extension that enables them (3.2.2, 3.2.3)."""
    unknown_extensions: bool = False
    """Extensions that nnefc does not know; they are kept and change nothing."""
    positional_attributes: bool = False
    """``softmax(x, [1])``: attributes by position (3.3.2)."""
    integer_for_scalar: bool = False
    """``add(x, 1)``: an integer where a scalar is wanted (3.3.1)."""
    single_for_array: bool = False
    """``softmax(x, axes = 1)``: one item where an array is wanted."""
    vector_bias: bool = False
    """A bias of shape [C] where [1,C] is wanted, as exporters of PyTorch write it."""
    empty_parameters: bool = False
    """Fragments without parameters, and graphs without inputs (3.2.2, 3.2.1)."""
    nonfinite_scalars: bool = False
    """``scalar('inf')``, ``scalar('-inf')`` and ``scalar('nan')``, for which NNEF has no literals (3.3.3)."""
    any_item_type: bool = False
    """Stored items of another kind than the variable's, as quantized integers for ``variable<integer>`` (5.2.1)."""
    tensor_for_attribute: bool = False
    """A tensor whose stored value is one number where an attribute's value is wanted, as ``epsilon`` (3.3.2)."""
    literal_tensors: bool = False
    """``k = [[0.5]];`` in the body of the graph: an array of numbers for a constant (3.3.2)."""
    tract: bool = False
    """Documents that declare ``tract_registry``: what torch_to_nnef writes for the engine tract."""
    unknown_quantized: bool = False
    """Lines of tract's ``graph.quant`` for tensors that are not there once its operations have been read (5.3)."""


STRICT = Dialect()
"""NNEF 1.0.5 to the letter."""
TOLERANT = Dialect(**{f.name: True for f in fields(Dialect)})
"""What files in the wild need."""
