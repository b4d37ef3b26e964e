"""Train a small classifier on the handwritten digits that scikit-learn ships, and export it to ONNX."""

import argparse
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HELD_OUT_SHARE = 0.25


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return images to learn from, images held out, and the digits each shows; an image is 64 grey values, 0 to 16."""
    data = load_digits()
    images = data.data.astype(np.float32)
    return tuple(train_test_split(images, data.target, test_size=HELD_OUT_SHARE, random_state=0))


def train(path: Path) -> float:
    """Write the model to `path` and return its accuracy on the images it has not seen."""
    learn, held_out, learn_digits, held_out_digits = digits()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(learn, learn_digits)
    onnx = to_onnx(model, learn[:1], options={"zipmap": False}, target_opset=17)
    path.write_bytes(onnx.SerializeToString())
    return float(model.score(held_out, held_out_digits))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="where to write model.onnx")
    arguments = parser.parse_args()
    print(f"accuracy on held-out digits: {train(arguments.path):.3f}")
