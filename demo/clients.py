"""What a person does in the browser at the billing server and at the station, as calls to the same routes."""

from __future__ import annotations

from typing import Any

import httpx

_TIMEOUT_S = 30.0


class ServerClient:
    """Speaks to one of our web programs with an operator's token."""

    def __init__(self, port: int, token: str) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self._http = httpx.Client(
            base_url=self.base,
            headers={"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT_S,
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def answers(self, path: str) -> bool:
        """Whether the server is there and says 200."""
        try:
            return self._http.get(path, timeout=1).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def get(self, path: str, **parameters: Any) -> Any:
        return self._json(self._http.get(path, params=parameters))

    def post(self, path: str, body: Any = None) -> Any:
        return self._json(self._http.post(path, json=body))

    def put(self, path: str, body: Any) -> Any:
        return self._json(self._http.put(path, json=body))

    def _json(self, answer: httpx.Response) -> Any:
        answer.raise_for_status()
        return answer.json()


class StationClient(ServerClient):
    """The enrolment station."""

    def pupils(self) -> list[dict[str, Any]]:
        answer = self.get("/api/eleves")
        return list(answer["pupils"] if isinstance(answer, dict) else answer)

    def consent(self, pupil: str, state: str) -> None:
        """Record consent ("given"), opposition ("opposed") or withdrawal ("withdrawn")."""
        self.post(
            f"/api/eleves/{pupil}/consentement",
            {"state": state, "notice_version": "2026-09", "given_by": "legal-representative"},
        )

    def enroll(self, pupil: str, placements: list[bytes]) -> dict[str, Any]:
        """Three placements of the hand; the answer says `enrolled` or a reason."""
        files = [("placement", (f"{n}.jpg", image, "image/jpeg")) for n, image in enumerate(placements)]
        answer = self._http.post(f"/api/eleves/{pupil}/main", files=files)
        if answer.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
            answer.raise_for_status()
        return dict(answer.json())

    def enroll_without_consent_is_refused(self, pupil: str, placements: list[bytes]) -> bool:
        """Tries to enrol somebody who has not consented; True if the station forbids it."""
        try:
            self.enroll(pupil, placements)
        except httpx.HTTPStatusError as refusal:
            return refusal.response.status_code == httpx.codes.FORBIDDEN
        return False

    def give_card(self, pupil: str, card: str) -> None:
        self.post(f"/api/eleves/{pupil}/carte", {"card": card})
