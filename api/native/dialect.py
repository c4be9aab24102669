"""What no vendor has, as an object: routes of our own in the OpenAI dialect's words, without clients and batches."""

from __future__ import annotations

from api.admin.routers import ROUTERS as ADMINISTRATION
from api.native import (
    bulk_actions,
    campaign_commands,
    campaign_events,
    campaign_input,
    campaign_progress,
    campaign_results,
    campaign_reviews,
    campaign_rows,
    campaigns,
    events,
    fleet,
    job_traces,
    jobs,
    keys,
    notes,
    overview,
    pools,
    predictions,
    quotes,
    reviews,
    saved_filters,
    usage,
    webhooks,
    worker_usage,
)
from api.openai.errors import DOCS
from api.shared.dialect import Dialect
from orchestrator.config import Settings


def _input(settings: Settings) -> int:
    """Bytes that the rows of a campaign may have; they go to the disk as they come in."""
    return settings.campaigns.max_input_bytes


DIALECT = Dialect(
    name="native",
    prefix="/v1/",
    docs=DOCS,
    routers=(
        events.router,
        jobs.router,
        job_traces.router,
        bulk_actions.router,
        notes.router,
        saved_filters.router,
        campaigns.router,
        campaign_commands.router,
        campaign_input.router,
        campaign_rows.router,
        campaign_results.router,
        campaign_events.router,
        campaign_progress.router,
        campaign_reviews.router,
        reviews.router,
        quotes.router,
        usage.router,
        worker_usage.router,
        webhooks.router,
        keys.router,
        overview.router,
        pools.router,
        fleet.router,
        predictions.router,
        *ADMINISTRATION,
    ),
    bodies={"/v1/campaigns/{campaign_id}/input": _input},
)
