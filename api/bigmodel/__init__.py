"""The bigmodel (CogVideoX) dialect, `/api/paas/v4`: a thin translation onto `orchestrator.intake.jobs`."""
