"""websockets prints each event as a line of JSON, until it has seen so many turns end."""

import json
import sys

from websockets.sync.client import connect

url, token, turns = sys.argv[1], sys.argv[2], int(sys.argv[3])
with connect(url, additional_headers={"Authorization": f"Bearer {token}"}, open_timeout=20) as socket:
    socket.ping().wait(20)
    socket.send(json.dumps({"type": "ping", "ref": "here"}))
    answered = False
    for text in socket:
        message = json.loads(text)
        if "type" in message:
            assert message == {"type": "ack", "ref": "here"}, message
            answered = True
            continue
        if message["id"] is None or message["event"] == "heartbeat":
            continue
        print(json.dumps([message["event"], message["id"], message["data"]]), flush=True)
        turns -= message["event"] == "complete"
        if turns == 0:
            break
    assert answered
