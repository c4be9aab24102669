"""`cogmill up` offers no model that cannot be loaded: it says which, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.config import Settings
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.local import greeting
from orchestrator.local.availability import changes, unfit
from orchestrator.local.stack import Ready

READY = Ready(
    api="http://a", key="k", database="d", s3="s", metrics={}, ray="r", config="c", data_dir="/d"
)  # fmt: skip
LOAD = WorkerLoad(worker="main-0", pool="main", model="m", state=LoadState.LOADED)
BROKEN = replace(LOAD, state=LoadState.BROKEN, failures=1, reason="no room", detail="ConfigError: 22 GiB")


def settings(*models: str) -> Settings:
    return Settings.model_validate(
        {
            "database_url": "postgresql://u:p@127.0.0.1/d",
            "master_key": "0123456789abcdef",
            "default_model": models[0],
            "models": {name: {"family": "tiny-2b", "source": f"/models/{name}"} for name in models},
            "pools": {name: {"model": name} for name in models},
        }
    )


def require(path: Path) -> None:
    if path.name.startswith("bad"):
        raise ConfigError(f"{path} is not whole: vae has no config.json")


def test_the_greeting_offers_no_model_that_cannot_be_loaded_and_says_why() -> None:
    ours = settings("good", "bad")
    missing = unfit(ours, require)
    assert missing == {"bad": "/models/bad is not whole: vae has no config.json"}
    text = greeting.text(READY, ours, missing)
    assert "\nNOT AVAILABLE: bad: /models/bad is not whole: vae has no config.json\n" in text
    assert "  bad " not in text
    assert "  good" in text
    assert "http://a/console " in text
    assert "  http://a/console " in text.replace("console    ", "  ")


def test_a_stack_of_which_no_model_can_be_loaded_is_not_called_ready() -> None:
    with pytest.raises(ConfigError, match=r"no model can be loaded: bad: /models/bad is not whole.*; bad2: "):
        unfit(settings("bad", "bad2"), require)


def test_what_becomes_of_a_model_is_said_once_and_again_when_it_changes() -> None:
    assert changes({}, [replace(LOAD, state=LoadState.LOADING)]) == {}
    said = "no worker of pool main has loaded m: no room (ConfigError: 22 GiB)"
    assert changes({}, [BROKEN]) == {"m": said}
    assert changes({"m": said}, [BROKEN]) == {}
    assert changes({"m": said}, [BROKEN, replace(LOAD, worker="main-1")]) == {"m": None}
    assert changes({"m": None}, [LOAD]) == {}
