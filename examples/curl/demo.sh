#!/bin/sh
# The whole life of a session in ten lines of curl. SIDECAR_URL says where the sidecar is, SIDECAR_TOKEN is its secret,
# which goes to curl through a pipe: any process can read a command line.
set -eu
api() { printf %s "${SIDECAR_TOKEN:+header = \"Authorization: Bearer $SIDECAR_TOKEN\"}" | curl -K- -sSN --fail-with-body --noproxy '*' "$@"; }
url=${SIDECAR_URL:-http://localhost:3003} id=curl-$$ model='{"provider":"demo","model":"demo"}'

api "$url/sessions" -d "{\"session_id\":\"$id\",\"prompt\":\"Show me what you can do\",\"model_config\":$model}"; echo
api "$url/sessions/$id/stream" | tee events.txt                                     # to the end of the turn
cursor=$(sed -n 's/^id: //p' events.txt | sed -n 5p)                                # as if it had been cut here
api "$url/sessions/$id/stream" -H "Last-Event-ID: $cursor" | grep '^id: '           # what follows, each event once
api "$url/sessions/$id/prompt" -d '{"prompt":"Once more"}'; echo                    # the next turn
api "$url/sessions/$id/stop" -X POST; echo                                          # is not wanted any more
api "$url/sessions/$id/status"; echo
