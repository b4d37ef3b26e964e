"""The init container that downloads model files into the pod.

`tritonfleet fetch` runs `main()`. It reads `TRITONFLEET_FETCH_*` from the environment, takes the files of a URI,
checks their digest and places them as Triton's model folder. Its termination message is the digest, or one line
`FetchFailed: ...` that names what, where, why and the remedy.

`effective_config()` is the part of it that needs no pod: the configuration that would be loaded.

Nothing here imports the Kubernetes client, and obstore only once there is something to download: the container starts
in every pod, before the server does.
"""

from tritonfleet.fetch.command import effective_config, main

__all__ = [
    "effective_config",
    "main",
]
