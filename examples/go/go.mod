module example.com/opencode-sidecar-client

go 1.19
