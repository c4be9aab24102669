"""Which workers there should be, how they and the queue stand, which pools are paused, and when all is done.

Imports config, dispatch, domain, kit, learning, policy, ports, telemetry, tenants.
"""
