"""What lies in S3 and the only code that sweeps it. Its keys are in `orchestrator.domain.objects`.

Imports config, domain, ports, telemetry.
"""
