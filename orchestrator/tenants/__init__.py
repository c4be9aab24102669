"""Who the callers are and what they may have: keys, people, limits, rates, turns.

Imports config, domain, policy, ports, telemetry.
"""
