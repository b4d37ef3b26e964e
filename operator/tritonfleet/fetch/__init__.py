"""The init container that brings model files into the pod."""
