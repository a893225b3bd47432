"""httpx-sse prints each event as a line of JSON."""

import json
import sys

import httpx
from httpx_sse import connect_sse

with httpx.Client(timeout=60) as client, connect_sse(client, "GET", sys.argv[1]) as source:
    for event in source.iter_sse():
        # It hands over blocks without data too (`retry:`, or an id alone), which are no events.
        if event.data:
            print(json.dumps([event.event, event.id, event.data]), flush=True)
