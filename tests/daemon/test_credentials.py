"""Secrets that come as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.credentials import FOLDER_VARIABLE, LONGEST, with_credentials
from daemon.settings import load_settings
from signals.errors import ConfigError


def folder(tmp_path: Path, **files: str) -> Path:
    home = tmp_path / "credentials"
    home.mkdir()
    for name, text in files.items():
        (home / name).write_text(text, encoding="utf-8")
    return home


def test_a_file_counts_as_the_variable_it_is_called_like(tmp_path: Path) -> None:
    """A file's name is the setting's, in either case; the end of its line is no part of it."""
    home = folder(tmp_path, alphad_llm__api_key="sk-one\n", ALPHAD_DATABASE_URL="sqlite:///x.db")
    (home / "..data").mkdir()  # as some engines leave there
    settings = load_settings(None, {FOLDER_VARIABLE: str(home), "ALPHAD_TICK_SECONDS": "5"})
    assert settings.llm.api_key is not None
    assert settings.llm.api_key.get_secret_value() == "sk-one"
    assert (settings.database_url, settings.tick_seconds) == ("sqlite:///x.db", 5)


@pytest.mark.parametrize("environ", [{}, {FOLDER_VARIABLE: ""}, {"PATH": "/bin"}])
def test_without_a_folder_the_environment_is_as_it_was(environ: dict[str, str]) -> None:
    """No folder is looked at unless it is named."""
    kept = {name: value for name, value in environ.items() if name != FOLDER_VARIABLE}
    assert with_credentials(environ) == kept


def test_an_empty_folder_gives_nothing(tmp_path: Path) -> None:
    """A service without secrets starts with an empty folder."""
    assert with_credentials({FOLDER_VARIABLE: str(folder(tmp_path))}) == {}


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """A folder that is named must be there: a daemon without its key would fail much later."""
    with pytest.raises(ConfigError, match="cannot be read") as error:
        load_settings(None, {FOLDER_VARIABLE: str(tmp_path / "none")})
    assert error.value.exit_code == 78


@pytest.mark.parametrize(
    ("name", "text", "fact"),
    [
        ("api_key", "sk-secret", "is no credential of ours"),
        ("alphad_lmm__api_key", "sk-secret", "is no setting"),
        ("alphad_llm__api_kez", "sk-secret", "is no setting"),
        ("alphad_llm__api_key", "", "is empty"),
        ("alphad_llm__api_key", "\n", "is empty"),
        ("alphad_llm__api_key", "sk-secret\x00", "no text"),
        ("alphad_llm__api_key", "sk-secret" * LONGEST, "too long"),
    ],
)
def test_what_is_no_credential_is_refused(tmp_path: Path, name: str, text: str, fact: str) -> None:
    """An unknown name and an unusable file are errors, and none of them tells the secret."""
    home = folder(tmp_path, **{name: text})
    with pytest.raises(ConfigError, match=fact) as error:
        load_settings(None, {FOLDER_VARIABLE: str(home)})
    assert "sk-secret" not in str(error.value)


def test_bytes_that_are_no_text_are_refused_untold(tmp_path: Path) -> None:
    """A binary file is refused without quoting it, also in the cause of the error."""
    home = folder(tmp_path)
    (home / "alphad_llm__api_key").write_bytes(b"secret\xff")
    with pytest.raises(ConfigError, match="no text") as error:
        with_credentials({FOLDER_VARIABLE: str(home)})
    assert error.value.__cause__ is None


def test_a_folder_inside_is_refused(tmp_path: Path) -> None:
    """A folder where a file should be is an error of ours."""
    home = folder(tmp_path)
    (home / "alphad_llm__api_key").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        with_credentials({FOLDER_VARIABLE: str(home)})


def test_a_setting_given_twice_is_refused(tmp_path: Path) -> None:
    """Which of two secrets was meant is not guessed."""
    home = folder(tmp_path, alphad_llm__api_key="sk-one")
    with pytest.raises(ConfigError, match="ALPHAD_LLM__API_KEY is given twice"):
        load_settings(None, {FOLDER_VARIABLE: str(home), "alphad_llm__api_key": "sk-two"})
