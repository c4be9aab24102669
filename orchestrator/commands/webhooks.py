"""`cogmill webhooks`: what was sent to whom, and sending it again, for whoever runs the deployment."""

from __future__ import annotations

import asyncio
from typing import Annotated
from uuid import UUID

import typer

from orchestrator.commands.options import DataDirOption, settings_of
from orchestrator.domain.errors import CogmillError
from orchestrator.domain.webhooks import DeliveryState

# The rest is imported by the command that needs it, as in orchestrator.cli.

webhooks = typer.Typer(help="Webhook deliveries.", no_args_is_help=True)


@webhooks.command("list")
def list_deliveries(
    tenant: Annotated[str | None, typer.Argument()] = None,
    state: Annotated[DeliveryState | None, typer.Option(help="Only those.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 50,
    data_dir: DataDirOption = None,
) -> None:
    """List the deliveries of TENANT or of everybody."""
    from orchestrator.notify.subscriptions import delivery_id_of
    from orchestrator.ports import DeliveryPage
    from orchestrator.store import Store

    async def read() -> DeliveryPage:
        async with Store.open(settings_of(data_dir).database) as store:
            return await store.list_deliveries(tenant, limit=limit, state=state)

    for each in asyncio.run(read()).deliveries:
        outcome = each.last_error or (f"answered {each.last_status}" if each.last_status else "not tried yet")
        typer.echo(
            f"{delivery_id_of(each)}  {each.tenant}  {each.created_at:%Y-%m-%d %H:%M}  {each.state}  "
            f"{each.attempts} tries  {each.url}  {outcome}"
        )


def _delivery(text: str) -> UUID:
    from orchestrator.notify.subscriptions import parse_delivery_id

    parsed = parse_delivery_id(text)
    if parsed is None:
        raise typer.BadParameter("a delivery's id is whd_ and 32 hex digits")
    return parsed


@webhooks.command()
def resend(
    delivery: Annotated[UUID, typer.Argument(parser=_delivery, metavar="DELIVERY")], data_dir: DataDirOption = None
) -> None:
    """Send DELIVERY again, now, whatever became of it."""
    from orchestrator.ports import WebhookDelivery
    from orchestrator.store import Store

    settings = settings_of(data_dir)

    async def again() -> WebhookDelivery | None:
        async with Store.open(settings.database) as store:
            return await store.resend(delivery, None, give_up_s=settings.webhooks.give_up_s)

    if asyncio.run(again()) is None:
        raise CogmillError("there is no such delivery, or its endpoint was deleted or is disabled")
