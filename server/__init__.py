"""The producers' side: runs generators in worker processes. Importing it imports no TensorFlow."""

from .handle import Server, ServerFailed
from .worker import Worker

__all__ = ["Worker", "Server", "ServerFailed"]
