"""Who the callers are and what they may have: keys, rates, turns.

Imports config, domain, policy, ports, telemetry.
"""
