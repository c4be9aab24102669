"""The audit log: sealed and pruned, checked, written out; and what was refused, counted into it.

Imports domain, ports, telemetry.
"""
