"""What people and machines read of a process: logs, metrics, health, and what was put aside.

Imports config, domain, ports.
"""
