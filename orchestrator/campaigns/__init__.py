"""Campaigns: many rows under one template, and what came of them.

Imports adapters, capacity, config, confined, domain, intake, kit, learning, policy, ports, rows, telemetry,
tenants.
"""
