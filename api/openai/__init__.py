"""The OpenAI Videos dialect, `/v1`: a thin translation onto `orchestrator.intake.jobs`."""
