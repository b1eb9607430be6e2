"""The node cases of ONNX that are not supported, each with its reason, as patterns of their names.

Every case that a pattern matches must be refused with UnsupportedError, or not be what it should be in the way that the
reason says; one that passes is an entry that is no longer true.
"""

from __future__ import annotations

import re

_NARROW = "U?INT[24]|FLOAT8E[0-9A-Z]+|FLOAT4E2M1"

REASONS: tuple[tuple[str, str], ...] = (
    (
        rf"test_cast(like)?_(no_saturate_|e8m0_)?(({_NARROW})_to_\w+|\w+_to_({_NARROW})(_expanded)?)",
        "elements of 2 or 4 bits, or floats of 8, that are not known when the model is read",
    ),
    (
        r"test_(de)?quantizelinear_(e4m3fn|e5m2|u?int[24]|float4e2m1)\w*",
        "elements of 2 or 4 bits, or floats of 8, that are not known when the model is read",
    ),
    (
        r"(simple/)?test_(equal_string|string_|strnorm|regex_full_match|ai_onnx_ml_label_encoder)\w*",
        "tensors of strings",
    ),
    (r"test_tfidfvectorizer_\w+", "the operation is not supported: n-grams of tokens"),
    (r"test_image_decoder_\w+", "the operation is not supported: compressed images"),
    (r"test_ai_onnx_ml_tree_ensemble_\w+", "the operation is not supported: decision trees"),
    (r"simple/test_gradient_of_\w+", "the operation is not supported: gradients"),
    (r"test_(identity_sequence|loop13_seq|sequence_map_\w+|sequence_insert_\w+)", "inputs that are sequences"),
    (
        r"test_(identity_opt|loop16_seq_none|optional_get_element_(sequence|optional_\w+))",
        "inputs that are optionals or sequences",
    ),
    (r"test_optional_has_element_((empty_)?optional|tensor)_input", "inputs that are optionals or sequences"),
    (r"test_split_to_sequence_(1|2|nokeepdims)", "outputs that are sequences"),
    (r"test_if_(seq|opt)", "branches that give sequences, chosen by a computed condition"),
    (r"test_training_dropout_?(default|mask)?(_mask)?", "results drawn at random"),
    (r"test_bernoulli\w*", "results drawn at random"),
    (r"test_(unique_sorted_with_(axis|axis_3d|negative_axis)|nonzero_example)", "results whose extent depends on data"),
    (
        r"test_nonmaxsuppression_(suppress_by_IOU_and_scores|identical_boxes)",
        "results whose extent depends on data: the rest is filled with -1",
    ),
    (
        r"test_(constantofshape_int_shape_zero|shape_start_greater_than_end|split_zero_size_splits_opset1[38])",
        "outputs without elements",
    ),
    (
        r"test_(reduce_sum_empty_set_non_reduced_axis_zero|reshape_allowzero_reordered|slice_start_out_of_bounds|tri[lu]_zero)",
        "outputs without elements",
    ),
    (r"test_causal_conv_with_state_kernel_size_one(_expanded)?", "outputs without elements"),
    (r"test_bitcast_2d_float32_to_int32", "bits of computed values as another type"),
)
"""A pattern of whole names, and the reason."""

ROUNDED: tuple[tuple[str, str, float, float], ...] = (
    (r"test_dft_inverse(_opset19)?", "recorded values with rounding errors above the case's tolerance", 1e-3, 1e-6),
    (r"test_attention_4d_causal_fp16(_expanded)?", "recorded values rounded to f16 after every step", 2e-3, 1e-7),
)
"""Patterns of cases whose recorded values are less exact than the case asks for, the reason, and the relative and
absolute tolerance that they are held to; they do not count as passed where they miss that of the case."""


def rounded(name: str) -> tuple[str, float, float] | None:
    """Why a case's recorded values are not exact, and the tolerances it is held to; None for other cases."""
    return next(((why, rtol, atol) for pattern, why, rtol, atol in ROUNDED if re.fullmatch(pattern, name)), None)


def reason(name: str) -> str | None:
    """Why a case is not supported, or None if it is."""
    return next((why for pattern, why in REASONS if re.fullmatch(pattern, name)), None)
