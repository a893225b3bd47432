//! A collector of traces for tests, and one between it and the sidecar that nobody here wrote.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;

use super::TEST_TIMEOUT;

/// Takes OTLP over HTTP and keeps what it says.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Received>>,
    runtime: Option<tokio::runtime::Runtime>,
}

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    resource: Vec<KeyValue>,
    headers: Option<HeaderMap>,
    bytes: Vec<u8>,
    /// So many requests are answered with 503 first.
    refuse: usize,
}

// === impl Collector ===

impl Collector {
    pub(crate) fn start() -> Self {
        Self::refusing(0)
    }

    /// One that is not ready for the first requests.
    pub(crate) fn refusing(refuse: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let received = Arc::new(Mutex::new(Received {
            refuse,
            ..Received::default()
        }));
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&received));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        };
        // It runs as long as its runtime.
        drop(runtime.spawn(serving));
        Self {
            address,
            received,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.received.lock().spans.clone()
    }

    /// Whether this text is in anything that was received.
    pub(crate) fn holds(&self, text: &str) -> bool {
        memchr::memmem::find(&self.received.lock().bytes, text.as_bytes()).is_some()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let received = self.received.lock();
        let value = received.headers.as_ref()?.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    pub(crate) fn resource(&self, name: &str) -> Option<String> {
        text(&self.received.lock().resource, name)
    }

    /// Waits for `count` spans of this name, and returns all spans.
    pub(crate) fn until(&self, name: &str, count: usize) -> Vec<Span> {
        let begun = Instant::now();
        loop {
            let spans = self.spans();
            if spans.iter().filter(|span| span.name == name).count() >= count {
                return spans;
            }
            assert!(
                begun.elapsed() < TEST_TIMEOUT,
                "no {name}: {}",
                tree(&spans)
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Collector {
    /// Also from within a runtime, which may wait for no other.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn take(
    State(received): State<Arc<Mutex<Received>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut received = received.lock();
    if received.refuse > 0 {
        received.refuse -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    // Rotel compresses, also where it is told not to.
    let body = match headers.get("content-encoding") {
        Some(_) => gunzip(&body),
        None => body.to_vec(),
    };
    let request = ExportTraceServiceRequest::decode(&*body).unwrap();
    received.bytes.extend_from_slice(&body);
    received.headers = Some(headers);
    for resource_spans in request.resource_spans {
        received.resource = resource_spans.resource.unwrap().attributes;
        for scope_spans in resource_spans.scope_spans {
            received.spans.extend(scope_spans.spans);
        }
    }
    StatusCode::OK
}

fn gunzip(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(body);
    decoder.read_to_end(&mut plain).unwrap();
    plain
}

/// An attribute that is a text.
pub(crate) fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        other => Some(format!("{other:?}")),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The spans as a person reads them, for a test that fails.
pub(crate) fn tree(spans: &[Span]) -> String {
    let names: HashMap<&[u8], &str> = spans
        .iter()
        .map(|span| (&*span.span_id, &*span.name))
        .collect();
    let line = |span: &Span| {
        let parent = names.get(&*span.parent_span_id);
        format!(
            "\n{} {} below {}",
            hex(&span.trace_id),
            span.name,
            parent.copied().unwrap_or("(none here)")
        )
    };
    spans.iter().map(line).collect()
}

/// Rotel, a collector in Rust: takes OTLP over gRPC, and hands it on over HTTP.
pub(crate) struct Rotel {
    process: Child,
    pub(crate) grpc: SocketAddr,
    _directory: tempfile::TempDir,
}

// === impl Rotel ===

impl Rotel {
    /// Nothing where it is not installed (`tools/test-needs`).
    pub(crate) fn start(to: &Collector) -> Option<Self> {
        let program = program()?;
        let directory = tempfile::tempdir().unwrap();
        let free = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let (grpc, http) = (free(), free());
        let process = Command::new(program)
            .arg("start")
            .args(["--otlp-grpc-endpoint", &grpc.to_string()])
            .args(["--otlp-http-endpoint", &http.to_string()])
            .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-endpoint", &to.endpoint()])
            .args(["--batch-timeout", "50ms"])
            .arg("--pid-file")
            .arg(directory.path().join("pid"))
            .arg("--log-file")
            .arg(directory.path().join("log"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while std::net::TcpStream::connect(grpc).is_err() {
            assert!(begun.elapsed() < TEST_TIMEOUT, "rotel does not listen");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Some(Self {
            process,
            grpc,
            _directory: directory,
        })
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn program() -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/traces/venv/lib");
    let versions = std::fs::read_dir(venv).ok()?;
    let programs = versions.filter_map(|version| {
        let program = version.ok()?.path().join("site-packages/rotel/rotel-agent");
        program.exists().then_some(program)
    });
    programs.into_iter().next()
}
