"""Triton's rules for a model configuration, one file per part of it."""
