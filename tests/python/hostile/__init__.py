"""Servers that do what no server should, and messages and addresses that nobody should send."""
