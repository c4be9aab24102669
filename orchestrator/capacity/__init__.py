"""Which workers there should be, how they stand, and which pools are paused.

Imports config, dispatch, domain, ports, telemetry.
"""
