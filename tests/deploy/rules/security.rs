//! The agent runs what a model wrote: what its pod may do, and whom it can reach.

use serde_json::{Value, json};

use crate::known::Known;
use crate::manifests::{chooses, list, of_kind, pods, text};

/// Not ours to reach: the cluster, the node, the metadata service.
const INSIDE: &[&str] = &[
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
];
const INSIDE_V6: &[&str] = &["fc00::/7", "fe80::/10", "64:ff9b::/96"];

/// What Kubernetes calls the restricted standard, and what we ask for beyond it.
pub(super) fn locked(documents: &[Value], _: &Known) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, sentence: String| {
        if !holds {
            found.push(sentence);
        }
    };
    for pod in pods(documents) {
        let context = &pod.spec["securityContext"];
        for (field, wanted) in [
            ("runAsNonRoot", json!(true)),
            ("runAsUser", json!(10001)),
            ("runAsGroup", json!(10001)),
            ("fsGroup", json!(10001)),
            ("seccompProfile", json!({"type": "RuntimeDefault"})),
        ] {
            must(
                context[field] == wanted,
                format!("{field} of the pod is not {wanted}"),
            );
        }
        let spec = pod.spec;
        must(
            spec["automountServiceAccountToken"] == false,
            "the pod has a token for the API server".into(),
        );
        // A Service named `opencode` would set OPENCODE_PORT to an address.
        must(
            spec["enableServiceLinks"] == false,
            "names of Services become variables".into(),
        );
        for field in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
            must(spec[field] != true, format!("{field} lets the agent out"));
        }
        for volume in list(spec, "/volumes") {
            let path = volume.get("hostPath").is_some();
            must(
                !path,
                format!("{} is a path of the node", text(volume, "/name")),
            );
        }
        for container in pod.containers() {
            let name = text(container, "/name");
            let context = &container["securityContext"];
            for (field, wanted) in [
                ("allowPrivilegeEscalation", json!(false)),
                ("readOnlyRootFilesystem", json!(true)),
                ("capabilities", json!({"drop": ["ALL"]})),
            ] {
                must(
                    context[field] == wanted,
                    format!("{field} of {name} is not {wanted}"),
                );
            }
            for field in [
                "privileged",
                "runAsUser",
                "runAsNonRoot",
                "seccompProfile",
                "procMount",
            ] {
                let own = context.get(field).is_some();
                must(!own, format!("{name} has a {field} of its own"));
            }
        }
    }
    for account in of_kind(documents, "ServiceAccount") {
        must(
            account["automountServiceAccountToken"] == false,
            "the account hands out tokens".into(),
        );
    }
    found
}

/// Every pod stands behind a policy, and no rule of it is open to all.
pub(super) fn walls(documents: &[Value], _: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods(documents) {
        let both = json!(["Ingress", "Egress"]);
        let held = of_kind(documents, "NetworkPolicy").any(|policy| {
            policy["spec"]["policyTypes"] == both
                && chooses(&policy["spec"]["podSelector"], &pod.metadata["labels"])
        });
        if !held {
            found.push(format!("no policy holds {} in both directions", pod.name));
        }
    }
    for policy in of_kind(documents, "NetworkPolicy") {
        for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
            for rule in list(policy, &format!("/spec/{rules}")) {
                let ports = list(rule, "/ports");
                let every = |peer: &Value| peer.as_object().is_none_or(serde_json::Map::is_empty);
                let named = list(rule, &format!("/{peers}"));
                if named.is_empty() || named.iter().any(every) {
                    found.push(format!(
                        "a rule for {rules} names nobody, which is everybody"
                    ));
                }
                if ports.is_empty() || ports.iter().any(|port| !port["port"].is_u64()) {
                    found.push(format!("a rule for {rules} names no port"));
                }
                for peer in named {
                    found.extend(world(&peer["ipBlock"], rules, ports));
                }
            }
        }
    }
    found
}

/// Who is told how sessions end can be reached, and the agent cannot read what the sidecar says there.
pub(super) fn backend(documents: &[Value], _: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods(documents) {
        let Some(address) = pod.env("BACKEND_API_URL") else {
            continue;
        };
        let authority = address.split('/').nth(2).unwrap_or("");
        let default = if address.starts_with("https:") {
            443
        } else {
            80
        };
        let port = authority.rsplit_once(':').map(|(_, port)| port.parse());
        let port: u64 = port.and_then(Result::ok).unwrap_or(default);
        let policies = of_kind(documents, "NetworkPolicy")
            .filter(|policy| chooses(&policy["spec"]["podSelector"], &pod.metadata["labels"]));
        let mut rules = policies.flat_map(|policy| list(policy, "/spec/egress"));
        if !rules.any(|rule| list(rule, "/ports").iter().any(|own| own["port"] == port)) {
            found.push(format!("no policy lets {} call {address}", pod.name));
        }
        if pod.env("OPENCODE_SHARED_SECRET_FILE").is_some() {
            found.push(format!("the agent can read the bearer for {address}"));
        }
    }
    found
}

/// The world outside is called on 443, and is only outside.
fn world(block: &Value, rules: &str, ports: &[Value]) -> Option<String> {
    let inside = match text(block, "/cidr") {
        "0.0.0.0/0" => INSIDE,
        "::/0" => INSIDE_V6,
        _ => return None,
    };
    let except = list(block, "/except");
    let open = inside.iter().find(|range| !except.contains(&json!(range)));
    if rules == "ingress" {
        return Some("the world may call the sidecar".into());
    }
    if let Some(range) = open {
        return Some(format!("the agent can reach {range}"));
    }
    let other = ports.iter().find(|port| port["port"] != 443);
    other.map(|port| format!("the agent can reach port {} of the world", port["port"]))
}
