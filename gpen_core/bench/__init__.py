"""Measurements of this installation: each runs in a process of its own, so that memory is counted apart."""
