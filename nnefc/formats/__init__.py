"""Model files: bytes to Graphs, and back. Everything here is written for untrusted input."""
