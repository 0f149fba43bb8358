"""Makes the models and rows of the duels, the same on every machine: python models.py FOLDER KIND

Trees: XGBoost's own JSON, and the same trees as ONNX. Perceptrons: Lunapark's safetensors, and the same weights as
ONNX. Networks: the models crate's own fixtures. Rows: 8192 of each width, f32.
"""

import json
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES = 28
ROWS = 8192
TRAIN_ROWS = 30_000
DEPTHS = (6, 10)
TREES = (100, 500, 2000)
NETWORKS = {"torch-images": 144, "torch-gru": 60, "torch-autoencoder": 16, "keras-lstm-unrolled": 32}
FIXTURES = Path(__file__).parents[2] / "operators/models/fixtures/onnx"
PERCEPTRONS = ((28, 128, 64, 1), (29, 256, 256, 1), (784, 512, 10))


def rows(width, count, seed):
    return np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)


def save_rows(folder, width):
    rows(width, ROWS, 7 + width).tofile(folder / f"rows-{width}.f32")


def make_trees(folder):
    import xgboost as xgb

    save_rows(folder, FEATURES)
    x = rows(FEATURES, TRAIN_ROWS, 1)
    noise = np.random.default_rng(2).standard_normal(TRAIN_ROWS, dtype=np.float32)
    y = np.sin(2 * x[:, 0]) * x[:, 1] + x[:, 2] * x[:, 3] * x[:, 4] + np.abs(x[:, 5:12]).sum(1) + noise
    for depth in DEPTHS:
        settings = dict(max_depth=depth, eta=0.05, tree_method="hist", nthread=1, seed=3, base_score=0.5)
        booster = xgb.train(settings, xgb.DMatrix(x, y), max(TREES))
        for trees in TREES:
            path = folder / f"trees-{depth}-{trees}.json"
            booster[:trees].save_model(path)
            onnx.save(trees_to_onnx(json.loads(path.read_text())), folder / f"trees-{depth}-{trees}.onnx")


def trees_to_onnx(model):
    trees = model["learner"]["gradient_booster"]["model"]["trees"]
    names = ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids", "values", "missing_value_tracks_true")
    nodes = {name: [] for name in names}
    modes, leaves = [], {name: [] for name in ("treeids", "nodeids", "weights")}
    for index, tree in enumerate(trees):
        left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
        value = np.array(tree["split_conditions"], dtype=np.float32)
        leaf = left < 0
        nodes["treeids"] += [index] * len(left)
        nodes["nodeids"] += range(len(left))
        nodes["featureids"] += np.where(leaf, 0, tree["split_indices"]).tolist()
        nodes["truenodeids"] += np.where(leaf, 0, left).tolist()
        nodes["falsenodeids"] += np.where(leaf, 0, right).tolist()
        nodes["values"] += np.where(leaf, 0, value).tolist()
        nodes["missing_value_tracks_true"] += np.where(leaf, 0, tree["default_left"]).tolist()
        modes += np.where(leaf, "LEAF", "BRANCH_LT").tolist()
        leaves["treeids"] += [index] * int(leaf.sum())
        leaves["nodeids"] += np.flatnonzero(leaf).tolist()
        leaves["weights"] += value[leaf].tolist()
    node = helper.make_node(
        "TreeEnsembleRegressor", ["input"], ["score"], domain="ai.onnx.ml", n_targets=1, base_values=[0.5],
        nodes_modes=modes, **{f"nodes_{name}": values for name, values in nodes.items()},
        target_treeids=leaves["treeids"], target_nodeids=leaves["nodeids"], target_weights=leaves["weights"],
        target_ids=[0] * len(leaves["nodeids"]),
    )  # fmt: skip
    return onnx_model([node], [], FEATURES, 1, ml=3)


def onnx_model(nodes, weights, inputs, outputs, ml=None):
    graph = helper.make_graph(
        nodes,
        "duel",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["rows", inputs])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", outputs])],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid("ai.onnx.ml", ml)] if ml else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def make_perceptrons(folder):
    for widths in PERCEPTRONS:
        save_rows(folder, widths[0])
        random = np.random.default_rng(sum(widths))
        tensors = {}
        for layer, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
            weight = random.standard_normal((outputs, inputs), dtype=np.float32) / np.float32(np.sqrt(inputs))
            tensors[f"{layer}.weight"] = weight
            tensors[f"{layer}.bias"] = random.standard_normal(outputs, dtype=np.float32) / np.float32(10)
        name = "-".join(map(str, widths))
        save_safetensors(folder / f"mlp-{name}.safetensors", tensors, widths)
        onnx.save(perceptron_to_onnx(tensors, widths), folder / f"mlp-{name}.onnx")


def activation(layer, layers):
    return "relu" if layer + 1 < layers else "sigmoid"


def save_safetensors(path, tensors, widths):
    layers = len(widths) - 1
    description = {
        "format": "mlp",
        "version": 1,
        "inputs": [{"name": "input", "datatype": "FP32", "width": widths[0]}],
        "outputs": [{"name": "score", "datatype": "FP32", "width": widths[-1]}],
        "layers": [
            {"weight": f"{i}.weight", "bias": f"{i}.bias", "activation": activation(i, layers)} for i in range(layers)
        ],
    }
    header, end = {"__metadata__": {"lunapark": json.dumps(description)}}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [end, end + tensor.nbytes]}
        end += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(tensor.tobytes() for tensor in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def perceptron_to_onnx(tensors, widths):
    layers, nodes, value = len(widths) - 1, [], "input"
    for layer in range(layers):
        last = layer + 1 == layers
        nodes.append(
            helper.make_node("Gemm", [value, f"{layer}.weight", f"{layer}.bias"], [f"sum{layer}"], transB=1)
        )
        value = "score" if last else f"out{layer}"
        nodes.append(helper.make_node("Sigmoid" if last else "Relu", [f"sum{layer}"], [value]))
    weights = [numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()]
    return onnx_model(nodes, weights, widths[0], widths[-1])


def make_networks(folder):
    for name, width in NETWORKS.items():
        save_rows(folder, width)
        shutil.copyfile(FIXTURES / f"{name}.onnx", folder / f"network-{name}.onnx")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    {"trees": make_trees, "perceptrons": make_perceptrons, "networks": make_networks}[sys.argv[2]](target)
