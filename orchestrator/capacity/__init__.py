"""Which workers there should be, how they stand, which pools are paused, and when all is done.

Imports config, dispatch, domain, kit, learning, policy, ports, telemetry.
"""
