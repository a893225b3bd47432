"""A client of opencode-sidecar with httpx: create a session, follow it over cut connections, answer what the agent asks.

    pip install -r requirements.txt
    python sidecar.py "Show me what you can do"

Secrets come from the environment: SIDECAR_TOKEN for the sidecar, SIDECAR_API_KEY for the provider.
"""

import argparse
import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

# The sidecar sends a heartbeat every 15 s; a connection that is silent for longer is dead.
SILENCE = 45
# How long a sidecar may be away: as long as a pod takes to be replaced.
AWAY = 180


class Gap(Exception):
    """Events are missing between the cursor and what is kept."""


@dataclass
class Event:
    id: str
    kind: str
    data: dict

    @property
    def is_end(self) -> bool:
        """Whether the turn ends with it."""
        return (
            self.kind == "complete"
            or (self.kind == "error" and self.data["fatal"])
            or (self.kind == "status" and self.data["status"] == "cancelled")
        )


class Sidecar:
    def __init__(self, url: str, token: str | None = None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = httpx.Timeout(30, read=SILENCE)
        # A connection that is kept may have been closed by a proxy when the next call needs it.
        limits = httpx.Limits(max_keepalive_connections=0)
        # Without trust_env no proxy gets in the way of localhost.
        self.http = httpx.Client(base_url=url, headers=headers, timeout=timeout, limits=limits, trust_env=False)

    def call(self, method: str, path: str, body: dict | None = None, **headers: str) -> dict:
        answer = self.http.request(method, path, json=body, headers=headers)
        if answer.is_error:
            # Every refusal has a sentence for people, and a code for programs.
            raise RuntimeError(answer.json()["error"])
        return answer.json()

    def create(self, prompt: str, model: dict, session: str | None = None) -> str:
        session = session or str(uuid.uuid4())
        body = {"session_id": session, "prompt": prompt, "model_config": model}
        # With a key the call may be made again when its answer was lost: it stays one session.
        self.call("POST", "/sessions", body, **{"Idempotency-Key": f"create-{session}"})
        return session

    def prompt(self, session: str, prompt: str) -> str:
        """Another turn. While one runs it waits. The answer is the cursor from which to follow it."""
        return self.call("POST", f"/sessions/{session}/prompt", {"prompt": prompt})["last_event_id"]

    def allow(self, session: str, request: str, reply: str) -> None:
        self.call("POST", f"/sessions/{session}/permissions/{request}", {"reply": reply})

    def stop(self, session: str) -> None:
        self.call("POST", f"/sessions/{session}/stop")

    def follow(self, session: str, cursor: str | None = None) -> Iterator[Event]:
        """Every event behind the cursor, once and in order, up to the end of the turn."""
        away_since, pause = None, 0.5
        while True:
            try:
                for cursor, event in self._connection(session, cursor):
                    away_since, pause = None, 0.5
                    if event:
                        yield event
                        if event.is_end:
                            return
                return
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                if isinstance(error, httpx.HTTPStatusError) and error.response.status_code not in (429, 502, 503, 504):
                    raise
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > AWAY:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, 5)

    def _connection(self, session: str, cursor: str | None) -> Iterator[tuple[str, Event | None]]:
        headers = {"Last-Event-ID": cursor} if cursor else {}
        with self.http.stream("GET", f"/sessions/{session}/stream", headers=headers) as answer:
            answer.raise_for_status()
            if answer.status_code == 204:
                return  # The session is idle, and everything of it was seen.
            block = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(":")
                    block[name] = value.removeprefix(" ")
                    continue
                if block.get("event") == "gap":
                    raise Gap(block["data"])
                if "id" in block:
                    # A block with an id alone moves the cursor past what is not shown.
                    event = Event(block["id"], block["event"], json.loads(block["data"])) if "data" in block else None
                    yield block["id"], event
                block = {}
        raise httpx.RemoteProtocolError("the stream ended before the turn")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("prompt")
    arguments.add_argument("--url", default=os.environ.get("SIDECAR_URL", "http://localhost:3003"))
    arguments.add_argument("--provider", default="demo")
    arguments.add_argument("--model", default="demo")
    arguments.add_argument("--allow", default=["git --version", "git status"], nargs="*", help="the commands that the agent may run, word for word")
    given = arguments.parse_args()
    sidecar = Sidecar(given.url, os.environ.get("SIDECAR_TOKEN"))
    model = {
        "provider": given.provider,
        "model": given.model,
        "api_key": os.environ.get("SIDECAR_API_KEY", ""),
        # Each command is asked for, and this program answers in a person's place.
        "permission_mode": "ask",
        "ask_tools": ["bash"],
    }
    session = sidecar.create(given.prompt, model)
    for event in sidecar.follow(session):
        match event.kind, event.data:
            case "output", {"source": "assistant", "text": text}:
                print(text, end="", flush=True)
            case "tool_call", {"tool": tool, "args": args}:
                print(f"\n[{tool} {json.dumps(args)}]")
            case "permission", {"state": "asked", "request_id": request, "patterns": patterns}:
                # Word for word: what begins well may go on badly (git -c alias.x='!sh' x).
                good = bool(patterns) and all(pattern in given.allow for pattern in patterns)
                print(f"[asked for {patterns}: {'yes' if good else 'no'}]")
                sidecar.allow(session, request, "once" if good else "reject")
            case "error", {"error": sentence}:
                print(f"\n[{sentence}]")
            case "complete", {"files_modified": files, "finish_reason": reason}:
                print(f"\n[done: {reason}, changed {files}]")


if __name__ == "__main__":
    main()
