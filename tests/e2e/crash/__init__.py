"""Kills and cuts at every step, by real processes against a server that counts what it accepted.

Each mail is accepted exactly once, or is uncertain or failed before the user's eyes; none is
lost, none is accepted twice.  The long form is tests/bench/crash.
"""
