//! The image, as far as it can be tried without one: its numbers agree with those of the rest, what is pinned
//! is held to its pin, and the bill of materials leaves nothing out. `make image-smoke` tries the image itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// Every default the Dockerfile gives the argument `name`.
fn defaults(name: &str) -> Vec<String> {
    read("Dockerfile")
        .lines()
        .filter_map(|line| line.strip_prefix("ARG ")?.split_once('='))
        .filter(|(argument, _)| *argument == name)
        .map(|(_, value)| value.to_owned())
        .collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[test]
fn the_dockerfile_has_the_versions_that_are_pinned_elsewhere() {
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.split("channel = \"").nth(1).unwrap();
    let channel = channel.split('"').next().unwrap();
    let rust = defaults("RUST_IMAGE");
    assert_eq!(
        rust,
        [format!("docker.io/library/rust:{channel}-slim-bookworm")]
    );

    let lock: Value = serde_json::from_str(&read("tools/opencode/package-lock.json")).unwrap();
    let pinned = lock["packages"].as_object().unwrap();
    let mut platforms = 0;
    for (name, package) in pinned {
        if name.contains("opencode-linux") {
            platforms += 1;
            let version = package["version"].as_str().unwrap();
            let given = defaults("OPENCODE_VERSION");
            assert!(given.len() == 2 && given.iter().all(|own| own == version));
        }
    }
    assert!(platforms > 0, "the lock pins no OpenCode");
    assert_eq!(defaults("VERSION"), [env!("CARGO_PKG_VERSION")]);
}

/// A digest is pasted from a registry, whole, or it is not there. None is made up.
#[test]
fn a_digest_is_empty_or_whole() {
    for name in ["RUST_DIGEST", "NODE_DIGEST", "DEBIAN_DIGEST"] {
        let given = defaults(name);
        assert_eq!(given.len(), 1, "{name}");
        let whole = given[0]
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(given[0].is_empty() || whole, "{name}={}", given[0]);
    }
}

/// The builder gives these for the platform it builds for, and a default in the file would win over it.
#[test]
fn what_the_builder_knows_has_no_default() {
    let dockerfile = read("Dockerfile");
    let given = dockerfile.lines().filter_map(|l| l.strip_prefix("ARG "));
    let builders: Vec<&str> = given
        .filter(|name| name.starts_with("TARGET") || name.starts_with("BUILD"))
        .collect();
    assert_eq!(builders, ["TARGETARCH", "TARGETARCH"]);
}

/// A file that is copied and not let in fails only where an image is built, which CI does not.
#[test]
fn dockerignore_lets_in_what_is_copied() {
    let ignore = read(".dockerignore");
    let let_in: Vec<&str> = ignore.lines().filter_map(|l| l.strip_prefix('!')).collect();
    let mut copied = 0;
    for line in read("Dockerfile").lines() {
        let Some(rest) = line.strip_prefix("COPY ") else {
            continue;
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        if words[0].starts_with("--from") {
            continue;
        }
        for source in &words[..words.len() - 1] {
            copied += 1;
            let path = Path::new(source);
            assert!(root().join(path).exists(), "{source} does not exist");
            assert!(
                let_in.iter().any(|entry| path.starts_with(entry)),
                ".dockerignore keeps {source} out"
            );
        }
    }
    assert!(copied > 5, "the Dockerfile was read");
}

/// `opencode.mjs` in a folder with the lock file, and an `npm` that packs what the test says.
struct Fetch {
    dir: tempfile::TempDir,
}

impl Fetch {
    /// The archive that `npm pack` will yield, with `lock` as the pin.
    fn new(lock: &Value, binary: &str) -> Self {
        let fetch = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let path = fetch.dir.path();
        fs::write(path.join("package-lock.json"), lock.to_string()).unwrap();
        fs::create_dir_all(path.join("package/bin")).unwrap();
        fs::write(path.join("package/bin/opencode"), binary).unwrap();
        // Always the same bytes, so that the pin of the test is that of the archive.
        let packed = Command::new("tar")
            .args([
                "--mtime=@0",
                "--sort=name",
                "--owner=0",
                "--group=0",
                "-cf",
                "packed.tgz",
            ])
            .args(["--use-compress-program=gzip -n", "package"])
            .current_dir(path)
            .status()
            .unwrap();
        assert!(packed.success());
        fs::create_dir(path.join("bin")).unwrap();
        let npm = path.join("bin/npm");
        fs::write(&npm, "#!/bin/sh\necho packed.tgz\n").unwrap();
        fs::set_permissions(&npm, fs::Permissions::from_mode(0o755)).unwrap();
        fetch
    }

    fn integrity(&self) -> String {
        let code = "const c = require('crypto'), f = require('fs'); \
            console.log('sha512-' + c.createHash('sha512').update(f.readFileSync('packed.tgz')).digest('base64'))";
        let output = Command::new("node")
            .args(["-e", code])
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn run(&self, architecture: &str, version: &str) -> Output {
        Command::new("sh")
            .args(["-c", "PATH=\"$PWD/bin:$PATH\" exec node \"$@\"", "sh"])
            .arg(root().join("tools/image/opencode.mjs"))
            .args([architecture, version, "out"])
            .current_dir(self.dir.path())
            .output()
            .unwrap()
    }
}

fn lock(name: &str, integrity: &str) -> Value {
    json!({ "packages": { format!("node_modules/{name}"): { "version": "1.2.3", "integrity": integrity } } })
}

#[test]
fn opencode_is_unpacked_when_it_is_the_one_that_is_pinned() {
    let binary = "a binary made with Bun v1.3.14 (Linux)";
    let integrity = Fetch::new(&json!({ "packages": {} }), binary).integrity();
    let fetch = Fetch::new(&lock("opencode-linux-x64", &integrity), binary);
    let output = fetch.run("amd64", "1.2.3");
    assert!(output.status.success(), "{}", said(&output));
    let unpacked = fetch.dir.path().join("out/opencode");
    assert_eq!(fs::read_to_string(&unpacked).unwrap(), binary);
    let mode = fs::metadata(&unpacked).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o711, "not readable for who runs it");
    let told = fs::read_to_string(fetch.dir.path().join("out/opencode.json")).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        told,
        json!({ "name": "opencode-linux-x64", "version": "1.2.3", "integrity": integrity, "bun": "1.3.14" })
    );
}

#[test]
fn what_is_not_pinned_or_not_the_pinned_one_is_refused_in_a_sentence() {
    let other = lock("opencode-linux-x64", "sha512-AAAA");
    let cases = [
        (
            "amd64",
            "1.2.3",
            "opencode-linux-x64 1.2.3 from the registry is not the one that is pinned",
        ),
        (
            "amd64",
            "1.2.4",
            "OPENCODE_VERSION=1.2.4 is not what tools/opencode/package-lock.json pins",
        ),
        (
            "arm64",
            "1.2.3",
            "opencode-linux-arm64 1.2.3 has no sha512 in tools/opencode/package-lock.json",
        ),
        (
            "riscv64",
            "1.2.3",
            "TARGETARCH=riscv64 is not supported: build for amd64 or arm64",
        ),
    ];
    for (architecture, version, sentence) in cases {
        let fetch = Fetch::new(&other, "Bun v1.3.14");
        let output = fetch.run(architecture, version);
        assert_eq!(output.status.code(), Some(1), "{architecture} {version}");
        assert!(said(&output).starts_with(sentence), "{}", said(&output));
        assert!(!fetch.dir.path().join("out/opencode").exists());
    }
}

/// What the build stages leave for `papers.mjs`, with two Debian packages.
struct Papers {
    dir: tempfile::TempDir,
}

impl Papers {
    fn new() -> Self {
        let papers = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let metadata = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--offline"])
            .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
            .current_dir(root())
            .output()
            .unwrap();
        papers.write(
            "rust/metadata.json",
            &String::from_utf8(metadata.stdout).unwrap(),
        );
        for file in ["Cargo.lock", "LICENSE"] {
            papers.write(&format!("rust/{file}"), &read(file));
        }
        papers.write("rust/rustc-version", "rustc 1.95.0 (59807616e 2026-04-14)");
        papers.write("rust/sqlite-version", "3.50.2\n");
        papers.write("rust/opencode-sidecar", "the program");
        papers.write("opencode.LICENSE", &read("tools/image/opencode.LICENSE"));
        papers.write(
            "opencode.json",
            r#"{"name":"opencode-linux-x64","version":"1.18.33","integrity":"sha512-AAAA","bun":"1.3.14"}"#,
        );
        papers.write("debian/debian_version", "12.15\n");
        let package = |name: &str, source: &str| {
            format!(
                "Package: {name}\nStatus: install ok installed\nVersion: 1:2-3+b1\nArchitecture: amd64\n{source}\n"
            )
        };
        let status = package("git", "")
            + &package("libgcc-s1", "Source: gcc-12 (12.2)\n")
            + &package("gcc-12-base", "Source: gcc-12\n")
            + "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n";
        papers.write("debian/status", &status);
        papers.write(
            "debian/doc/git/copyright",
            "Files: *\nLicense: GPL-2\n\nFiles: x\nLicense: Expat or own-words\n",
        );
        // Its sister of the same source has none of its own.
        papers.write(
            "debian/doc/gcc-12-base/copyright",
            "see /usr/share/common-licenses/GPL-3.",
        );
        papers
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.dir.path().join("in").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn run(&self) -> Output {
        Command::new("node")
            .arg(root().join("tools/image/papers.mjs"))
            .arg(self.dir.path().join("in"))
            .arg(self.dir.path().join("out"))
            .output()
            .unwrap()
    }

    fn bill(&self) -> Value {
        let output = self.run();
        assert!(output.status.success(), "{}", said(&output));
        let file = self.dir.path().join("out/sbom.cdx.json");
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
    }
}

fn component<'a>(bill: &'a Value, name: &str) -> &'a Value {
    let components = bill["components"].as_array().unwrap();
    let found = components.iter().find(|entry| entry["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in the bill"))
}

#[test]
fn the_bill_names_what_is_linked_installed_and_beside_and_nothing_else() {
    let bill = Papers::new().bill();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    assert_eq!(bill["specVersion"], "1.5");
    let components = bill["components"].as_array().unwrap();
    for one in components {
        let named = one["licenses"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        assert!(named && one["version"].is_string(), "{one}");
    }

    let program = component(&bill, "opencode-sidecar");
    let digest = Sha256::digest(b"the program");
    let digest = digest
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    assert_eq!(program["hashes"][0]["content"], digest);
    // Linked through others, with the checksum that Cargo holds it to.
    let lock = read("Cargo.lock");
    let rustls = component(&bill, "rustls");
    assert!(lock.contains(rustls["hashes"][0]["content"].as_str().unwrap()));
    for name in ["tokio", "libsqlite3-sys", "sqlite", "rust-std"] {
        component(&bill, name);
    }
    // Runs in the compiler or in tests only.
    for absent in [
        "serde_derive",
        "proptest",
        "insta",
        "gone",
        "opencode-sidecar-no-perl",
    ] {
        assert!(
            components.iter().all(|entry| entry["name"] != absent),
            "{absent} is not in the image"
        );
    }

    let git = component(&bill, "git");
    assert_eq!(
        git["purl"],
        "pkg:deb/debian/git@1%3A2-3%2Bb1?arch=amd64&distro=debian-12"
    );
    let licences = json!([
        { "license": { "id": "MIT" } },
        { "license": { "id": "GPL-2.0-only" } },
        { "license": { "name": "own-words" } },
    ]);
    assert_eq!(git["licenses"], licences);
    assert_eq!(
        component(&bill, "libgcc-s1")["properties"][0]["value"],
        "/usr/share/doc/gcc-12-base/copyright"
    );
    let opencode = component(&bill, "opencode-linux-x64");
    assert_eq!(opencode["components"][0]["version"], "1.3.14");
}

#[test]
fn the_same_content_is_the_same_file() {
    assert_eq!(Papers::new().bill(), Papers::new().bill());
}

#[test]
fn a_package_without_papers_ends_the_build() {
    let papers = Papers::new();
    papers.write("debian/doc/git/copyright", "all rights are somewhere");
    let output = papers.run();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        said(&output),
        "no licence was recognised in the copyright file of the Debian package git"
    );
    fs::remove_file(papers.dir.path().join("in/debian/doc/git/copyright")).unwrap();
    assert_eq!(
        said(&papers.run()),
        "the Debian package git has no copyright file"
    );
}
