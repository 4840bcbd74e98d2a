"""Octets over wires: dialling, TLS, and a scripted double for tests.  Knows no SMTP."""
