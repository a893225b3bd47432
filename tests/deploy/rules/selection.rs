//! Who chooses whom by labels, and which port is meant.

use serde_json::{Value, json};

use crate::known::Known;
use crate::manifests::{Pod, chooses, list, of_kind, pods, text};

/// What chooses pods, and where it says which. A Service's labels stand by themselves.
const CHOOSERS: &[(&str, &str)] = &[
    ("NetworkPolicy", "/spec/podSelector"),
    ("PodDisruptionBudget", "/spec/selector"),
    ("PodMonitor", "/spec/selector"),
    ("Service", "/spec/selector"),
];

fn selector(chooser: &Value, place: &str) -> Value {
    let selector = chooser.pointer(place).unwrap_or(&Value::Null);
    if chooser["kind"] == "Service" {
        json!({ "matchLabels": selector })
    } else {
        selector.clone()
    }
}

fn chosen<'a>(documents: &'a [Value], chooser: &Value) -> Vec<Pod<'a>> {
    let place = CHOOSERS.iter().find(|(kind, _)| chooser["kind"] == *kind);
    let selector = selector(chooser, place.unwrap().1);
    let mut pods = pods(documents);
    pods.retain(|pod| chooses(&selector, &pod.metadata["labels"]));
    pods
}

pub(super) fn selectors(documents: &[Value], _: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for (kind, _) in CHOOSERS {
        for chooser in of_kind(documents, kind) {
            if chosen(documents, chooser).is_empty() {
                found.push(format!(
                    "{kind} {} chooses no pod",
                    text(chooser, "/metadata/name")
                ));
            }
        }
    }
    for deployment in of_kind(documents, "Deployment") {
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        if !chooses(&deployment["spec"]["selector"], labels) {
            found.push("the Deployment does not choose its own pods".into());
        }
    }
    for pod in pods(documents) {
        for constraint in list(pod.spec, "/topologySpreadConstraints") {
            if !chooses(&constraint["labelSelector"], &pod.metadata["labels"]) {
                found.push(format!("{} is not among those it is spread with", pod.name));
            }
        }
    }
    found
}

/// A pod that nothing makes again is called by a name, which outlives its IP only if somebody publishes it.
pub(super) fn names(documents: &[Value], _: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods(documents).iter().filter(|pod| pod.kind == "Pod") {
        if text(pod.spec, "/hostname").is_empty() {
            found.push(format!("{} has no hostname", pod.name));
        }
        let subdomain = text(pod.spec, "/subdomain");
        let published = of_kind(documents, "Service").any(|service| {
            text(service, "/metadata/name") == subdomain
                && service["spec"]["clusterIP"] == "None"
                && chooses(
                    &selector(service, "/spec/selector"),
                    &pod.metadata["labels"],
                )
        });
        if !published {
            found.push(format!(
                "{} has the subdomain {subdomain:?}, which is no headless Service that chooses it",
                pod.name
            ));
        }
    }
    found
}

/// A budget that counts what it can count, and lets a node be emptied.
pub(super) fn budgets(documents: &[Value], _: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for budget in of_kind(documents, "PodDisruptionBudget") {
        let (most, least) = (
            &budget["spec"]["maxUnavailable"],
            &budget["spec"]["minAvailable"],
        );
        if !least.is_u64() {
            for pod in chosen(documents, budget) {
                if pod.kind != "Deployment" {
                    found.push(format!("a budget of that form cannot count a {}", pod.kind));
                }
            }
        }
        let replicas: u64 = of_kind(documents, "Deployment")
            .filter_map(|deployment| deployment["spec"]["replicas"].as_u64())
            .sum();
        if *most == 0 || *most == "0%" || least.as_u64().is_some_and(|least| least >= replicas) {
            found.push("the budget lets nobody go: a node could not be emptied".into());
        }
    }
    found
}

pub(super) fn ports(documents: &[Value], known: &Known) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, sentence: String| {
        if !holds {
            found.push(sentence);
        }
    };
    for pod in pods(documents) {
        let port = pod.env("PORT").or(known.default("PORT")).unwrap_or("");
        let port: u64 = port.parse().unwrap_or(0);
        let own = list(pod.sidecar(), "/ports");
        let fits = own.len() == 1 && own[0]["containerPort"] == port && own[0]["name"] == "http";
        must(
            fits,
            format!("the sidecar's one port is not `http`, {port}"),
        );

        let all: Vec<&Value> = pod
            .containers()
            .flat_map(|container| list(container, "/ports"))
            .collect();
        for (at, declared) in all.iter().enumerate() {
            let twice = all.iter().take(at).any(|other| {
                other["name"] == declared["name"]
                    || other["containerPort"] == declared["containerPort"]
            });
            must(
                !twice,
                format!("two containers declare the port {declared}"),
            );
            let named = !text(declared, "/name").is_empty();
            must(named, format!("the port {declared} has no name"));
        }

        let reachable = of_kind(documents, "NetworkPolicy").any(|policy| {
            let rules = list(policy, "/spec/ingress").iter();
            let mut ports = rules.flat_map(|rule| list(rule, "/ports"));
            ports.any(|allowed| allowed["port"] == port)
        });
        must(
            reachable,
            format!("no policy lets anybody call port {port}"),
        );
    }
    for service in of_kind(documents, "Service") {
        for pod in chosen(documents, service) {
            for port in list(service, "/spec/ports") {
                let target = port.get("targetPort").unwrap_or(&port["port"]);
                let sidecar = list(pod.sidecar(), "/ports");
                let there = sidecar.iter().any(|own| own["containerPort"] == *target);
                must(
                    there,
                    format!("the Service leads to {target}, where nobody listens"),
                );
                must(
                    port["appProtocol"] == "http",
                    "the Service does not say that it is http".into(),
                );
            }
        }
    }
    for monitor in of_kind(documents, "PodMonitor") {
        for pod in chosen(documents, monitor) {
            for endpoint in list(monitor, "/spec/podMetricsEndpoints") {
                let sidecar = list(pod.sidecar(), "/ports");
                let there = sidecar.iter().any(|own| own["name"] == endpoint["port"]);
                must(
                    there,
                    format!("Prometheus asks {}, which is no port", endpoint["port"]),
                );
                let path = text(endpoint, "/path");
                must(
                    known.route(path),
                    format!("Prometheus asks {path}, which is no route"),
                );
            }
        }
    }
    for monitor in of_kind(documents, "ServiceMonitor") {
        let services: Vec<&Value> = of_kind(documents, "Service")
            .filter(|service| chooses(&monitor["spec"]["selector"], &service["metadata"]["labels"]))
            .collect();
        must(
            !services.is_empty(),
            "the ServiceMonitor chooses no Service".into(),
        );
        for endpoint in list(monitor, "/spec/endpoints") {
            let named = |service: &&Value| {
                let ports = list(service, "/spec/ports");
                ports.iter().any(|port| port["name"] == endpoint["port"])
            };
            must(
                services.iter().all(named),
                format!("Prometheus asks {}, which is no port", endpoint["port"]),
            );
            let path = text(endpoint, "/path");
            must(
                known.route(path),
                format!("Prometheus asks {path}, which is no route"),
            );
        }
    }
    found
}
