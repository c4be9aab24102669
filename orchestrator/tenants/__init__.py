"""Who the callers are and what they may have: keys, people, rates, turns.

Imports config, domain, policy, ports, telemetry.
"""
