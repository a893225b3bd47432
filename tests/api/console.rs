//! `GET /` and the files of the console.

use crate::support::http::{Response, send};
use crate::support::{Options, Sidecar};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn ask(sidecar: &Sidecar, path: &str, headers: &[(&str, &str)]) -> Response {
    send(sidecar.address, "GET", path, headers, b"").unwrap()
}

/// The files that the page names.
fn files(page: &str) -> Vec<String> {
    let named = page.split('"').filter(|part| part.starts_with("console/"));
    named.map(|path| format!("/{path}")).collect()
}

#[test]
fn a_browser_gets_the_page_and_everything_it_names_under_a_strict_policy() {
    let sidecar = Options::stub().start();
    let page = ask(&sidecar, "/", &[("accept", BROWSER)]);
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let files = files(&page.body);
    assert!(files.len() > 20, "{files:?}");
    for path in files {
        let file = ask(&sidecar, &path, &[]);
        assert_eq!(file.status, 200, "{path}");
        let kind = file.header("content-type").unwrap();
        let expected = match path.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(kind, expected, "{path}");
        assert_guarded(&file);
    }
    assert_guarded(&page);
    assert_eq!(ask(&sidecar, "/console/nope.js", &[]).status, 404);
    assert_eq!(ask(&sidecar, "/console/../Cargo.toml", &[]).status, 404);
    assert_eq!(sidecar.post("/console/app.js", "").status, 405);
}

fn assert_guarded(response: &Response) {
    let policy = response.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(
        !policy.contains("unsafe") && !policy.contains('*'),
        "{policy}"
    );
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(response.header(name), Some(value));
    }
}

#[test]
fn what_a_browser_has_is_not_sent_again() {
    let sidecar = Options::stub().start();
    for path in ["/", "/console/app.js"] {
        let plain = ask(&sidecar, path, &[("accept", BROWSER)]);
        let packed = ask(
            &sidecar,
            path,
            &[("accept", BROWSER), ("accept-encoding", "br, gzip")],
        );
        assert_eq!(plain.header("content-encoding"), None);
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        let tags = [&plain, &packed].map(|response| response.header("etag").unwrap().to_owned());
        assert_ne!(tags[0], tags[1], "two encodings, two tags");
        let again = ask(
            &sidecar,
            path,
            &[
                ("accept", BROWSER),
                ("accept-encoding", "gzip"),
                ("if-none-match", &format!("\"x\", W/{}", tags[1])),
            ],
        );
        assert_eq!(again.status, 304);
        assert_eq!(again.body, "");
        assert_eq!(again.header("etag"), Some(&*tags[1]));
        let other = ask(
            &sidecar,
            path,
            &[("accept", BROWSER), ("if-none-match", &tags[1])],
        );
        assert_eq!(other.status, 200);
        let refused = ask(
            &sidecar,
            path,
            &[("accept", BROWSER), ("accept-encoding", "gzip;q=0")],
        );
        assert_eq!(refused.header("content-encoding"), None);
    }
}

#[test]
fn a_program_gets_a_map_of_the_api() {
    let sidecar = Options::stub().env("DEMO_MODEL", "on").start();
    for headers in [
        &[][..],
        &[("accept", "*/*")],
        &[("accept", "application/json")],
    ] {
        let map = ask(&sidecar, "/", headers);
        assert_eq!(map.status, 200);
        assert!(map.header("vary").unwrap().contains("accept"));
        let map = map.json();
        assert_eq!(map["name"], "opencode-sidecar");
        assert_eq!(map["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(
            (&map["console"], &map["demo_model"]),
            (&true.into(), &true.into())
        );
        let routes = map["routes"].as_array().unwrap();
        let described = sidecar.get("/openapi.json").json();
        for route in routes {
            let method = route["method"].as_str().unwrap().to_lowercase();
            let path = route["path"].as_str().unwrap();
            assert!(described["paths"][path][&method].is_object(), "{route}");
            assert_ne!(route["summary"], "", "{route}");
        }
        let operations = described["paths"].as_object().unwrap().values();
        let count: usize = operations.map(|item| item.as_object().unwrap().len()).sum();
        assert_eq!(routes.len(), count);
    }
}

#[test]
fn the_page_needs_no_token_and_has_none_and_the_map_needs_it() {
    let sidecar = Options::stub()
        .env("OPENCODE_SHARED_SECRET", "s3cret-of-the-test")
        .start();
    let page = ask(&sidecar, "/", &[("accept", BROWSER)]);
    assert_eq!(page.status, 200);
    let mut all = page.body.clone();
    for path in files(&page.body) {
        let file = ask(&sidecar, &path, &[]);
        assert_eq!(file.status, 200, "{path}");
        all.push_str(&file.body);
    }
    assert!(!all.contains("s3cret"));
    assert_eq!(ask(&sidecar, "/", &[("accept", "*/*")]).status, 401);
    let bearer = [("authorization", "Bearer s3cret-of-the-test")];
    assert_eq!(ask(&sidecar, "/", &bearer).json()["demo_model"], false);
}

#[test]
fn console_off_leaves_no_page() {
    let sidecar = Options::stub().env("CONSOLE", "off").start();
    let answer = ask(&sidecar, "/", &[("accept", BROWSER)]);
    assert_eq!(answer.json()["console"], false);
    assert_eq!(ask(&sidecar, "/console/app.js", &[]).status, 404);
    let refused = Options::stub().env("CONSOLE", "maybe").refused();
    assert_eq!(refused.0, Some(64), "{}", refused.1);
}
