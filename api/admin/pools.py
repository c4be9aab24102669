"""`/v1/admin/pools`, `/v1/admin/fleet` and `/v1/admin/predictions`: as below `/v1/`, and viewers may look, too."""

from __future__ import annotations

from api.native import fleet, pools, predictions
from api.openai.errors import DOCS
from api.wire.routes import Router
from orchestrator.domain.rights import Scope

router = Router(tags=["administration"])

router.get(
    "/v1/admin/pools",
    response_model=pools.PoolList,
    summary="List pools",
    **DOCS.route(Scope.VIEW, example=pools.LIST_EXAMPLE),
)(pools.list_pools)
router.post(
    "/v1/admin/pools/{pool}/pause",
    response_model=pools.Pool,
    summary="Pause a pool",
    **DOCS.route(Scope.OPERATE, errors=(404,), example=pools.EXAMPLE, reads=pools.READS),
)(pools.pause)
router.post(
    "/v1/admin/pools/{pool}/resume",
    response_model=pools.Pool,
    summary="Resume a pool",
    **DOCS.route(Scope.OPERATE, errors=(404,), example=pools.EXAMPLE),
)(pools.resume)
router.post(
    "/v1/admin/queue/pause",
    response_model=pools.PoolList,
    summary="Pause the whole queue",
    **DOCS.route(Scope.OPERATE, example=pools.LIST_EXAMPLE, reads=pools.READS),
)(pools.pause_queue)
router.post(
    "/v1/admin/queue/resume",
    response_model=pools.PoolList,
    summary="Resume the whole queue",
    **DOCS.route(Scope.OPERATE, example=pools.LIST_EXAMPLE),
)(pools.resume_queue)
router.get(
    "/v1/admin/fleet",
    response_model=fleet.Fleet,
    summary="Show the fleet",
    **DOCS.route(Scope.VIEW, example=fleet.EXAMPLE),
)(fleet.show_fleet)
router.get(
    "/v1/admin/predictions",
    response_model=predictions.PredictionsObject,
    summary="What renders have taught",
    **DOCS.route(Scope.VIEW, errors=(400,), example=predictions.EXAMPLE),
)(predictions.list_predictions)
