"""The engine under batches and campaigns: rows come into the queue within a window, and end.

Imports domain, intake, ports, telemetry.
"""
