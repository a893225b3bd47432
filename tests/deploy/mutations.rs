//! Each rule finds what it is for: manifests broken in one place, and the words that must come.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::known::Known;
use crate::manifests::one;
use crate::rules::{RULES, faults};

/// One place of one rendering, and what stands there instead.
struct Break {
    rule: &'static str,
    from: &'static str,
    /// A kind, or `pod` or `sidecar` for places inside the Deployment's template, or `new`.
    at: &'static str,
    place: &'static str,
    /// `None` takes it out; without a place, the whole document.
    value: Option<Value>,
    says: &'static str,
}

/// Rule, where, place, value, words.
type Line = (
    &'static str,
    &'static str,
    &'static str,
    Option<Value>,
    &'static str,
);

const POD: &str = "/spec/template/spec";
const SIDECAR: &str = "/spec/template/spec/initContainers/0";

// === impl Break ===

impl Break {
    fn apply(&self, documents: &mut Vec<Value>) {
        let (kind, inner) = match self.at {
            "new" => return documents.push(self.value.clone().unwrap()),
            "pod" => ("Deployment", POD),
            "sidecar" => ("Deployment", SIDECAR),
            kind => (kind, ""),
        };
        let Some((parent, last)) = self.place.rsplit_once('/') else {
            return documents.retain(|document| document["kind"] != kind);
        };
        let root = documents.iter_mut().find(|one| one["kind"] == kind);
        let place = format!("{inner}{parent}");
        let found = root.unwrap().pointer_mut(&place);
        let found = found.unwrap_or_else(|| panic!("there is no {place}"));
        match (found, &self.value) {
            (Value::Object(fields), Some(value)) => {
                fields.insert(last.to_owned(), value.clone());
            }
            (Value::Object(fields), None) => {
                assert!(fields.remove(last).is_some(), "there is no {place}/{last}");
            }
            (Value::Array(items), Some(value)) if last == "-" => items.push(value.clone()),
            (Value::Array(items), Some(value)) => {
                items[last.parse::<usize>().unwrap()] = value.clone();
            }
            (Value::Array(items), None) => {
                items.remove(last.parse().unwrap());
            }
            (other, _) => panic!("{place} holds {other}"),
        }
    }
}

/// In the base, one line a break.
#[rustfmt::skip]
fn in_the_base() -> Vec<Break> {
    let table: Vec<Line> = vec![
        ("sidecar", "Deployment", "", None, "there is no pod"),
        ("sidecar", "sidecar", "/name", Some(json!("side-car")), "0 containers named"),
        ("sidecar", "sidecar", "/restartPolicy", None, "waits for the sidecar's end"),
        ("sidecar", "sidecar", "/lifecycle/preStop/exec/command/1", Some(json!("drian")), "preStop runs"),
        ("sidecar", "sidecar", "/lifecycle", None, "preStop runs"),
        ("probes", "sidecar", "/livenessProbe", None, "has no livenessProbe"),
        ("probes", "sidecar", "/readinessProbe/httpGet/port", Some(json!("htttp")), "asks a port that is not declared"),
        ("probes", "sidecar", "/startupProbe/httpGet/path", Some(json!("/healthy")), "no probe of the API"),
        ("probes", "sidecar", "/startupProbe/httpGet/path", Some(json!("/sessions")), "no probe of the API"),
        ("probes", "sidecar", "/livenessProbe/httpGet/path", Some(json!("/ready")), "asks the wrong question"),
        ("probes", "sidecar", "/readinessProbe/httpGet/path", Some(json!("/healthz")), "asks the wrong question"),
        ("probes", "sidecar", "/startupProbe/failureThreshold", Some(json!(5)), "gives up after 5 s"),
        ("probes", "pod", "/containers/0/readinessProbe/tcpSocket/port", Some(json!(8081)), "asks a port that is not declared"),
        ("settings", "sidecar", "/env/0/name", Some(json!("PROT")), "PROT is no setting"),
        ("settings", "sidecar", "/env/-", Some(json!({"name": "PORT", "value": "3003"})), "PORT is set twice"),
        ("values", "sidecar", "/env/0/value", Some(json!("http")), "PORT=\"http\" is not accepted"),
        ("values", "sidecar", "/env/5/value", Some(json!("25 seconds")), "DRAIN_TIMEOUT"),
        ("values", "sidecar", "/env/-", Some(json!({"name": "LOG_LEVEL", "value": "loud"})), "LOG_LEVEL"),
        ("grace", "pod", "/terminationGracePeriodSeconds", Some(json!(29)), "too little"),
        ("grace", "sidecar", "/env/5/value", Some(json!("36s")), "40 s of grace"),
        ("grace", "sidecar", "/env/5/value", Some(json!("1m")), "too little"),
        ("quantities", "sidecar", "/resources/limits/memory", Some(json!("1GB")), "memory of opencode-sidecar is no quantity"),
        ("quantities", "sidecar", "/resources/requests/cpu", None, "the cpu that opencode-sidecar requests"),
        ("quantities", "pod", "/volumes/1/emptyDir/sizeLimit", Some(json!("two")), "the size of data"),
        ("quantities", "PersistentVolumeClaim", "/spec/resources/requests/storage", Some(json!("10 Gi")), "the size of a claim"),
        ("memory", "sidecar", "/resources/limits/memory", Some(json!("768Mi")), "are too few"),
        ("memory", "sidecar", "/env/4/value", Some(json!("20")), "20 sessions take"),
        ("memory", "sidecar", "/resources/limits/memory", Some(json!("2Gi")), "requests less memory"),
        ("images", "sidecar", "/image", Some(json!("opencode-sidecar:latest")), "has no version"),
        ("images", "sidecar", "/image", Some(json!("opencode-sidecar:0.0.9")), "is not this version"),
        ("images", "pod", "/containers/0/image", Some(json!("localhost:5000/busybox")), "has no version"),
        ("volumes", "pod", "/volumes/2", None, "tmp is mounted and is no volume"),
        ("volumes", "pod", "/volumes/-", Some(json!({"name": "spare", "emptyDir": {}})), "spare is mounted nowhere"),
        ("volumes", "pod", "/volumes/-", Some(json!({"name": "tmp", "emptyDir": {}})), "two volumes named tmp"),
        ("references", "PersistentVolumeClaim", "", None, "PersistentVolumeClaim \"workspace\" does not exist"),
        ("references", "ServiceAccount", "/metadata/name", Some(json!("other")), "ServiceAccount"),
        ("references", "pod", "/priorityClassName", Some(json!("urgent")), "PriorityClass \"urgent\""),
        ("references", "pod", "/runtimeClassName", Some(json!("kata")), "RuntimeClass \"kata\""),
        ("references", "pod", "/volumes/3/secret/secretName", Some(json!("sidecar")), "the secret \"sidecar\""),
        ("references", "PodMonitor", "/spec/podMetricsEndpoints/0/authorization/credentials/key", Some(json!("tokens")), "\"tokens\""),
        ("writable", "sidecar", "/volumeMounts/2", None, "cannot write \"/tmp\""),
        ("writable", "sidecar", "/volumeMounts/0/readOnly", Some(json!(true)), "cannot write \"/workspace\""),
        ("writable", "sidecar", "/env/2/value", Some(json!("/data")), "cannot write \"/data\""),
        ("writable", "pod", "/volumes/1/emptyDir/sizeLimit", None, "data may fill"),
        ("writable", "pod", "/volumes/2/emptyDir/medium", Some(json!("Memory")), "tmp is in memory"),
        ("secrets", "new", "", Some(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "opencode-sidecar"}})), "a secret is part"),
        ("secrets", "sidecar", "/envFrom", Some(json!([{"secretRef": {"name": "opencode-sidecar"}}])), "from somewhere else"),
        ("secrets", "sidecar", "/env/-", Some(json!({"name": "HTTP_PROXY", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}})), "a secret in a variable"),
        ("secrets", "sidecar", "/env/-", Some(json!({"name": "OPENCODE_SHARED_SECRET", "value": "x"})), "the secret itself"),
        ("secrets", "sidecar", "/env/3", None, "names no file"),
        ("secrets", "sidecar", "/env/-", Some(json!({"name": "OPENCODE_SHARED_SECRET", "valueFrom": {"secretKeyRef": {"name": "opencode-sidecar", "key": "accepted"}}})), "or in two"),
        ("secrets", "sidecar", "/env/3/value", Some(json!("/etc/accepted")), "names no file"),
        ("secrets", "sidecar", "/volumeMounts/3/readOnly", None, "names no file"),
        ("secrets", "pod", "/volumes/3/secret/items/0/path", Some(json!("token")), "names no file"),
        ("locked", "pod", "/securityContext/runAsNonRoot", None, "runAsNonRoot of the pod"),
        ("locked", "pod", "/securityContext/runAsUser", Some(json!(0)), "runAsUser of the pod"),
        ("locked", "pod", "/securityContext/seccompProfile/type", Some(json!("Unconfined")), "seccompProfile of the pod"),
        ("locked", "pod", "/automountServiceAccountToken", Some(json!(true)), "has a token"),
        ("locked", "pod", "/enableServiceLinks", None, "become variables"),
        ("locked", "pod", "/shareProcessNamespace", Some(json!(true)), "lets the agent out"),
        ("locked", "pod", "/hostNetwork", Some(json!(true)), "lets the agent out"),
        ("locked", "pod", "/volumes/1/hostPath", Some(json!({"path": "/"})), "a path of the node"),
        ("locked", "sidecar", "/securityContext/readOnlyRootFilesystem", None, "readOnlyRootFilesystem of opencode-sidecar"),
        ("locked", "sidecar", "/securityContext/allowPrivilegeEscalation", None, "allowPrivilegeEscalation"),
        ("locked", "pod", "/containers/0/securityContext/capabilities/add", Some(json!(["NET_ADMIN"])), "capabilities of app"),
        ("locked", "sidecar", "/securityContext/privileged", Some(json!(true)), "a privileged of its own"),
        ("locked", "ServiceAccount", "/automountServiceAccountToken", None, "hands out tokens"),
        ("walls", "NetworkPolicy", "", None, "no policy holds example-app"),
        ("walls", "NetworkPolicy", "/spec/policyTypes/1", None, "no policy holds example-app"),
        ("walls", "NetworkPolicy", "/spec/podSelector/matchLabels/opencode-sidecar", Some(json!("on")), "no policy holds"),
        ("walls", "NetworkPolicy", "/spec/ingress/0/from", None, "names nobody"),
        ("walls", "NetworkPolicy", "/spec/ingress/0/from/-", Some(json!({})), "names nobody"),
        ("walls", "NetworkPolicy", "/spec/egress/0/to", None, "names nobody"),
        ("walls", "NetworkPolicy", "/spec/egress/1/ports", None, "names no port"),
        ("walls", "NetworkPolicy", "/spec/egress/1/to/0/ipBlock/except/2", None, "can reach 169.254.0.0/16"),
        ("walls", "NetworkPolicy", "/spec/egress/1/to/1/ipBlock/except", None, "can reach fc00::/7"),
        ("walls", "NetworkPolicy", "/spec/egress/1/to/1/ipBlock/except/2", None, "can reach 64:ff9b::/96"),
        ("walls", "NetworkPolicy", "/spec/egress/1/ports/-", Some(json!({"port": 22})), "can reach port 22"),
        ("walls", "NetworkPolicy", "/spec/ingress/0/from/-", Some(json!({"ipBlock": {"cidr": "0.0.0.0/0"}})), "the world may call"),
        ("references", "sidecar", "/env/-", Some(json!({"name": "OPENCODE_SHARED_SECRET", "valueFrom": {"secretKeyRef": {"name": "opencode-sidecar", "key": "token2"}}})), "\"token2\""),
        ("selectors", "Deployment", "/spec/selector/matchLabels/app", Some(json!("x")), "does not choose its own"),
        ("selectors", "PodMonitor", "/spec/selector/matchLabels/opencode-sidecar", Some(json!("true")), "PodMonitor opencode-sidecar chooses no pod"),
        ("selectors", "PodDisruptionBudget", "/spec/selector/matchLabels/app", Some(json!("x")), "PodDisruptionBudget example-app chooses no pod"),
        ("selectors", "Service", "/spec/selector/opencode-sidecar", None, "Service opencode-sidecar chooses no pod"),
        ("selectors", "pod", "/topologySpreadConstraints/0/labelSelector/matchLabels/a", Some(json!("b")), "not among those"),
        ("budgets", "PodDisruptionBudget", "/spec/maxUnavailable", Some(json!(0)), "could not be emptied"),
        ("budgets", "PodDisruptionBudget", "/spec/minAvailable", Some(json!(1)), "could not be emptied"),
        ("ports", "sidecar", "/env/0/value", Some(json!("8080")), "not `http`, 8080"),
        ("ports", "sidecar", "/ports/0/name", Some(json!("web")), "not `http`"),
        ("ports", "pod", "/containers/0/ports/0/containerPort", Some(json!(3003)), "two containers declare"),
        ("ports", "pod", "/containers/0/ports/0/name", None, "has no name"),
        ("ports", "NetworkPolicy", "/spec/ingress/0/ports/0/port", Some(json!(3004)), "no policy lets anybody"),
        ("ports", "Service", "/spec/ports/0/targetPort", Some(json!(80)), "nobody listens"),
        ("ports", "Service", "/spec/ports/0/appProtocol", None, "does not say that it is http"),
        ("ports", "PodMonitor", "/spec/podMetricsEndpoints/0/port", Some(json!("metrics")), "which is no port"),
        ("ports", "PodMonitor", "/spec/podMetricsEndpoints/0/path", Some(json!("/metrik")), "which is no route"),
    ];
    let broken = |(rule, at, place, value, says)| Break { rule, from: "base", at, place, value, says };
    table.into_iter().map(broken).collect()
}

/// What only an overlay has.
fn in_monitors() -> Vec<Break> {
    let monitor = |rule, at, place, value, says| Break {
        rule,
        from: "overlays/service-monitor",
        at,
        place,
        value,
        says,
    };
    vec![
        monitor(
            "ports",
            "ServiceMonitor",
            "/spec/endpoints/0/port",
            Some(json!("metrics")),
            "which is no port",
        ),
        monitor(
            "ports",
            "ServiceMonitor",
            "/spec/endpoints/0/path",
            Some(json!("/metrik")),
            "which is no route",
        ),
        monitor(
            "ports",
            "Service",
            "/metadata/labels",
            None,
            "chooses no Service",
        ),
        monitor(
            "references",
            "ServiceMonitor",
            "/spec/endpoints/0/authorization/credentials/name",
            Some(json!("sidecar")),
            "the secret \"sidecar\"",
        ),
    ]
}

fn in_overlays() -> Vec<Break> {
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "x"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"opencode-sidecar": "enabled"}}},
    });
    let budget_for = |from, says| Break {
        rule: "budgets",
        from,
        at: "new",
        place: "",
        value: Some(budget.clone()),
        says,
    };
    let probe = |place, value, says| Break {
        rule: "probes",
        from: "overlays/mesh",
        at: "sidecar",
        place,
        value: Some(value),
        says,
    };
    let pod = |rule, at, place, value, says| Break {
        rule,
        from: "overlays/project-pod",
        at,
        place,
        value,
        says,
    };
    let backend = |at, place, value, says| Break {
        rule: "backend",
        from: "overlays/backend",
        at,
        place,
        value,
        says,
    };
    vec![
        pod("names", "Pod", "/spec/hostname", None, "has no hostname"),
        pod(
            "names",
            "Pod",
            "/spec/subdomain",
            None,
            "the subdomain \"\"",
        ),
        pod(
            "names",
            "Service",
            "/spec/clusterIP",
            None,
            "no headless Service",
        ),
        pod("names", "Service", "", None, "no headless Service"),
        Break {
            rule: "secrets",
            from: "overlays/backend",
            at: "sidecar",
            place: "/env/0",
            value: None,
            says: "comes in no way",
        },
        backend("NetworkPolicy", "/spec/egress/3", None, "no policy lets"),
        backend(
            "sidecar",
            "/env/1/value",
            Some(json!("http://backend/agents")),
            "no policy lets",
        ),
        backend(
            "sidecar",
            "/env/-",
            Some(json!({"name": "OPENCODE_SHARED_SECRET_FILE", "value": "/x"})),
            "can read the bearer",
        ),
        budget_for("overlays/project-pod", "cannot count a Pod"),
        budget_for("overlays/agent-sandbox", "cannot count a Sandbox"),
        probe(
            "/livenessProbe/exec/command/-",
            json!("--ready"),
            "asks the wrong question",
        ),
        probe(
            "/readinessProbe/exec/command/1",
            json!("healthy"),
            "no command",
        ),
        Break {
            rule: "volumes",
            from: "overlays/agent-sandbox",
            at: "Sandbox",
            place: "/spec/volumeClaimTemplates",
            value: None,
            says: "workspace is mounted and is no volume",
        },
    ]
}

#[test]
fn every_rule_finds_what_it_is_for() {
    let known = Known::ask();
    let mut missed = Vec::new();
    let mut tried = BTreeSet::new();
    let overlays = in_overlays().into_iter().chain(in_monitors());
    for broken in in_the_base().into_iter().chain(overlays) {
        let mut documents = one(broken.from);
        assert_eq!(
            faults(&documents, broken.rule, &known),
            Vec::<String>::new()
        );
        broken.apply(&mut documents);
        let found = faults(&documents, broken.rule, &known);
        if !found.iter().any(|fault| fault.contains(broken.says)) {
            let Break {
                rule,
                at,
                place,
                value,
                ..
            } = &broken;
            missed.push(format!("{rule}: {at}{place} = {value:?}: {found:?}"));
        }
        tried.insert(broken.rule);
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    let rules: BTreeSet<_> = RULES.iter().map(|(name, _)| *name).collect();
    assert_eq!(tried, rules, "every rule has a break that it finds");
}
