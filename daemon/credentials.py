"""Secrets as files: a folder whose files are called like settings.

A service manager hands secrets over as files that only the service can read: systemd from
`LoadCredential`, a container engine in `/run/secrets`. `ALPHAD_CREDENTIALS` names that folder, and
its file `alphad_llm__api_key` counts as the environment variable `ALPHAD_LLM__API_KEY`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from signals.errors import ConfigError

#: The environment name of the folder; no setting.
FOLDER_VARIABLE = "ALPHAD_CREDENTIALS"
#: What the name of every credential begins with, as the environment names do.
PREFIX = "alphad_"
#: Longest credential in bytes; a longer file is another file.
LONGEST = 65_536


def with_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with the credentials of the folder it names, if it names one.

    Parameters
    ----------
    environ : mapping of str to str
        `ALPHAD_CREDENTIALS` is taken out of it.

    Raises
    ------
    ConfigError
        The folder or a file of it cannot be read, a file is called like no setting of ours or is
        empty, or a setting is there twice. No message repeats a secret.
    """
    result = {name: value for name, value in environ.items() if name.upper() != FOLDER_VARIABLE}
    named = [value for name, value in environ.items() if name.upper() == FOLDER_VARIABLE]
    if not any(named):
        return result
    folder = Path(named[-1])
    taken = {name.upper() for name in result}
    for path in _files(folder):
        variable = path.name.upper()
        if variable in taken:
            raise ConfigError(
                f"{variable} is given twice, the second time by the file {path}",
                rule="a setting comes from the environment or from a credential",
                hint=f"unset {variable}, or remove the file",
            )
        taken.add(variable)
        result[variable] = _secret(path)
    return result


def _files(folder: Path) -> list[Path]:
    """Return the credentials; names that begin with a dot belong to who put them there."""
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as exc:
        raise ConfigError(
            f"{folder} cannot be read: {exc.strerror}",
            rule=f"{FOLDER_VARIABLE} names the folder of credentials",
            hint=f"create the folder, or unset {FOLDER_VARIABLE}",
        ) from exc
    for path in found:
        if not path.name.lower().startswith(PREFIX):
            raise ConfigError(
                f"{path} is no credential of ours",
                rule=f"a credential is called like a setting, as in {PREFIX}llm__api_key",
                hint=f"rename it, or give {FOLDER_VARIABLE} a folder of its own",
            )
    return found


def _secret(path: Path) -> str:
    """Return what a file says, without the end of its line."""
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
        text = data.decode("utf-8").strip("\r\n")
    except OSError as exc:
        raise ConfigError(
            f"the credential {path} cannot be read: {exc.strerror}",
            rule="a credential is a file that the daemon's user may read",
            hint="check its owner and permissions",
        ) from exc
    except UnicodeDecodeError:  # its message would quote the secret: not chained
        text = ""
    if not text or len(data) > LONGEST or "\x00" in text:
        raise ConfigError(
            f"the credential {path} is empty, too long or no text",
            rule=f"a credential is UTF-8 text of at most {LONGEST} bytes",
            hint="write the secret alone into the file, or remove it",
        ) from None
    return text
