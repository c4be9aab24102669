"""Campaigns and batches: what goes on, what is at risk, and how true forecasts and predictions are."""

from panels import Query, dashboard, lines, quantiles, row, stat

DASHBOARD = dashboard(
    "campaigns",
    "Campaigns and forecasts",
    "Campaigns by state, their rows, what is at risk, and how far off forecasts and predictions were.",
    [
        stat(
            "Not ended",
            "sum(max by (state) (cogmill_campaigns)) or vector(0)",
            "Campaigns of all states before the last ones.",
            width=4,
        ),
        stat("Running", 'sum(max by (state) (cogmill_campaigns{state="running"})) or vector(0)', "Campaigns.", width=4),
        stat(
            "At risk",
            "max(cogmill_campaigns_at_risk)",
            "They will miss their deadline, or a budget ends them.",
            width=4,
            bad=1,
        ),
        stat(
            "Rows waiting",
            'sum(max by (outcome) (cogmill_campaign_rows{outcome="waiting"}))',
            "Of campaigns that have not ended: rows that have no job yet.",
            width=4,
        ),
        stat(
            "Age of the forecasts",
            "time() - max(cogmill_forecast_made_timestamp_seconds)",
            "They are made every minute; after ten none is told.",
            unit="s",
            width=4,
            bad=300,
        ),
        stat(
            "Forecasts that held",
            "sum(increase(cogmill_campaign_forecasts_total{held='held'}[7d])) / (sum(increase(cogmill_campaign_forecasts_total[7d])) > 0)",
            "Of the campaigns that completed in seven days. The range is made for eight of ten.",
            unit="percentunit",
            width=4,
            good=0.7,
        ),
        lines(
            "Campaigns by state",
            "That have not ended.",
            Query(expr="max by (state) (cogmill_campaigns)", legend="{{state}}"),
            stacked=True,
        ),
        lines(
            "Rows of campaigns that have not ended",
            "By how they ended, or that they wait.",
            Query(expr="max by (outcome) (cogmill_campaign_rows)", legend="{{outcome}}"),
            stacked=True,
        ),
        lines(
            "Campaigns that came to a state, per hour",
            "A pause has a reason: cogmill campaign show tells it.",
            Query(
                expr="sum by (state) (rate(cogmill_campaign_transitions_total[$__rate_interval])) * 3600",
                legend="{{state}}",
            ),
        ),
        lines(
            "Batches that ended, per hour",
            "By their final status.",
            Query(
                expr="sum by (status) (rate(cogmill_batches_ended_total[$__rate_interval])) * 3600", legend="{{status}}"
            ),
        ),
        row("Forecasts: when all will be done"),
        lines(
            "Until a pool is done",
            "With all that it has: likely, and the range in which eight ends of ten lie. Nothing is drawn of a pool that is never done.",
            Query(
                expr='max by (pool, bound) (cogmill_forecast_pool_seconds{pool=~"$pool"}) < Inf',
                legend="{{pool}} {{bound}}",
            ),
            unit="s",
        ),
        lines(
            "Forecasts of campaigns that completed",
            "By whether the end lay in the range that was told when half of their time was over. Counted per day.",
            Query(expr="sum by (held) (increase(cogmill_campaign_forecasts_total[1d]))", legend="{{held}}"),
            stacked=True,
        ),
        lines(
            "Actual rest to likely rest",
            "Of the same campaigns, in a day: 1 is exact, above it the end came later than told.",
            Query(
                expr="histogram_quantile(0.1, sum by (le) (increase(cogmill_campaign_forecast_error_ratio_bucket[1d])))",
                legend="p10",
            ),
            Query(
                expr="histogram_quantile(0.5, sum by (le) (increase(cogmill_campaign_forecast_error_ratio_bucket[1d])))",
                legend="p50",
            ),
            Query(
                expr="histogram_quantile(0.9, sum by (le) (increase(cogmill_campaign_forecast_error_ratio_bucket[1d])))",
                legend="p90",
            ),
        ),
        lines(
            "Time that a round of forecasts takes",
            "One maintainer makes them.",
            *quantiles("cogmill_forecast_seconds_bucket", shares=(0.5, 0.95)),
            unit="s",
        ),
        row("Predictions: what one render takes"),
        lines(
            "Actual to predicted GPU seconds",
            "By model: 1 is exact. Between 0.67 and 1.33 is what the alert CogmillPredictionOff takes for good.",
            *quantiles(
                'cogmill_prediction_error_ratio_bucket{pool=~"$pool"}',
                "model",
                shares=(0.1, 0.5, 0.9),
                legend="{{model}}",
            ),
        ),
        lines(
            "What renders have taught",
            "Actual seconds per second of the catalogue, by pool and model, as it is believed now.",
            Query(
                expr='max by (pool, model) (cogmill_prediction_learned_ratio{pool=~"$pool"})',
                legend="{{pool}} {{model}}",
            ),
        ),
    ],
)
