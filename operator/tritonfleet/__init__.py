"""Tritonfleet: a Kubernetes operator that serves models on NVIDIA Triton Inference Server."""
