"""sampan: containers, images and networks for the clients of Docker and Kubernetes.

The folders are the layers (docs/architecture.md); a module imports its own layer and those below.
"""

__version__ = "0.1.0"
