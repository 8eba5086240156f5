"""A ``genserver serve`` process as a child of another program, such as the trainer."""

__all__ = ["WORKER_VARIABLE"]

#: Set in workers, so that a program which is imported there does not start servers in turn.
WORKER_VARIABLE = "GENSERVER_WORKER"
