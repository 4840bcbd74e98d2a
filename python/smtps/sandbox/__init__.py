"""The sandbox: a small mail server on loopback, for trying things out and for the tests."""
