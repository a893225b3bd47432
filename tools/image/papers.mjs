// Writes what is in the image: a bill of materials (CycloneDX 1.5, JSON) and the texts of the licences.
// Node's standard library only. It reads what the build stages left and fails where something has no name,
// no version or no licence, rather than leave it out.
//
//   node papers.mjs IN OUT
//
// IN:  rust/{Cargo.lock,LICENSE,metadata.json,rustc-version,sqlite-version,opencode-sidecar,licences/},
//      opencode.json, opencode.LICENSE, debian/{status,debian_version,doc/}
// OUT: sbom.cdx.json, licences.txt
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [from, to] = process.argv.slice(2);
const path = (...parts) => join(from, ...parts);
const read = (...parts) => readFileSync(path(...parts), "utf8");
const hash = (algorithm, data, form = "hex") => createHash(algorithm).update(data).digest(form);

/** Says which component lacks something, and ends. */
const must = (value, sentence) => {
  if (value) return value;
  console.error(sentence);
  process.exit(1);
};

// --- licences ------------------------------------------------------------------------------------------

/** Short names of Debian's copyright files that SPDX writes otherwise. What is not here keeps its own name. */
const SPDX = {
  expat: "MIT", mit: "MIT", "mit-1": "MIT", "x11": "X11", isc: "ISC", zlib: "Zlib", curl: "curl", openldap: "OLDAP-2.8", "openldap-2.8": "OLDAP-2.8",
  "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "bsd-4-clause": "BSD-4-Clause", "0bsd": "0BSD", "cc0-1.0": "CC0-1.0", cc0: "CC0-1.0",
  "apache-2.0": "Apache-2.0", "apache-2": "Apache-2.0", "artistic": "Artistic-1.0-Perl", "artistic-2.0": "Artistic-2.0", "mpl-1.1": "MPL-1.1", "mpl-2.0": "MPL-2.0",
  "gpl-1": "GPL-1.0-only", "gpl-1+": "GPL-1.0-or-later", "gpl-2": "GPL-2.0-only", "gpl-2.0": "GPL-2.0-only", "gpl-2+": "GPL-2.0-or-later", "gpl-2.0+": "GPL-2.0-or-later",
  "gpl-3": "GPL-3.0-only", "gpl-3+": "GPL-3.0-or-later", "gpl-3.0+": "GPL-3.0-or-later", "lgpl-2": "LGPL-2.0-only", "lgpl-2+": "LGPL-2.0-or-later", "lgpl-2.0+": "LGPL-2.0-or-later",
  "lgpl-2.1": "LGPL-2.1-only", "lgpl-2.1+": "LGPL-2.1-or-later", "lgpl-3": "LGPL-3.0-only", "lgpl-3+": "LGPL-3.0-or-later", "lgplv3+": "LGPL-3.0-or-later", "lgplv2.1+": "LGPL-2.1-or-later",
  "gplv2+": "GPL-2.0-or-later", "gplv3+": "GPL-3.0-or-later", "gfdl-1.2": "GFDL-1.2-only", "gfdl-1.3": "GFDL-1.3-only", "gfdl-1.3+": "GFDL-1.3-or-later", unicode: "Unicode-DFS-2016", "bsl-1.0": "BSL-1.0",
};

const license = (name) => ({ license: SPDX[name.toLowerCase()] ? { id: SPDX[name.toLowerCase()] } : { name } });

/** The licences a Debian copyright file names. The old, free form only refers to the texts that Debian keeps. */
const debianLicences = (text) => {
  const named = [...text.matchAll(/^License:[ \t]*(\S[^\n]*)$/gm)].flatMap(([, line]) => line.split(/\s+(?:and|or)\s+|\s*[,|]\s*(?:and |or )?/i));
  const referred = [...text.matchAll(/\/usr\/share\/common-licenses\/([A-Za-z]+(?:-[\d.]*\d)?)/g)].map(([, name]) => name);
  const said = [
    [/public domain/i, "public-domain"],
    [/Permission is hereby granted, free of charge/, "Expat"],
    [/Redistribution and use in source and binary forms/, "BSD-like"],
  ].flatMap(([words, name]) => (words.test(text) ? [name] : []));
  const names = named.length ? named : [...referred, ...said];
  return [...new Set(names.map((name) => name.trim()).filter(Boolean))].sort();
};

// --- the sidecar and its crates ------------------------------------------------------------------------

const metadata = JSON.parse(read("rust", "metadata.json"));
const packages = new Map(metadata.packages.map((entry) => [entry.id, entry]));
const nodes = new Map(metadata.resolve.nodes.map((node) => [node.id, node]));
const root = must(packages.get(metadata.resolve.root), "cargo metadata names no root package");

/** What is linked: ordinary dependencies, and none of the macros, which run in the compiler only. */
const linked = (id) =>
  nodes
    .get(id)
    .deps.filter(({ dep_kinds }) => dep_kinds.some(({ kind }) => kind === null))
    .map(({ pkg }) => pkg)
    .filter((dependency) => !packages.get(dependency).targets.some(({ kind }) => kind.includes("proc-macro")));

const crates = new Set();
const visit = (id) => {
  if (crates.has(id)) return;
  crates.add(id);
  linked(id).forEach(visit);
};
visit(root.id);

const checksums = new Map(
  read("rust", "Cargo.lock")
    .split("[[package]]")
    .map((entry) => ["name", "version", "checksum"].map((key) => new RegExp(`^${key} = "(.*)"$`, "m").exec(entry)?.[1]))
    .map(([name, version, checksum]) => [`${name}@${version}`, checksum]),
);

const crateRef = (id) => `pkg:cargo/${packages.get(id).name}@${packages.get(id).version}`;

const crate = (id) => {
  const { name, version, license: expression, license_file: file } = packages.get(id);
  must(expression || file, `the crate ${name} ${version} names no licence`);
  const checksum = must(checksums.get(`${name}@${version}`), `Cargo.lock has no checksum for ${name} ${version}`);
  return {
    type: "library", "bom-ref": crateRef(id), name, version, purl: crateRef(id),
    hashes: [{ alg: "SHA-256", content: checksum }],
    // The slash is what Cargo wrote before it knew SPDX.
    licenses: expression ? [{ expression: expression.replaceAll("/", " OR ") }] : [{ license: { name: file } }],
  };
};

const sidecar = {
  type: "application", "bom-ref": crateRef(root.id), name: root.name, version: root.version, purl: crateRef(root.id),
  hashes: [{ alg: "SHA-256", content: hash("sha256", readFileSync(path("rust", "opencode-sidecar"))) }],
  licenses: [{ license: { id: root.license } }],
};

const rustVersion = must(/^rustc (\S+)/.exec(read("rust", "rustc-version"))?.[1], "rust/rustc-version names no version");
const sqliteVersion = must(read("rust", "sqlite-version").trim(), "rust/sqlite-version names no version");
const compiledIn = [
  { type: "library", "bom-ref": "rust-std", name: "rust-std", version: rustVersion, licenses: [{ expression: "MIT OR Apache-2.0" }] },
  { type: "library", "bom-ref": "sqlite", name: "sqlite", version: sqliteVersion, purl: `pkg:generic/sqlite@${sqliteVersion}`, cpe: `cpe:2.3:a:sqlite:sqlite:${sqliteVersion}:*:*:*:*:*:*:*`, licenses: [{ license: { id: "blessing" } }] },
];

// --- OpenCode ------------------------------------------------------------------------------------------

/** What Bun links in, as its LICENSE.md of 1.3 lists it. It gives no versions, and its packages in
 * JavaScript and those of OpenCode itself cannot be read off the binary: they are not in this bill. */
const BUN_LINKS = [
  ["JavaScriptCore", { license: { id: "LGPL-2.0-or-later" } }], ["boringssl", { license: { name: "several, see the project" } }], ["brotli", { license: { id: "MIT" } }],
  ["libarchive", { license: { name: "several, see the project" } }], ["lol-html", { license: { id: "BSD-3-Clause" } }], ["ls-hpack", { license: { id: "MIT" } }],
  ["ls-qpack", { license: { id: "MIT" } }], ["lsquic", { expression: "MIT AND BSD-3-Clause" }], ["mimalloc", { license: { id: "MIT" } }],
  ["picohttpparser", { expression: "MIT OR Artistic-1.0-Perl" }], ["zstd", { expression: "BSD-3-Clause OR GPL-2.0-only" }], ["simdutf", { license: { id: "Apache-2.0" } }],
  ["tinycc", { license: { id: "LGPL-2.1-only" } }], ["uSockets", { license: { id: "Apache-2.0" } }], ["uWebSockets", { license: { id: "Apache-2.0" } }],
  ["zlib-ng", { license: { id: "Zlib" } }], ["c-ares", { license: { id: "MIT" } }], ["icu", { license: { id: "Unicode-3.0" } }], ["libbase64", { license: { id: "BSD-2-Clause" } }],
  ["libdeflate", { license: { id: "MIT" } }], ["libjpeg-turbo", { expression: "BSD-3-Clause AND IJG AND Zlib" }], ["libspng", { license: { id: "BSD-2-Clause" } }],
  ["libwebp", { license: { id: "BSD-3-Clause" } }], ["highway", { license: { id: "Apache-2.0" } }], ["uucode", { license: { id: "MIT" } }],
  ["libc++abi (part)", { expression: "Apache-2.0 WITH LLVM-exception" }],
];

const pinned = JSON.parse(read("opencode.json"));
const opencode = {
  type: "application", "bom-ref": `pkg:npm/${pinned.name}@${pinned.version}`, name: pinned.name, version: pinned.version, purl: `pkg:npm/${pinned.name}@${pinned.version}`,
  hashes: [{ alg: "SHA-512", content: Buffer.from(pinned.integrity.replace("sha512-", ""), "base64").toString("hex") }],
  licenses: [{ license: { id: "MIT" } }],
  components: [
    {
      type: "platform", "bom-ref": `bun@${pinned.bun}`, name: "bun", version: pinned.bun, purl: `pkg:generic/bun@${pinned.bun}`, licenses: [{ license: { id: "MIT" } }],
      components: BUN_LINKS.map(([name, licence]) => ({ type: "library", "bom-ref": `bun/${name}`, name, licenses: [licence] })),
    },
  ],
};

// --- Debian --------------------------------------------------------------------------------------------

const release = read("debian", "debian_version").trim();
const installed = read("debian", "status")
  .split(/\n\n+/)
  .map((entry) => Object.fromEntries([...entry.matchAll(/^([A-Za-z-]+): (.*)$/gm)].map(([, key, value]) => [key, value])))
  .filter(({ Status }) => Status === "install ok installed")
  // Ours, and empty: tools/image/system says what it is for.
  .filter(({ Package }) => Package !== "opencode-sidecar-no-perl");

const sourceOf = ({ Package, Source }) => (Source ?? Package).split(" ")[0];

const debian = installed.map(({ Package: name, Version: version, Architecture: architecture, Source: source }) => {
  // A package may keep its papers with a sister of the same source.
  const sisters = installed.filter((other) => sourceOf(other) === sourceOf({ Package: name, Source: source }));
  const keeper = [name, ...sisters.map(({ Package }) => Package)].find((sister) => existsSync(path("debian", "doc", sister, "copyright")));
  const copyright = path("debian", "doc", must(keeper, `the Debian package ${name} has no copyright file`), "copyright");
  const licences = debianLicences(readFileSync(copyright, "latin1"));
  must(licences.length, `no licence was recognised in the copyright file of the Debian package ${name}`);
  const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}&distro=debian-${release.split(".")[0]}`;
  const properties = [{ name: "debian:copyright", value: `/usr/share/doc/${keeper}/copyright` }];
  if (source) properties.push({ name: "debian:source", value: source });
  return { type: "library", "bom-ref": purl, name, version, purl, licenses: licences.map(license), properties };
});
must(debian.length > 0, "debian/status names no installed package");

// --- the two files -------------------------------------------------------------------------------------

const libraries = [...crates].filter((id) => id !== root.id).map(crate).sort((a, b) => (a.purl < b.purl ? -1 : 1));
const components = [
  { type: "operating-system", "bom-ref": "debian", name: "debian", version: release, licenses: [{ license: { name: "each package its own" } }] },
  sidecar, ...libraries, ...compiledIn, opencode, ...debian,
];
const image = { type: "container", "bom-ref": "image", name: "opencode-sidecar", version: root.version, licenses: [{ license: { id: root.license } }] };
const extra = { [crateRef(root.id)]: ["rust-std"] };
const dependencies = [
  { ref: "image", dependsOn: [crateRef(root.id), opencode["bom-ref"], "debian"] },
  { ref: "debian", dependsOn: debian.map((entry) => entry["bom-ref"]) },
  ...[...crates].map((id) => ({
    ref: crateRef(id),
    dependsOn: [...new Set(linked(id).map(crateRef)), ...(extra[crateRef(id)] ?? []), ...(packages.get(id).name === "libsqlite3-sys" ? ["sqlite"] : [])].sort(),
  })),
];

// The same content has the same number, so that the same build is the same file.
const number = hash("sha256", JSON.stringify(components));
const uuid = [number.slice(0, 8), number.slice(8, 12), `5${number.slice(13, 16)}`, `8${number.slice(17, 20)}`, number.slice(20, 32)].join("-");
const bill = { bomFormat: "CycloneDX", specVersion: "1.5", serialNumber: `urn:uuid:${uuid}`, version: 1, metadata: { component: image }, components, dependencies };

/** Equal texts stand once, under all who use them. */
const texts = new Map();
const quote = (who, text) => texts.set(text, [...(texts.get(text) ?? []), who]);
quote(`${root.name} ${root.version}`, read("rust", "LICENSE").trim());
quote(`${pinned.name} ${pinned.version}`, read("opencode.LICENSE").trim());
for (const { name, version } of libraries) {
  const dir = path("rust", "licences", `${name}-${version}`);
  for (const file of existsSync(dir) ? readdirSync(dir).sort() : []) quote(`${name} ${version} (${file})`, readFileSync(join(dir, file), "utf8").trim());
}
const head = `What is in this image, and under which licence, is in sbom.cdx.json beside this file. Here are the texts for
what is not Debian's; Debian's are in /usr/share/doc/*/copyright. Bun ${pinned.bun}, which OpenCode is built on, is under
the MIT licence and links JavaScriptCore, which is under the LGPL: its LICENSE.md says how to link it anew.
`;
const rule = `\n${"=".repeat(100)}\n`;

mkdirSync(to, { recursive: true });
writeFileSync(join(to, "sbom.cdx.json"), JSON.stringify(bill, null, 1) + "\n");
writeFileSync(join(to, "licences.txt"), head + [...texts].map(([text, users]) => `${rule}${users.join("\n")}\n${rule}\n${text}\n`).join(""));
console.log(`${libraries.length} crates, ${debian.length} Debian packages, ${pinned.name} ${pinned.version}, ${texts.size} licence texts`);
