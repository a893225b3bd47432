//! The standard variables of OpenTelemetry, as far as they are about traces.
//!
//! They may be set for a whole cluster, so what is not understood is told and left out, as the specification wants it.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::sampler::Sampler;

/// What there is to know before the first span.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The whole address.
    pub(super) endpoint: Url,
    pub(super) protocol: Protocol,
    /// They may hold a token.
    pub(super) headers: HeaderMap,
    /// Of one attempt.
    pub(super) timeout: Duration,
    /// A file with certificates to trust as well.
    pub(super) certificate: Option<String>,
    pub(super) sampler: Sampler,
    /// Spans that may wait.
    pub(super) queue: usize,
    /// Spans of one request.
    pub(super) batch: usize,
    /// How long the first span of a request waits for others.
    pub(super) delay: Duration,
    /// Whether what was said is a part of the spans.
    pub(super) content: bool,
    pub(super) resource: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

/// The path below a base address, for traces over HTTP.
const HTTP_PATH: &str = "v1/traces";
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const TIMEOUT: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_secs(5);
const QUEUE: usize = 2048;
const BATCH: usize = 512;
/// More memory than that is not set aside for spans, whatever a variable says.
const MAX_QUEUE: usize = 1 << 16;

/// Reads variables, and collects what is wrong with them.
struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    complaints: Vec<String>,
}

// === impl Config ===

impl Config {
    /// `None`: no traces. The second value says which variables were left out, and why.
    pub(crate) fn read(variable: &dyn Fn(&str) -> Option<String>) -> (Option<Self>, Vec<String>) {
        let mut reader = Reader {
            variable,
            complaints: Vec::new(),
        };
        let config = reader.config();
        (config, reader.complaints)
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// The value for traces, or that for all signals.
    fn of_traces(&self, end: &str) -> Option<(String, String)> {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"];
        let mut values = names.into_iter().filter_map(|prefix| {
            let name = format!("{prefix}{end}");
            Some((self.get(&name)?, name))
        });
        values.next().map(|(value, name)| (name, value))
    }

    /// Without the value: it may be a secret.
    fn complain(&mut self, name: &str, accepts: &str) {
        self.complaints.push(format!(
            "{name} is not understood and left out: give {accepts}"
        ));
    }

    fn config(&mut self) -> Option<Config> {
        let is_true = |value: Option<String>| value.is_some_and(|v| v.eq_ignore_ascii_case("true"));
        if is_true(self.get("OTEL_SDK_DISABLED")) {
            return None;
        }
        match self.get("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return None,
            Some(_) => {
                self.complain("OTEL_TRACES_EXPORTER", "otlp or none");
                return None;
            }
        }
        let protocol = self.protocol();
        let endpoint = self.endpoint(protocol)?;
        let mut config = Config {
            endpoint,
            protocol,
            headers: self.headers(),
            timeout: TIMEOUT,
            certificate: self.of_traces("CERTIFICATE").map(|(_, file)| file),
            sampler: self.sampler(),
            queue: self.number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE).min(MAX_QUEUE),
            batch: self.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH),
            delay: self.millis("OTEL_BSP_SCHEDULE_DELAY", DELAY),
            content: self.content(),
            resource: self.resource(),
        };
        config.batch = config.batch.min(config.queue);
        if let Some((name, _)) = self.of_traces("TIMEOUT") {
            config.timeout = self.millis(&name, TIMEOUT);
        }
        if let Some((name, value)) = self.of_traces("COMPRESSION")
            && value != "none"
        {
            self.complain(&name, "none: spans are sent as they are");
        }
        Some(config)
    }

    fn protocol(&mut self) -> Protocol {
        match self.of_traces("PROTOCOL") {
            None => Protocol::Http,
            Some((_, value)) if value == "http/protobuf" => Protocol::Http,
            Some((_, value)) if value == "grpc" => Protocol::Grpc,
            Some((name, _)) => {
                self.complain(&name, "http/protobuf or grpc");
                Protocol::Http
            }
        }
    }

    fn endpoint(&mut self, protocol: Protocol) -> Option<Url> {
        let (name, value) = self.of_traces("ENDPOINT")?;
        // Over gRPC an address without a scheme is usual.
        let value = if protocol == Protocol::Grpc && !value.contains("://") {
            format!("http://{value}")
        } else {
            value
        };
        let parsed = Url::parse(&value).ok();
        let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        let Some(mut url) = parsed.filter(is_http) else {
            self.complain(&name, "an http or https address");
            return None;
        };
        match protocol {
            Protocol::Grpc => url.set_path(GRPC_PATH),
            // That for traces is the whole address; the other is a base.
            Protocol::Http if name.ends_with("TRACES_ENDPOINT") => {}
            Protocol::Http => {
                let base = url.path().trim_end_matches('/').to_owned();
                url.set_path(&format!("{base}/{HTTP_PATH}"));
            }
        }
        Some(url)
    }

    fn headers(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some((name, list)) = self.of_traces("HEADERS") else {
            return headers;
        };
        for pair in pairs(&list) {
            let header = pair.and_then(|(key, value)| {
                let mut value = HeaderValue::from_str(&value).ok()?;
                value.set_sensitive(true);
                Some((HeaderName::from_bytes(key.as_bytes()).ok()?, value))
            });
            match header {
                Some((key, value)) => drop(headers.insert(key, value)),
                None => self.complain(&name, "name=value pairs with commas between them"),
            }
        }
        headers
    }

    fn sampler(&mut self) -> Sampler {
        let argument = self.get("OTEL_TRACES_SAMPLER_ARG");
        let ratio = argument.as_ref().and_then(|text| text.parse::<f64>().ok());
        let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
        if argument.is_some() && ratio.is_none() {
            self.complain("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1");
        }
        let Some(name) = self.get("OTEL_TRACES_SAMPLER") else {
            return Sampler::ALL;
        };
        Sampler::parse(&name, ratio).unwrap_or_else(|| {
            let names = "always_on, always_off, traceidratio, or one of them after parentbased_";
            self.complain("OTEL_TRACES_SAMPLER", names);
            Sampler::ALL
        })
    }

    fn number(&mut self, name: &str, default: usize) -> usize {
        let Some(text) = self.get(name) else {
            return default;
        };
        let number = text.parse().ok().filter(|number| *number > 0);
        number.unwrap_or_else(|| {
            self.complain(name, "a number from 1");
            default
        })
    }

    fn millis(&mut self, name: &str, default: Duration) -> Duration {
        let Some(text) = self.get(name) else {
            return default;
        };
        let millis = text.parse().ok().filter(|millis| *millis > 0);
        let duration = millis.map(Duration::from_millis);
        duration.unwrap_or_else(|| {
            self.complain(name, "a number of milliseconds");
            default
        })
    }

    fn content(&mut self) -> bool {
        const NAME: &str = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
        let value = self.get(NAME).map(|value| value.to_ascii_lowercase());
        match value.as_deref() {
            Some("true" | "span_only" | "span_and_event") => true,
            None | Some("false" | "no_content" | "event_only") => false,
            Some(_) => {
                self.complain(NAME, "true, false, SPAN_ONLY or NO_CONTENT");
                false
            }
        }
    }

    /// Who sends the spans.
    fn resource(&mut self) -> Vec<(String, String)> {
        let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut resource = vec![
            own("service.name", env!("CARGO_PKG_NAME")),
            own("service.version", env!("CARGO_PKG_VERSION")),
            own("service.instance.id", &Uuid::new_v4().to_string()),
            own("telemetry.sdk.name", env!("CARGO_PKG_NAME")),
            own("telemetry.sdk.language", "rust"),
            own("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ];
        let mut set = |key: String, value: String| {
            resource.retain(|(known, _)| *known != key);
            resource.push((key, value));
        };
        for pair in pairs(&self.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default()) {
            match pair {
                Some((key, value)) => set(key, value),
                None => self.complain(
                    "OTEL_RESOURCE_ATTRIBUTES",
                    "key=value pairs with commas between them",
                ),
            }
        }
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            set("service.name".to_owned(), name);
        }
        resource
    }
}

/// `a=1,b=2`, the values percent-encoded. `None` for what is no pair.
fn pairs(list: &str) -> Vec<Option<(String, String)>> {
    let items = list.split(',').filter(|item| !item.trim().is_empty());
    items
        .map(|item| {
            let (key, value) = item.split_once('=')?;
            let key = key.trim();
            (!key.is_empty()).then(|| {
                (
                    key.to_owned(),
                    percent_decode_str(value.trim())
                        .decode_utf8_lossy()
                        .into_owned(),
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Option<Config>, Vec<String>) {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Config::read(&lookup)
    }

    fn config(variables: &[(&str, &str)]) -> Config {
        let (config, complaints) = read(variables);
        assert!(complaints.is_empty(), "{complaints:?}");
        config.unwrap()
    }

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/in/");

    #[test]
    fn without_an_endpoint_or_where_it_is_switched_off_there_are_no_traces() {
        assert!(read(&[]).0.is_none());
        assert!(read(&[("OTEL_SERVICE_NAME", "agents")]).0.is_none());
        assert!(read(&[BASE, ("OTEL_SDK_DISABLED", "TRUE")]).0.is_none());
        assert!(read(&[BASE, ("OTEL_TRACES_EXPORTER", "none")]).0.is_none());
    }

    #[test]
    fn an_endpoint_is_a_base_or_the_whole_address_or_that_of_a_service() {
        let url = |variables: &[_]| config(variables).endpoint.to_string();
        assert_eq!(url(&[BASE]), "http://collector:4318/in/v1/traces");
        let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c/x");
        assert_eq!(url(&[BASE, whole]), "https://c/x");
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let bare = ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317");
        let service =
            "http://collector:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        assert_eq!(url(&[bare, grpc]), service);
        assert_eq!(config(&[bare, grpc]).protocol, Protocol::Grpc);
    }

    #[test]
    fn the_other_variables_are_read_too() {
        assert!(!config(&[BASE]).content);
        let config = config(&[
            BASE,
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Bearer%20x,k=v=w",
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=b%2Cc"),
            ("OTEL_SERVICE_NAME", "agents"),
            (
                "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
                "SPAN_ONLY",
            ),
        ]);
        assert_eq!(config.headers["authorization"], "Bearer x");
        assert!(config.headers["authorization"].is_sensitive());
        assert_eq!(config.headers["k"], "v=w");
        assert_eq!(config.timeout, Duration::from_millis(500));
        assert_eq!((config.queue, config.batch), (10, 10));
        assert_eq!(config.delay, Duration::from_millis(200));
        assert!((config.sampler.ratio - 0.1).abs() < 1e-9 && config.sampler.parent_based);
        assert!(config.content);
        let of = |key: &str| config.resource.iter().find(|(known, _)| known == key);
        assert_eq!(of("service.name").unwrap().1, "agents");
        assert_eq!(of("team").unwrap().1, "b,c");
    }

    #[test]
    fn what_is_not_understood_is_told_without_its_value() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "secret"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "secret"),
            ("OTEL_TRACES_SAMPLER", "secret"),
            ("OTEL_TRACES_SAMPLER_ARG", "secret"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "secret"),
            ("OTEL_RESOURCE_ATTRIBUTES", "secret"),
        ] {
            let (config, complaints) = read(&[BASE, (name, value)]);
            assert!(config.is_some(), "{name}");
            assert_eq!(complaints.len(), 1, "{name}: {complaints:?}");
            assert!(complaints[0].starts_with(name), "{complaints:?}");
            assert!(!complaints[0].contains("secret"), "{complaints:?}");
        }
        let (config, complaints) = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "secret")]);
        assert!(config.is_none() && complaints.len() == 1);
        let (config, complaints) = read(&[BASE, ("OTEL_TRACES_EXPORTER", "zipkin")]);
        assert!(config.is_none() && complaints.len() == 1);
    }
}
