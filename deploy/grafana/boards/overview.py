"""Is all well, and if not, where to look next: the page to begin with."""

from panels import Query, bars, dashboard, lines, quantiles, row, stat, table

# A gauge of the queue goes with the last job of its state: nothing is none there.
WAITING = 'sum(max by (pool) (cogmill_jobs{state="queued"})) or vector(0)'
ENDED = "sum(increase(cogmill_jobs_ended_total{state=~'succeeded|failed'}[1h]))"

DASHBOARD = dashboard(
    "overview",
    "Overview",
    "Whether videos are accepted, begun and finished as promised, and what the GPUs do.",
    [
        stat("Waiting", WAITING, "Jobs that could be claimed, or wait for their time."),
        stat(
            "Rendering", 'sum(max by (pool) (cogmill_jobs{state="running"})) or vector(0)', "Jobs that a worker holds."
        ),
        stat(
            "Oldest wait",
            'max(cogmill_queue_oldest_age_seconds{state="queued"}) or vector(0)',
            "Of all that wait.",
            unit="s",
        ),
        stat("Ended, last hour", ENDED, "Succeeded or failed."),
        stat(
            "Succeeded, last hour",
            f"sum(increase(cogmill_jobs_ended_total{{state='succeeded'}}[1h])) / ({ENDED} > 0)",
            "Of those that ended; what its owner cancelled is neither.",
            unit="percentunit",
            good=0.95,
        ),
        stat("Workers ready", 'sum(cogmill_workers{state="ready"})', "With their model loaded.", good=1),
        stat(
            "GPUs busy",
            "sum(rate(cogmill_gpu_busy_seconds_total[5m])) / (sum(cogmill_workers{state='ready'}) > 0)",
            "Seconds of GPU work per second and ready worker.",
            unit="percentunit",
        ),
        stat(
            "Alerts",
            'count(ALERTS{alertname=~"Cogmill.*", alertstate="firing"}) or vector(0)',
            "That fire now; the table below names them.",
            bad=1,
        ),
        lines(
            "Jobs by state",
            "What waits, is held back, and runs. A queue that grows while GPUs idle is trouble; one that grows while they are busy is demand.",
            Query(expr="sum by (state) (max by (pool, state) (cogmill_jobs))", legend="{{state}}"),
            stacked=True,
        ),
        lines(
            "Jobs ended per hour",
            "By how they ended.",
            Query(expr="sum by (state) (rate(cogmill_jobs_ended_total[$__rate_interval])) * 3600", legend="{{state}}"),
            stacked=True,
        ),
        lines(
            "GPUs busy by pool",
            "One is all ready workers of the pool, all the time.",
            Query(
                expr="sum by (pool) (rate(cogmill_gpu_busy_seconds_total[$__rate_interval])) / (sum by (pool) (cogmill_workers{state='ready'}) > 0)",
                legend="{{pool}}",
            ),
            unit="percentunit",
        ),
        lines(
            "Time to first step",
            "From when a job could be claimed to its first denoise step, of what somebody waits for. The objective: 95% within two minutes.",
            *quantiles('cogmill_first_step_seconds_bucket{urgency="interactive"}'),
            unit="s",
            limit=120,
        ),
        row("Promises: how fast the error budget burns"),
        bars(
            "Burn rate over six hours",
            "1 spends the budget of 30 days in 30 days. From 6 on an alert fires, if the last half hour burns as fast.",
            Query(expr="cogmill:slo_burn:ratio_rate6h", legend="{{slo}}"),
        ),
        lines(
            "Burn rate over one hour",
            "The same of the last hour: 14.4 spends a day's budget of fifty in one.",
            Query(expr="cogmill:slo_burn:ratio_rate1h", legend="{{slo}}"),
            limit=14.4,
        ),
        lines(
            "Requests per second",
            "Answers of the API, by the first digit of their status; probes are left out.",
            Query(
                expr='sum by (class) (label_replace(rate(cogmill_http_request_seconds_count{route!~"/metrics|/healthz|/readyz"}[$__rate_interval]), "class", "${1}xx", "status", "(.).*"))',
                legend="{{class}}",
            ),
            unit="reqps",
            stacked=True,
        ),
        table(
            "Alerts that fire",
            "OPERATIONS.md has an entry for each: what it means, what to look at, what to do.",
            'max by (alertname, severity, pool, loop, reason) (ALERTS{alertname=~"Cogmill.*", alertstate="firing"})',
            ["Value"],
        ),
        lines(
            "Processes that answer",
            "By job; what does not is not scraped.",
            Query(expr='sum by (job) (up{job=~"cogmill-.*"})', legend="{{job}}"),
        ),
        lines(
            "Campaigns at risk",
            "Which will miss their deadline or be ended by a budget, and all that go on.",
            Query(expr="max(cogmill_campaigns_at_risk)", legend="at risk"),
            Query(expr="sum(max by (state) (cogmill_campaigns)) or vector(0)", legend="not ended"),
        ),
    ],
    pools=False,
)
