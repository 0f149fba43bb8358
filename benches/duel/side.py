"""The other side of a duel: reads a line of JSON per measurement, scores with one thread, and writes a line back.

python side.py FOLDER; a line is {"model": …, "runtime": "onnxruntime" | "xgboost", "width": …, "batch": …,
"millis": …}, the answer {"rate": rows per second of CPU time, "answers": […]}.
"""

import json
import os
import sys
import time
from functools import lru_cache
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

FOLDER = Path(sys.argv[1])
COMPARED = 64


@lru_cache
def rows(width):
    return np.fromfile(FOLDER / f"rows-{width}.f32", dtype=np.float32).reshape(-1, width)


@lru_cache(maxsize=1)
def onnxruntime_model(name):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(FOLDER / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
    graph_input = session.get_inputs()[0]
    shape = [-1, *graph_input.shape[1:]]
    return lambda batch: session.run(None, {graph_input.name: batch.reshape(shape)})[0]


@lru_cache(maxsize=1)
def xgboost_model(name):
    import xgboost as xgb

    booster = xgb.Booster({"nthread": 1}, model_file=str(FOLDER / f"{name}.json"))
    booster.set_param("nthread", 1)
    return booster.inplace_predict


def measure(request):
    load = {"onnxruntime": onnxruntime_model, "xgboost": xgboost_model}[request["runtime"]]
    predict, all_rows, batch = load(request["model"]), rows(request["width"]), request["batch"]
    batches = [all_rows[at : at + batch] for at in range(0, len(all_rows), batch)]
    answers = np.asarray(predict(all_rows[:COMPARED])).ravel().astype(float).tolist()
    predict(batches[0])
    budget, done, at = request["millis"] / 1000, 0, 0
    started = time.thread_time()
    while (spent := time.thread_time() - started) < budget:
        for _ in range(max(1, 256 // batch)):
            predict(batches[at])
            at = (at + 1) % len(batches)
            done += batch
    return {"rate": done / spent, "answers": answers}


for line in sys.stdin:
    print(json.dumps(measure(json.loads(line))), flush=True)
