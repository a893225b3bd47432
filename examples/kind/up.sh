#!/usr/bin/env bash
# From nothing to a streamed session in a local cluster: examples/kind/up.sh [kind|k3d]
# It needs kind or k3d, kubectl, curl, and the image opencode-sidecar:0.1.0 in Docker (`docker build -t opencode-sidecar:0.1.0 .`).
set -euo pipefail
cd "$(dirname "$0")/../.."
with=${1:-kind}
image=opencode-sidecar:0.1.0

case $with in
  kind)
    kind create cluster --config examples/kind/cluster.yaml
    kind load docker-image --name opencode-sidecar "$image"
    remove="kind delete cluster --name opencode-sidecar"
    ;;
  k3d)
    k3d cluster create opencode-sidecar
    k3d image import --cluster opencode-sidecar "$image"
    remove="k3d cluster delete opencode-sidecar"
    ;;
  *) echo "usage: $0 [kind|k3d]" >&2; exit 64 ;;
esac

kubectl create namespace agents
# Through pipes and never as an argument: any process can read a command line.
token=$(openssl rand -hex 32)
kubectl --namespace agents create secret generic opencode-sidecar --from-file=accepted=<(printf %s "$token") --from-file=token=<(printf %s "$token")
kubectl --namespace agents apply -k deploy/overlays/quickstart
kubectl --namespace agents rollout status deployment/example-app --timeout=180s

kubectl --namespace agents port-forward deployment/example-app 3003:3003 >/dev/null &
forward=$!
trap 'kill "$forward"' EXIT
curl -sS --retry 20 --retry-connrefused --retry-delay 1 --fail localhost:3003/ready; echo
curl -sSN --fail-with-body localhost:3003/sessions -H @<(printf 'Authorization: Bearer %s' "$token") -H 'Accept: text/event-stream' -d '{
  "session_id": "first", "prompt": "Show me what you can do", "model_config": {"provider": "demo", "model": "demo"}}'
echo "The cluster stays. To remove it: ${remove}"
