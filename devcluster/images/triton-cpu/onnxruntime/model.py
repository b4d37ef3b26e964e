"""Triton's `onnxruntime` backend for machines without a GPU: ONNX Runtime behind the Python backend.

It follows the C++ backend of the same name: names, types and shapes come from the model; a configuration
that contradicts them is refused; a model whose every tensor has a variable first dimension is batched.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb

TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
# What the C++ backend takes when the configuration leaves max_batch_size out.
DEFAULT_MAX_BATCH_SIZE = 4


class Tensor:
    """One input or output of the model, seen as ONNX declares it and as Triton is to see it."""

    def __init__(self, model, kind, node):
        self.name = node.name
        self.kind = kind
        if node.type not in TYPES:
            raise ValueError(
                f"model '{model}', {kind} '{node.name}' is a {node.type}, which Triton cannot carry: "
                "export the model with tensors of plain numbers or strings (for scikit-learn: zipmap=False)"
            )
        self.type = TYPES[node.type]
        self.shape = [size if isinstance(size, int) and size >= 0 else -1 for size in node.shape]

    @property
    def batchable(self):
        """Whether the first dimension is free, so that it can be Triton's batch."""
        return bool(self.shape) and self.shape[0] == -1

    def dims(self, batched):
        """Triton's `dims`; a dimension of one stands in where ONNX has none, for Triton demands one."""
        return (self.shape[1:] if batched else self.shape) or [1]

    def check(self, model, configured, batched):
        """Raise ValueError where the configuration contradicts the model."""
        given = configured.get("data_type", "TYPE_INVALID")
        if given not in ("TYPE_INVALID", self.type):
            raise ValueError(
                f"unable to load model '{model}', configuration expects datatype {given} for {self.kind} "
                f"'{self.name}', model provides {self.type}"
            )
        dims, wanted = [int(size) for size in configured.get("dims", [])], self.dims(batched)
        same = len(dims) == len(wanted) and all(a == b or -1 in (a, b) for a, b in zip(dims, wanted, strict=True))
        if dims and not same:
            raise ValueError(
                f"model '{model}', tensor '{self.name}': the model expects dims {wanted} but the model "
                f"configuration specifies dims {dims}"
            )

    def to_model(self, array):
        """The array as ONNX Runtime takes it."""
        if array.dtype == object:
            array = np.array([_text(each) for each in array.reshape(-1)], dtype=object).reshape(array.shape)
        return array.reshape(array.shape[: len(self.shape)]) if array.ndim > len(self.shape) else array

    def from_model(self, array, batched):
        """The array as Triton carries it: strings as bytes, never without a dimension."""
        if self.type == "TYPE_STRING":
            encoded = [str(each).encode() for each in array.reshape(-1)]
            array = np.array(encoded, dtype=object).reshape(array.shape)
        array = array.reshape((*array.shape, 1)) if array.ndim == int(batched) else array
        return np.ascontiguousarray(array)


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


class Model:
    """An ONNX file and its tensors."""

    def __init__(self, config):
        name = config["name"]
        path = _model_file()
        if not path.exists():
            held = ", ".join(sorted(each.name for each in path.parent.glob("*"))) or "nothing"
            raise ValueError(
                f"unable to load model '{name}': no {path.name} in {path.parent} (it holds {held}); "
                "put the ONNX file there, or name it in default_model_filename"
            )
        options = ort.SessionOptions()
        for key, attribute in (
            ("intra_op_thread_count", "intra_op_num_threads"),
            ("inter_op_thread_count", "inter_op_num_threads"),
        ):
            value = config.get("parameters", {}).get(key, {}).get("string_value")
            if value:
                setattr(options, attribute, int(value))
        # Pinning threads is not allowed in most pods, and each refusal is a warning in the log.
        options.log_severity_level = 3
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [Tensor(name, "input", node) for node in self.session.get_inputs()]
        self.outputs = [Tensor(name, "output", node) for node in self.session.get_outputs()]
        self.batchable = all(tensor.batchable for tensor in (*self.inputs, *self.outputs))

    def configured(self, config, batched):
        """Each tensor with what the configuration says of it; raises ValueError for one the model lacks."""
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            known = {tensor.name: tensor for tensor in tensors}
            given = {each["name"]: each for each in config.get(kind, [])}
            for name in sorted(set(given) - set(known)):
                raise ValueError(
                    f"unable to load model '{config['name']}', unexpected {kind} '{name}', the model has: "
                    + ", ".join(sorted(known))
                )
            for tensor in tensors:
                tensor.check(config["name"], given.get(tensor.name, {}), batched)
                yield tensor, given.get(tensor.name)


def _model_file():
    # The only place that tells: the stub which runs this is started with the file's path as first argument.
    return Path(Path("/proc/self/cmdline").read_bytes().split(b"\0")[1].decode())


class TritonPythonModel:
    """What Triton's Python backend calls."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        """Fill in what the configuration leaves out; raises ValueError where it contradicts the model."""
        config = auto_complete_model_config.as_dict()
        model = Model(config)
        given = int(config.get("max_batch_size", 0))
        if given > 0 and not model.batchable:
            raise ValueError(
                f"autofill failed for model '{config['name']}': model does not support batching while non-zero "
                "max_batch_size is specified: set maxBatchSize to 0, or export the model with a free first dimension"
            )
        # A configuration that names tensors and no batch size means what it says: no batching.
        complete = bool(config.get("input")) and bool(config.get("output"))
        batched = model.batchable and (given > 0 or not complete)
        if batched and given == 0:
            auto_complete_model_config.set_max_batch_size(DEFAULT_MAX_BATCH_SIZE)
            if "sequence_batching" not in config:
                auto_complete_model_config.set_dynamic_batching()
        for tensor, known in model.configured(config, batched):
            if known is None or not known.get("dims") or known.get("data_type") == "TYPE_INVALID":
                entry = {"name": tensor.name, "data_type": tensor.type, "dims": tensor.dims(batched)}
                add = getattr(auto_complete_model_config, f"add_{tensor.kind}")
                add(entry)
        return auto_complete_model_config

    def initialize(self, args):
        """Load the model with the final configuration."""
        config = json.loads(args["model_config"])
        self.model = Model(config)
        self.batched = int(config.get("max_batch_size", 0)) > 0
        for _ in self.model.configured(config, self.batched):
            continue

    def execute(self, requests):
        """One response a request: requests of like shapes run together, and a bad one fails alone."""
        answers = [None] * len(requests)
        groups = {}
        for index, request in enumerate(requests):
            try:
                feed = self._feed(request)
            except ValueError as error:
                answers[index] = _failure(error)
                continue
            # Without a batch dimension nothing can be joined: each request is a group of its own.
            shapes = tuple((name, array.shape[1:]) for name, array in sorted(feed.items()))
            groups.setdefault(shapes if self.batched else index, []).append((index, feed))
        for members in groups.values():
            self._answer(requests, members, answers)
        return answers

    def _feed(self, request):
        feed = {}
        for tensor in self.model.inputs:
            given = pb.get_input_tensor_by_name(request, tensor.name)
            if given is None:
                raise ValueError(f"input '{tensor.name}' is missing: the model needs every input")
            feed[tensor.name] = tensor.to_model(given.as_numpy())
        return feed

    def _answer(self, requests, members, answers):
        names = [tensor.name for tensor in self.model.outputs]
        feeds = [feed for _, feed in members]
        try:
            joined = feeds[0]
            if len(feeds) > 1:
                joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
            results = self.model.session.run(names, joined)
        # ONNX Runtime's errors share no base class; whatever it says belongs to the caller.
        except Exception as error:  # noqa: BLE001
            if len(members) == 1:
                answers[members[0][0]] = _failure(error)
                return
            for member in members:
                self._answer(requests, [member], answers)
            return
        start = 0
        for index, feed in members:
            stop = start + len(next(iter(feed.values()))) if len(members) > 1 else None
            answers[index] = self._response(requests[index], results, slice(start, stop))
            start = stop

    def _response(self, request, results, rows):
        wanted = set(request.requested_output_names())
        tensors = []
        for tensor, array in zip(self.model.outputs, results, strict=True):
            if tensor.name in wanted:
                part = array[rows] if self.batched else np.asarray(array)
                tensors.append(pb.Tensor(tensor.name, tensor.from_model(part, self.batched)))
        return pb.InferenceResponse(output_tensors=tensors)


def _failure(error):
    message = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
    return pb.InferenceResponse(output_tensors=[], error=pb.TritonError(message))
