"""The exception to the protocol's purity: sockets, the I/O loop, and both ends of a session."""
