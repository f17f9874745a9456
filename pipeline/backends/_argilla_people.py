"""The workspace of a dataset and the annotators in it, made where they are missing."""

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.backends._argilla_client import Client, Missing, Taken
from pipeline.errors import RecipeError
from pipeline.runs import explained, json_text, read_json


def find_workspace(client: Client, name: str) -> str | None:
    """Its id."""
    return next((str(w["id"]) for w in client.get("me/workspaces")["items"] if w["name"] == name), None)


def make_workspace(client: Client, name: str) -> str:
    if (found := find_workspace(client, name)) is not None:
        return found
    try:
        return str(client.call("POST", "workspaces", {"name": name})["id"])
    except Taken:
        # Made by a first try whose reply got lost, or by somebody else since we looked.
        found = find_workspace(client, name)
        assert found is not None
        return found


def make_annotators(client: Client, workspace: str, names: Sequence[str], logins: Path) -> None:
    """Make the users that are missing, with passwords that are written to `logins`, and add all to the workspace."""
    if not names:
        return
    users = {user["username"]: str(user["id"]) for user in client.get("users")["items"]}
    inside = {str(user["id"]) for user in client.get(f"workspaces/{workspace}/users")["items"]}
    for name in names:
        user = users.get(name) or _make_user(client, name, logins)
        if user not in inside:
            with suppress(Taken):  # added by a first try whose reply got lost
                client.call("POST", f"workspaces/{workspace}/users", {"user_id": user})


def _make_user(client: Client, name: str, logins: Path) -> str:
    body = {"username": name, "first_name": name, "role": "annotator", "password": _password(name, logins)}
    try:
        return str(client.call("POST", "users", body)["id"])
    except Taken:
        return next(str(user["id"]) for user in client.get("users")["items"] if user["username"] == name)


def _password(name: str, logins: Path) -> str:
    """Written before the user is made, so that it is never lost; for the owner of the file alone."""
    known = read_json(logins) or {}
    if name not in known:
        known[name] = secrets.token_urlsafe(12)
        temporary = logins.with_name(f".{logins.name}.tmp")
        with explained(logins):
            logins.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(json_text(known))
            temporary.replace(logins)
    return str(known[name])


class Names:
    """Usernames by user id, asked for once."""

    def __init__(self, client: Client, workspace: str) -> None:
        self._client = client
        self._workspace = workspace
        self._names: dict[str, str] | None = None

    def of(self, user: str) -> str:
        if self._names is None:
            users = self._client.get(f"workspaces/{self._workspace}/users")["items"]
            self._names = {str(u["id"]): str(u["username"]) for u in users}
        if user not in self._names:
            # Someone who answered and is not, or no longer, in the workspace, such as the server's owner.
            try:
                self._names[user] = str(self._client.get(f"users/{user}")["username"])
            except (Missing, RecipeError):
                self._names[user] = user
        return self._names[user]
