"""What the GPUs do with their time, and what befalls renders."""

from panels import Query, bars, dashboard, heat, lines, quantiles, row, stat

ENDED = 'sum(increase(cogmill_attempts_total{pool=~"$pool"}[1h]))'

DASHBOARD = dashboard(
    "workers",
    "Workers and renders",
    "GPU time, stages, steps, attempts and failures, checkpoints and what they saved.",
    [
        stat(
            "GPUs busy",
            'sum(rate(cogmill_gpu_busy_seconds_total{pool=~"$pool"}[5m])) / (sum(cogmill_workers{pool=~"$pool", state="ready"}) > 0)',
            "Seconds of GPU work per second and ready worker.",
            unit="percentunit",
            width=4,
        ),
        stat(
            "Steps",
            'sum(rate(cogmill_denoise_steps_total{pool=~"$pool"}[5m]))',
            "Denoise steps per second.",
            unit="ops",
            width=4,
        ),
        stat(
            "Render, median",
            'histogram_quantile(0.5, sum by (le) (rate(cogmill_render_seconds_bucket{pool=~"$pool"}[1h])))',
            "GPU seconds of a finished render, of the last hour.",
            unit="s",
            width=4,
        ),
        stat("Attempts, last hour", ENDED, "That ended.", width=4),
        stat(
            "Attempts that succeeded",
            f'sum(increase(cogmill_attempts_total{{pool=~"$pool", outcome="succeeded"}}[1h])) / ({ENDED} > 0)',
            "Of the last hour. An attempt that failed is mostly tried again.",
            unit="percentunit",
            width=4,
            good=0.9,
        ),
        stat(
            "Put aside, last hour",
            "sum(increase(cogmill_parked_total[1h])) or vector(0)",
            "What broke the loop that met it.",
            width=4,
            bad=1,
        ),
        lines(
            "GPUs busy by pool",
            "One is all ready workers, all the time.",
            Query(
                expr='sum by (pool) (rate(cogmill_gpu_busy_seconds_total{pool=~"$pool"}[$__rate_interval])) / (sum by (pool) (cogmill_workers{state="ready"}) > 0)',
                legend="{{pool}}",
            ),
            unit="percentunit",
        ),
        lines(
            "Where the time of a render goes",
            "Seconds of each stage for each finished render, those that had none included. Finishing and uploading are beside the GPU's next render.",
            Query(
                expr='sum by (stage) (rate(cogmill_stage_seconds_sum{pool=~"$pool"}[$__rate_interval])) / on () group_left () (sum(rate(cogmill_render_seconds_count{pool=~"$pool"}[$__rate_interval])) > 0)',
                legend="{{stage}}",
            ),
            unit="s",
            stacked=True,
        ),
        lines(
            "GPU seconds of a render",
            "Finished ones.",
            *quantiles('cogmill_render_seconds_bucket{pool=~"$pool"}'),
            unit="s",
        ),
        heat("Renders", "The same: how many took how long.", 'cogmill_render_seconds_bucket{pool=~"$pool"}'),
        lines(
            "Denoise steps per second",
            "By pool.",
            Query(
                expr='sum by (pool) (rate(cogmill_denoise_steps_total{pool=~"$pool"}[$__rate_interval]))',
                legend="{{pool}}",
            ),
            unit="ops",
        ),
        lines(
            "Slowest twentieth of each stage",
            "95% took less.",
            *quantiles('cogmill_stage_seconds_bucket{pool=~"$pool"}', "stage", shares=(0.95,), legend="{{stage}}"),
            unit="s",
        ),
        row("Attempts and failures"),
        lines(
            "Attempts that ended, per hour",
            "By outcome.",
            Query(
                expr='sum by (outcome) (rate(cogmill_attempts_total{pool=~"$pool"}[$__rate_interval])) * 3600',
                legend="{{outcome}}",
            ),
            stacked=True,
        ),
        bars(
            "Jobs that failed, by code",
            "Of the last day. The request's fault is its owner's to mend, the service's is yours.",
            Query(
                expr='sum by (code, fault) (increase(cogmill_jobs_failed_total{pool=~"$pool"}[1d])) > 0',
                legend="{{code}} ({{fault}})",
            ),
        ),
        lines(
            "Settlements that found something else",
            "Guarded writes, per hour: already is a lost answer, stale a claim that was given away.",
            Query(
                expr="sum by (settled) (rate(cogmill_settlements_total{settled!='applied'}[$__rate_interval])) * 3600",
                legend="{{settled}}",
            ),
        ),
        lines(
            "Incidents per hour",
            "What befell renders that went on all the same.",
            Query(
                expr='sum by (incident) (rate(cogmill_incidents_total{pool=~"$pool"}[$__rate_interval])) * 3600',
                legend="{{incident}}",
            ),
        ),
        row("Checkpoints"),
        lines(
            "Checkpoints stored per hour",
            "By pool.",
            Query(
                expr='sum by (pool) (rate(cogmill_checkpoints_total{pool=~"$pool"}[$__rate_interval])) * 3600',
                legend="{{pool}}",
            ),
        ),
        lines(
            "Videos that went on from a checkpoint, per hour",
            "By continuity: exact is bit for bit what one attempt gives.",
            Query(
                expr='sum by (continuity) (rate(cogmill_resumes_total{pool=~"$pool"}[$__rate_interval])) * 3600',
                legend="{{continuity}}",
            ),
        ),
    ],
)
