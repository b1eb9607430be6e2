"""Steps of optimizers: Adagrad, Adam, Momentum (operators of ai.onnx.preview.training)."""

from __future__ import annotations

from collections.abc import Sequence

from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope
from nnefc.ops.primitive import require

_DOMAIN = "ai.onnx.preview.training"


def _groups(s: Scope, n: Node, count: int) -> list[list[Imported]]:
    """The tensors of each parameter: inputs 2 on are ``count`` lists of equal length, one after the other."""
    rest = [v for v in n.inputs[2:] if v is not None]
    wrong = next((s.dtype(v) for v in (n.need(0), *rest) if s.dtype(v).kind != "f"), None)
    require(wrong is None, f"a tensor has elements of {wrong}; they must be floats")
    require(rest and len(rest) % count == 0, f"there are {len(rest)} tensors; it must be a multiple of {count}")
    each = len(rest) // count
    return [[rest[k * each + i] for k in range(count)] for i in range(each)]


def _regular(s: Scope, n: Node, x: Imported, g: Imported) -> Imported:
    """The gradient with that of the regularization term."""
    return s.op("add", [s.op("mul", [x, float(n.attr("norm_coefficient", 0.0))]), g])


def _mixed(s: Scope, a: Imported, b: Imported, share: float) -> Imported:
    return s.op("add", [s.op("mul", [a, share]), s.op("mul", [b, 1.0 - share])])


def _interleaved(results: Sequence[Sequence[Imported]]) -> list[Imported]:
    return [part for parts in zip(*results, strict=True) for part in parts]


@importer("Adagrad", domain=_DOMAIN)
def _adagrad(s: Scope, n: Node) -> Sequence[Imported]:
    groups = _groups(s, n, 3)
    rate, time = n.need(0), s.cast(n.need(1), s.dtype(n.need(0)))
    decay = s.op("add", [s.op("mul", [time, float(n.attr("decay_factor", 0.0))]), 1.0])
    rate = s.op("div", [rate, decay])
    results = []
    for x, g, h in groups:
        g = _regular(s, n, x, g)
        h = s.op("add", [h, s.op("sqr", [g])])
        root = s.op("add", [s.op("sqrt", [h]), float(n.attr("epsilon", 0.0))])
        step = s.op("div", [s.op("mul", [g, s.reshape(rate, ())]), root])
        results.append((s.op("sub", [x, step]), h))
    return _interleaved(results)


@importer("Adam", domain=_DOMAIN)
def _adam(s: Scope, n: Node) -> Sequence[Imported]:
    groups = _groups(s, n, 4)
    alpha, beta = float(n.attr("alpha", 0.9)), float(n.attr("beta", 0.999))
    rate, time = s.reshape(n.need(0), ()), s.reshape(s.cast(n.need(1), s.dtype(n.need(0))), ())
    first, second = (
        s.op("sub", [1.0, s.op("pow", [s.op("add", [s.op("mul", [time, 0.0]), b]), time])]) for b in (alpha, beta)
    )
    corrected = s.op("div", [s.op("mul", [rate, s.op("sqrt", [second])]), first])
    rate = s.op("select", [s.op("gt", [time, 0.0]), corrected, rate])
    results = []
    for x, g, v, h in groups:
        g = _regular(s, n, x, g)
        v = _mixed(s, v, g, alpha)
        h = _mixed(s, h, s.op("sqr", [g]), beta)
        root = s.op("add", [s.op("sqrt", [h]), float(n.attr("epsilon", 1e-6))])
        new = s.op("sub", [x, s.op("mul", [s.op("div", [v, root]), rate])])
        after = float(n.attr("norm_coefficient_post", 0.0))
        results.append((s.op("mul", [new, 1.0 - after]) if after else new, v, h))
    return _interleaved(results)


@importer("Momentum", domain=_DOMAIN)
def _momentum(s: Scope, n: Node) -> Sequence[Imported]:
    groups = _groups(s, n, 3)
    alpha, beta, mode = float(n.need_attr("alpha")), float(n.need_attr("beta")), str(n.need_attr("mode"))
    require(mode in ("standard", "nesterov"), f"mode = {mode!r} must be 'standard' or 'nesterov'")
    rate, time = s.reshape(n.need(0), ()), s.reshape(s.cast(n.need(1), s.dtype(n.need(0))), ())
    share = s.op("select", [s.op("gt", [time, 0.0]), beta, s.op("add", [s.op("mul", [time, 0.0]), 1.0])])
    results = []
    for x, g, v in groups:
        g = _regular(s, n, x, g)
        v = s.op("add", [s.op("mul", [v, alpha]), s.op("mul", [g, share])])
        step = v if mode == "standard" else s.op("add", [g, s.op("mul", [v, alpha])])
        results.append((s.op("sub", [x, s.op("mul", [step, rate])]), v))
    return _interleaved(results)
