"""The other side of the measurements with texts: a line of JSON per request, a line back.

{"do": "embed", "runtime": "torch" | "torch-bf16" | "onnxruntime", "encoder": folder, "threads": …, "texts": file, "vectors": file}
    vectors of a JSON array of texts, little-endian floats one after the other; the answer is {"rate": tokens a
    second, tokenizing not counted, "tokens": …}. Texts go sorted by length, 32 at a time, padded to the longest.
{"do": "bm25", "passages": file, "questions": file, "scores": file}
    BM25Okapi's scores of lists of words, little-endian doubles, question by question.
"""

import json
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import numpy
import torch

BATCH = 32


@lru_cache
def limit(folder):
    return json.loads((Path(folder) / "sentence_bert_config.json").read_text())["max_seq_length"]


@lru_cache
def tokens(folder, texts):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit(folder))
    return [encoding.ids for encoding in tokenizer.encode_batch(json.loads(texts))]


@lru_cache
def torch_model(folder, attention="sdpa", kind=torch.float32):
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, dtype=kind, attn_implementation=attention).eval()


@lru_cache
def onnx_file(folder):
    """The graph that torch exports, fused by ONNX Runtime's optimizer for BERT."""
    from onnxruntime.transformers import optimizer

    class Last(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = torch_model(folder, "eager")

        def forward(self, ids, mask):
            return self.model(input_ids=ids, attention_mask=mask).last_hidden_state

    out = Path(tempfile.mkdtemp()) / "encoder.onnx"
    ids = torch.randint(5, 1000, (2, 9))
    axes = {name: {0: "batch", 1: "length"} for name in ("ids", "mask", "rows")}
    names = {"input_names": ["ids", "mask"], "output_names": ["rows"], "dynamic_axes": axes}
    torch.onnx.export(Last(), (ids, torch.ones_like(ids)), str(out), opset_version=17, dynamo=False, **names)
    config = json.loads((Path(folder) / "config.json").read_text())
    heads, width = config["num_attention_heads"], config["hidden_size"]
    optimizer.optimize_model(str(out), model_type="bert", num_heads=heads, hidden_size=width).save_model_to_file(str(out))
    return str(out)


@lru_cache
def onnx_session(folder, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(onnx_file(folder), options, providers=["CPUExecutionProvider"])


def runner(request):
    folder, threads = request["encoder"], request["threads"]
    if request["runtime"] == "onnxruntime":
        session = onnx_session(folder, threads)
        return lambda ids, mask: torch.from_numpy(session.run(None, {"ids": ids.numpy(), "mask": mask.numpy()})[0])
    torch.set_num_threads(threads)
    model = torch_model(folder, kind=torch.bfloat16 if request["runtime"] == "torch-bf16" else torch.float32)
    return lambda ids, mask: model(input_ids=ids, attention_mask=mask).last_hidden_state.float()


def batches(ids):
    order = sorted(range(len(ids)), key=lambda text: -len(ids[text]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        longest = len(ids[chosen[0]])
        padded = torch.zeros(len(chosen), longest, dtype=torch.long)
        mask = torch.zeros(len(chosen), longest, dtype=torch.long)
        for row, text in enumerate(chosen):
            padded[row, : len(ids[text])] = torch.tensor(ids[text])
            mask[row, : len(ids[text])] = 1
        yield chosen, padded, mask


def embed(request):
    ids = tokens(request["encoder"], Path(request["texts"]).read_text())
    run, prepared = runner(request), list(batches(ids))
    with torch.inference_mode():
        run(*prepared[-1][1:])
        started = time.perf_counter()
        vectors = None
        for chosen, padded, mask in prepared:
            rows = run(padded, mask)
            mean = (rows * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            if vectors is None:
                vectors = numpy.zeros((len(ids), mean.shape[1]), dtype="<f4")
            vectors[chosen] = torch.nn.functional.normalize(mean, dim=1).numpy()
        spent = time.perf_counter() - started
    vectors.tofile(request["vectors"])
    count = sum(map(len, ids))
    return {"rate": count / spent, "tokens": count}


def bm25(request):
    from rank_bm25 import BM25Okapi

    passages, questions = (json.loads(Path(request[name]).read_text()) for name in ("passages", "questions"))
    okapi = BM25Okapi(passages)
    numpy.array([okapi.get_scores(words) for words in questions], dtype="<f8").tofile(request["scores"])
    return {}


for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"embed": embed, "bm25": bm25}[asked["do"]](asked)), flush=True)
