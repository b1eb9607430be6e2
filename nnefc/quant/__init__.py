"""Post-training quantization: data, calibration, ranges, and networks with encodings."""

from __future__ import annotations

from nnefc.quant.calibration import Calibration
from nnefc.quant.data import DataError, Samples
from nnefc.quant.prepare import prepare
from nnefc.quant.quantize import CodedTensor, Quantization, calibrate, quantize, quantized
from nnefc.quant.recipe import Recipe, RecipeError, Rule, Setting, load_recipe, recipe_of, setting_of
from nnefc.quant.scheme import SCHEMES, Scheme

__all__ = [
    "SCHEMES",
    "Calibration",
    "CodedTensor",
    "DataError",
    "Quantization",
    "Recipe",
    "RecipeError",
    "Rule",
    "Samples",
    "Scheme",
    "Setting",
    "calibrate",
    "load_recipe",
    "prepare",
    "quantize",
    "quantized",
    "recipe_of",
    "setting_of",
]
