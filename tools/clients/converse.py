"""websockets carries out the steps of conversation.json, and prints each event as a line of JSON."""

import json
import sys

from websockets.sync.client import connect

url, token, steps = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3]))
events, answers, kept = [], {}, {}
passed = 0


def fits(part, whole):
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and fits(part[key], whole[key]) for key in part)
    return part == whole


def read():
    message = json.loads(socket.recv(timeout=40))
    if "type" in message:
        answers[message["ref"]] = message
    elif message["id"] is not None and message["event"] != "heartbeat":
        events.append((message["event"], message["id"], message["data"]))


with connect(url, additional_headers={"Authorization": f"Bearer {token}"}, open_timeout=20) as socket:
    for ref, step in enumerate(steps):
        if "until" in step:
            kind, part = step["until"]
            found = None
            while found is None:
                while passed == len(events):
                    read()
                event, _, data = events[passed]
                passed += 1
                if event == kind and fits(part, data):
                    found = data
            if "as" in step:
                kept[step["as"]] = found[step["as"]]
        else:
            asks = step["say"]["type"] in ("permission", "question")
            socket.send(json.dumps({**step["say"], **(kept if asks else {}), "ref": ref}))
            while ref not in answers:
                read()
            assert fits(step["answer"], answers[ref]), (step, answers[ref])
for event in events:
    print(json.dumps(event), flush=True)
