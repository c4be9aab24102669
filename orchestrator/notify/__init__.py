"""Who hears of what happens to a job: watchers of one video, and webhooks."""
