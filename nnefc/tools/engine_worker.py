"""A process that runs one network in one engine and times it. It imports nothing of nnefc: run by path, it weighs no
more than the engine and NumPy.

It reads requests, a JSON object a line, from standard input, and answers each with one. ``engine`` is ``nnefc`` (the
path is a compiled folder), ``ort``, ``openvino`` or ``tract``.

    {"do": "open", "engine": ..., "path": ..., "threads": n, "inputs": FILE.npz}   {"seconds": of loading}
    {"do": "round", "seconds": s, "calls": n, "pause": s}                          {"times": [seconds of each call]}
    {"do": "answers", "path": FILE.npz}                                            {}
    {"do": "memory"}                                                               {"peak": bytes}

A fault gives {"error": text}.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
Call = Callable[[], Any]


def matched(names: Sequence[str], inputs: Arrays) -> list[tuple[str, np.ndarray]]:
    """The array of each input: by name where all names are known, else by position."""
    if all(name in inputs for name in names):
        return [(name, inputs[name]) for name in names]
    if len(names) != len(inputs):
        raise ValueError(f"the model has the inputs {', '.join(names)}, but {', '.join(inputs)} are given")
    return list(zip(names, inputs.values(), strict=True))


def open_nnefc(path: str, threads: int, inputs: Arrays) -> Call:
    """A compiled folder."""
    folder, name = os.path.split(os.path.abspath(path))
    sys.path.insert(0, folder)
    model = importlib.import_module(name).model
    model.threads = threads
    arrays = [inputs[port.name] for port in model.inputs]

    def call() -> Any:
        return model(*arrays)

    return call


def open_ort(path: str, threads: int, inputs: Arrays) -> Call:
    """ONNX Runtime, as it comes but for the number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    fed = dict(matched([i.name for i in session.get_inputs()], inputs))
    return lambda: session.run(None, fed)


def open_openvino(path: str, threads: int, inputs: Arrays) -> Call:
    """OpenVINO in single precision, tuned for latency, reading inputs and giving outputs in place."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    names = [next((n for n in sorted(port.names) if n in inputs), port.any_name) for port in model.inputs]
    fed = {i: array for i, (_, array) in enumerate(matched(names, inputs))}
    model.reshape({i: list(array.shape) for i, array in fed.items()})
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def call() -> Any:
        results = request.infer(fed, share_inputs=True, share_outputs=True)
        return [results[i] for i in range(len(results))]

    return call


def open_tract(path: str, threads: int, inputs: Arrays) -> Call:
    """tract, which has one thread."""
    import tract

    if path.endswith(".onnx"):
        inference = tract.onnx().load(path)
        fed = [x for _, x in matched([inference.input_name(i) for i in range(inference.input_count())], inputs)]
        for i, array in enumerate(fed):
            kind = str(array.dtype).replace("float", "f").replace("uint", "u").replace("int", "i")
            inference.set_input_fact(i, ",".join([*map(str, array.shape), kind]))
        model = inference.into_model()
    else:
        model = tract.nnef().with_tract_extra().with_tract_transformers().load(path)
        fed = [x for _, x in matched([model.input_name(i) for i in range(model.input_count())], inputs)]
    runnable = model.into_runnable()
    return lambda: runnable.run(fed)


OPEN = {"nnefc": open_nnefc, "ort": open_ort, "openvino": open_openvino, "tract": open_tract}


def warm_import(engine: str) -> None:
    """Import the engine's package, so that the time of loading is the model's."""
    if engine != "nnefc":
        importlib.import_module("onnxruntime" if engine == "ort" else engine)


def timed_calls(call: Call, seconds: float, calls: int, pause: float) -> list[float]:
    """The seconds of each call, for so long and at least so often, after calls that are not counted.

    Before them comes a pause, in which the idle threads of others go to sleep."""
    time.sleep(pause)
    now = time.perf_counter
    ready = now() + seconds / 8
    call()
    while now() < ready:
        call()
    times: list[float] = []
    end = now() + seconds
    while len(times) < calls or now() < end:
        start = now()
        call()
        times.append(now() - start)
    return times


def peak_memory() -> int:
    """The most bytes that this process has held in memory at once."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) * 1024


class Worker:
    """Answers requests."""

    def __init__(self) -> None:
        self.call: Call | None = None

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What a request is answered with."""
        if request["do"] == "memory":
            return {"peak": peak_memory()}
        if request["do"] == "open":
            with np.load(request["inputs"]) as stored:
                inputs = dict(stored)
            warm_import(request["engine"])
            start = time.perf_counter()
            self.call = OPEN[request["engine"]](request["path"], request["threads"], inputs)
            loaded = time.perf_counter() - start
            self.call()
            return {"seconds": loaded, "first": time.perf_counter() - start}
        assert self.call is not None
        if request["do"] == "round":
            return {"times": timed_calls(self.call, request["seconds"], request["calls"], request["pause"])}
        results = self.call()
        single = isinstance(results, np.ndarray)
        arrays = [x if isinstance(x, np.ndarray) else x.to_numpy() for x in ([results] if single else results)]
        np.savez(request["path"], *arrays)
        return {}


def main() -> None:
    """Answer until the requests end. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # an engine's own classes derive from nothing narrower
            text = str(error).partition("Stack backtrace:")[0].strip()
            answer = {"error": f"{type(error).__name__}: {text[:1000]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
