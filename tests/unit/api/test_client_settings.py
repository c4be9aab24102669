"""Where the client finds API and key, and the file of profiles."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cogmill_client import Cogmill, ConfigurationError, profiles
from cogmill_client.profiles import Profile


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("COGMILL_API", "COGMILL_KEY", "COGMILL_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def found(**given: str) -> tuple[str, str]:
    settings = Cogmill(**given).settings
    return settings.base_url, settings.api_key


@pytest.fixture
def two() -> None:
    made = profiles.Profiles().having("work", Profile("https://work.test", "wk"))
    profiles.write(made.having("home", Profile("http://home.test/base", "hk")))


def test_without_any_it_says_what_to_set() -> None:
    with pytest.raises(ConfigurationError, match="COGMILL_API"):
        Cogmill()
    with pytest.raises(ConfigurationError, match="COGMILL_KEY"):
        Cogmill(base_url="http://a.test")


def test_the_caller_wins_over_a_named_profile_over_the_environment_over_the_default(
    two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found() == ("https://work.test", "wk")
    monkeypatch.setenv("COGMILL_API", "http://env.test/v1/")
    monkeypatch.setenv("COGMILL_KEY", "ek")
    assert found() == ("http://env.test", "ek")
    assert found(profile="home") == ("http://home.test/base", "hk")
    monkeypatch.setenv("COGMILL_PROFILE", "home")
    assert found() == ("http://home.test/base", "hk")
    assert found(base_url="http://me.test", api_key="mk") == ("http://me.test", "mk")


def test_a_key_is_never_sent_to_an_api_that_it_was_not_meant_for(two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMILL_API", "http://env.test")
    with pytest.raises(ConfigurationError, match="no key for"):
        Cogmill()
    monkeypatch.delenv("COGMILL_API")
    with pytest.raises(ConfigurationError, match="no key for"):
        Cogmill(base_url="http://me.test")
    monkeypatch.setenv("COGMILL_KEY", "ek")
    with pytest.raises(ConfigurationError, match="no API"):
        Cogmill()


def test_the_file_is_its_owners_and_reads_back_as_it_was_written(two: None, home: Path) -> None:
    path = home / "config" / "cogmill" / "config.toml"
    assert profiles.path() == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    path.chmod(0o644)
    again = profiles.read()
    assert (list(again.named), again.default) == (["work", "home"], "work")
    profiles.write(again.using("home").having("work", Profile("https://w2.test", 'quote"\\back')))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert profiles.read().get("work") == Profile("https://w2.test", 'quote"\\back')
    assert profiles.read().default == "home"
    assert "wk" not in repr(profiles.read())


def test_a_relative_xdg_directory_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert profiles.path() == tmp_path / ".config" / "cogmill" / "config.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("profiles = 1", "tables"),
        ("default_profile = 1", "tables"),
        ("[profiles.a]\napi = 'x'", "api and key"),
        ("[profiles.a]\napi = 'x'\nkey = 'y'\nurl = 'z'", "unknown key url"),
        ("[", "cannot read"),
        ("default_profile = 'gone'", "no profile 'gone'"),
    ],
)
def test_a_file_that_is_wrong_is_said(text: str, said: str) -> None:
    profiles.path().parent.mkdir(parents=True)
    profiles.path().write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        Cogmill()


@pytest.mark.parametrize("name", ["", "a b", "a.b", "x" * 65, "ü"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        profiles.Profiles().having(name, Profile("http://a.test", "k"))


@pytest.mark.parametrize(
    "url", ["", "ftp://a.test", "a.test", "http://", "http://a.test?x=1", "http://[", "http://a#b"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Cogmill(api_key="k", base_url=url)


@pytest.mark.parametrize("key", ["a b", "a\nb", "ü"])
def test_a_key_that_no_header_takes_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="api_key"):
        Cogmill(api_key=key, base_url="http://a.test")
