"""Who the callers are and what they may have: keys, rates, turns.

Imports domain, policy, ports, telemetry.
"""
