"""The other side of the search duel: FAISS, as its users call it.

python search.py FOLDER; FOLDER has rows-N.f32 and questions-N.f32, vectors of 384 numbers of length 1. A line is
{"rows": N, "index": …, "probes": …, "refine": …, "threads": …, "together": …, "seconds": …}, the answer {"rate": questions
a second}, or for 0 seconds {"ids": what was found for each question}. Indexes are built once and kept beside the vectors.
"""

import json
import os
import sys
import time

import faiss
import numpy as np

DIMENSION, NEAREST = 384, 10
folder = sys.argv[1]
held = {}


def vectors(name, rows):
    return np.fromfile(os.path.join(folder, f"{name}-{rows}.f32"), dtype=np.float32).reshape(-1, DIMENSION)


def build(kind, rows):
    all_rows = vectors("rows", rows)
    if kind == "flat":
        index = faiss.IndexFlatIP(DIMENSION)
    elif kind == "sq8":
        index = faiss.IndexScalarQuantizer(DIMENSION, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    else:
        lists = int(kind.removeprefix("ivf"))
        quantizer = faiss.IndexFlatIP(DIMENSION)
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, DIMENSION, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        index.cp.max_points_per_centroid = 64  # Lunapark's sample; FAISS would take four times as long for 256
    index.train(all_rows)
    index.add(all_rows)
    return index


def get(kind, rows):
    if held.get("of") != (kind, rows):
        path = os.path.join(folder, f"{kind}-{rows}.faiss")
        held.clear()
        if kind.startswith("ivf") and os.path.exists(path):
            index = faiss.read_index(path)
        else:
            index = build(kind, rows)
            if kind.startswith("ivf"):
                faiss.write_index(index, path)
        held.update(of=(kind, rows), index=index, questions=vectors("questions", rows))
    return held["index"], held["questions"]


def refined(index, rows):
    if "refined" not in held:
        held["refined"] = faiss.IndexRefineFlat(index, faiss.swig_ptr(vectors("rows", rows)))
    return held["refined"]


def measure(rows, index, probes, refine, threads, together, seconds):
    faiss.omp_set_num_threads(threads)
    found, questions = get(index, rows)
    if probes:
        found.nprobe = probes
    if refine:
        found = refined(found, rows)
        found.k_factor = refine
    batches = [questions[at : at + together] for at in range(0, len(questions), together)]
    if not seconds:
        return {"rate": 0.0, "ids": np.concatenate([found.search(batch, NEAREST)[1] for batch in batches]).tolist()}
    for batch in batches[:20]:  # warm
        found.search(batch, NEAREST)
    start, done = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        batch = batches[done // together % len(batches)]
        found.search(batch, NEAREST)
        done += together
    return {"rate": done / (time.perf_counter() - start), "ids": []}


for line in sys.stdin:
    print(json.dumps(measure(**json.loads(line))), flush=True)
