"""What Schemathesis does not do by itself.

`GET /events` has no end: as much of it is read as comes within a second, and then it is left.

Python 3.11 counts how deep its parser is for all threads together (python/cpython#106905), so only one may parse at a time.
"""

import ast
import threading
import time

from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError

SECOND = 1
parsing = threading.Lock()
parse_unlocked, send_whole = ast.parse, HTTPAdapter.send


def parse(*source, **options):
    with parsing:
        return parse_unlocked(*source, **options)


def send(adapter, request, **options):
    if request.path_url.split("?")[0] != "/events":
        return send_whole(adapter, request, **options)
    response = send_whole(adapter, request, **{**options, "stream": True, "timeout": SECOND})
    if response.headers.get("content-type") != "text/event-stream":
        response.content
        return response
    pieces, end = [], time.monotonic() + SECOND
    try:
        while time.monotonic() < end and (piece := response.raw.read1()):
            pieces.append(piece)
    except ReadTimeoutError:
        pass
    response._content, response._content_consumed = b"".join(pieces), True
    response.close()
    return response


ast.parse, HTTPAdapter.send = parse, send
