"""What finished renders teach of how long renders take: written by dispatchers, read by every process.

Imports config, domain, kit, policy, ports, telemetry.
"""
