"""Drives protocol over net: a session by hand, a delivery by the engine."""
