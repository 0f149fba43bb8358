"""The other side of the training duel: torch with its fused AdamW, as its users write it.

python train.py; a line is {"batch": …, "threads": …, "seconds": …}, the answer {"rate": rows per second}.
"""

import json
import sys
import time

import torch
from torch import nn

WIDTHS = (28, 128, 64, 1)
ROWS = 1 << 16


def network():
    layers = []
    for inputs, outputs in zip(WIDTHS, WIDTHS[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def measure(batch, threads, seconds):
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    inputs = torch.randn(ROWS, WIDTHS[0])
    targets = (inputs[:, :1] * inputs[:, 1:2] > 0).float()
    model, loss_of = network(), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def epoch(deadline):
        done = 0
        for which in torch.randperm(ROWS).split(batch):
            optimizer.zero_grad()
            loss_of(model(inputs[which]), targets[which]).backward()
            optimizer.step()
            done += len(which)
            if time.perf_counter() >= deadline:
                break
        return done

    epoch(time.perf_counter() + seconds / 4)  # warm
    start, done = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        done += epoch(start + seconds)
    return {"rate": done / (time.perf_counter() - start)}


for line in sys.stdin:
    print(json.dumps(measure(**json.loads(line))), flush=True)
