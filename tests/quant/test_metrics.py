"""Metrics: the named ones, functions of users, labels; and what is wrong with them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from nnefc.quant.metrics import MetricError, labels_for, metric_of

REAL = {"y": np.array([[[3.0, 4.0]], [[0.0, 1.0]]], np.float32)}
LABELS = np.array([1, 0])


def test_named_metrics() -> None:
    worse = {"y": REAL["y"] + np.array([0.5, 0.0], np.float32)}
    assert metric_of("snr")(REAL, REAL, None) == math.inf
    assert metric_of("snr")(worse, REAL, None) == pytest.approx(10 * math.log10(26 / 0.5))
    assert metric_of("cosine")(REAL, REAL, None) == 1.0
    angles = [(3.5 * 3 + 16) / (5 * math.hypot(3.5, 4)), 1 / math.hypot(0.5, 1)]
    assert metric_of("cosine")(worse, REAL, None) == pytest.approx(np.mean(angles))
    assert metric_of("top1")(REAL, REAL, LABELS) == 0.5
    broken = {"y": np.full_like(REAL["y"], np.nan)}
    assert metric_of("snr")(broken, REAL, None) == -math.inf


def test_the_worst_output_counts() -> None:
    two = {"a": REAL["y"], "b": REAL["y"]}
    seen = {"a": REAL["y"], "b": REAL["y"] * 1.1}
    assert metric_of("snr")(seen, two, None) == pytest.approx(20.0, abs=1e-4)


def test_what_a_quantized_network_should_reach() -> None:
    assert metric_of("snr").least(math.inf) == 20 and metric_of("snr").least(math.inf, 3) == 17
    assert metric_of("top1").least(0.9) == pytest.approx(0.899)
    assert metric_of("top1").least(0.9, 0.05) == pytest.approx(0.85)


def test_a_function_of_the_users(tmp_path: Path) -> None:
    file = tmp_path / "score.py"
    file.write_text("def least(answers, references, labels):\n    return min(a.min() for a in answers.values())\n")
    metric = metric_of(f"{file}:least")
    assert metric(REAL, REAL, None) == 0.0 and metric.name.endswith("score.py:least")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("def f(a, r, l): return 1 / 0", "f", "the metric .* fails: ZeroDivisionError"),
        ("def f(a, r, l): return 'good'", "f", "gives 'good'; it must give a number"),
        ("def f(a, r, l): return float('nan')", "f", "gives nan"),
        ("def f(a): return 1", "f", "fails: TypeError"),
        ("def g(a, r, l): return 1", "f", "no function 'f'; the file's functions are g"),
        ("f = 3", "f", "no function 'f'; the file's functions are none"),
        ("import nothing_of_this_name", "f", "cannot be run: ModuleNotFoundError"),
        ("def f(:", "f", "cannot be run: SyntaxError"),
    ],
)
def test_functions_that_do_not_work(tmp_path: Path, text: str, name: str, message: str) -> None:
    file = tmp_path / "score.py"
    file.write_text(text)
    with pytest.raises(MetricError, match=message):
        metric_of(f"{file}:{name}")(REAL, REAL, None)


def test_metrics_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="there is no such file"):
        metric_of(f"{tmp_path}/none.py:f")
    for name in ("top5", "score.py", "score.txt:f", ""):
        with pytest.raises(MetricError, match="there is no metric"):
            metric_of(name)


def test_labels_of_every_form(tmp_path: Path) -> None:
    rows = np.arange(4, dtype=np.uint8)
    np.save(tmp_path / "a.npy", rows)
    np.savez(tmp_path / "b.npz", labels=rows[:, None], images=rows)
    np.savez(tmp_path / "c.npz", digits=rows)
    for given in (rows, [0, 1, 2, 3], tmp_path / "a.npy", str(tmp_path / "b.npz"), tmp_path / "c.npz"):
        found = labels_for(given, 4)
        assert found.dtype == np.int64 and found.tolist() == [0, 1, 2, 3]


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", x=np.zeros(2, int), y=np.zeros(2, int))
    with pytest.raises(MetricError, match="it holds x, y; labels are looked for under 'labels'"):
        labels_for(tmp_path / "b.npz", 2)
    with pytest.raises(MetricError, match="there are 3 labels for 2 samples"):
        labels_for([1, 2, 3], 2)
    with pytest.raises(MetricError, match="labels are whole numbers"):
        labels_for(np.zeros((2, 2), int), 4)
