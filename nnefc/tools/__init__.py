"""What works on whole models: conversion between formats, inspection, comparison."""

from __future__ import annotations

from nnefc.tools.compare import Comparison, Difference, compare
from nnefc.tools.convert import Conversion, convert
from nnefc.tools.inspect import inspect
from nnefc.tools.sides import MismatchError

__all__ = ["Comparison", "Conversion", "Difference", "MismatchError", "compare", "convert", "inspect"]
