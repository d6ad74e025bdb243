//! The crate graph: who may use whom, and what the pure crates can reach at all.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::hold;
use crate::source::PURE;
use crate::tree::{file, root};

/// Who may depend on whom (normal and build dependencies). Whoever is not named here may use everything but the
/// programs: they are programs themselves (`kapelle`, the tests, the examples).
const MAY: &[(&str, &[&str])] = &[
    ("kapelle-types", &[]),
    ("kapelle-expression", &["kapelle-types"]),
    ("kapelle-contract", &["kapelle-expression"]),
    ("kapelle-prompt", &["kapelle-types"]),
    ("kapelle-schedule", &["kapelle-types"]),
    (
        "kapelle-manifest",
        &["kapelle-types", "kapelle-expression", "kapelle-contract", "kapelle-prompt", "kapelle-schedule"],
    ),
    ("kapelle-engine", &["kapelle-types", "kapelle-expression"]),
    ("kapelle-policy", &["kapelle-types"]),
    ("kapelle-retry", &[]),
    ("kapelle-telemetry", &["kapelle-types"]),
    ("kapelle-broker", &["kapelle-types"]),
    ("kapelle-sdk", &[]),
    ("kapelle-proto", &["kapelle-types", "kapelle-engine"]),
    (
        "kapelle-bus",
        &["kapelle-types", "kapelle-schedule", "kapelle-engine", "kapelle-proto", "kapelle-retry", "kapelle-telemetry"],
    ),
    ("kapelle-accounts", &["kapelle-types", "kapelle-policy", "kapelle-bus"]),
    (
        "kapelle-coordinator",
        &[
            "kapelle-types",
            "kapelle-schedule",
            "kapelle-expression",
            "kapelle-manifest",
            "kapelle-engine",
            "kapelle-policy",
            "kapelle-proto",
            "kapelle-retry",
            "kapelle-telemetry",
            "kapelle-bus",
        ],
    ),
    (
        "kapelle-worker",
        &[
            "kapelle-types",
            "kapelle-contract",
            "kapelle-prompt",
            "kapelle-manifest",
            "kapelle-engine",
            "kapelle-proto",
            "kapelle-retry",
            "kapelle-telemetry",
            "kapelle-bus",
            "kapelle-sdk",
        ],
    ),
    (
        "kapelle-bench",
        &[
            "kapelle-types",
            "kapelle-manifest",
            "kapelle-proto",
            "kapelle-retry",
            "kapelle-telemetry",
            "kapelle-broker",
            "kapelle-bus",
            "kapelle-coordinator",
            "kapelle-worker",
            "kapelle-sdk",
        ],
    ),
];
/// Programs: nobody depends on them.
const PROGRAMS: [&str; 3] = ["kapelle", "kapelle-tests", "native-worker"];
/// What a pure crate reaches by no way. `chrono` (through `cel`) and `getrandom` (through `uuid`) are reachable for their
/// values; that nobody calls their clock and their randomness is `source::pure_crates_do_no_io`.
const OUT_OF_REACH: [&str; 16] = [
    "tokio",
    "mio",
    "socket2",
    "async-nats",
    "async-std",
    "smol",
    "hyper",
    "reqwest",
    "tonic",
    "rand",
    "fastrand",
    "backoff",
    "instant",
    "quanta",
    "tempfile",
    "metrics",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

static METADATA: LazyLock<Metadata> = LazyLock::new(|| {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The packages of this platform are here, because it was built; those of others need not be.
    let system = if cfg!(target_os = "macos") { "apple-darwin" } else { "unknown-linux-gnu" };
    let platform = format!("{}-{system}", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", &platform])
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
});

impl Metadata {
    fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|p| self.workspace_members.contains(&p.id))
    }

    /// Everything that a package reaches by normal dependencies, with who leads there.
    fn reach(&self, package: &Package) -> BTreeMap<&str, &str> {
        let names: BTreeMap<&str, &str> = self.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
        let nodes: BTreeMap<&str, &Node> = self.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
        let (mut found, mut open) = (BTreeMap::new(), vec![package.id.as_str()]);
        while let Some(id) = open.pop() {
            let normal = nodes[id].deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind.is_none()));
            for edge in normal {
                if !found.contains_key(names[edge.pkg.as_str()]) {
                    found.insert(names[edge.pkg.as_str()], names[id]);
                    open.push(&edge.pkg);
                }
            }
        }
        found
    }
}

#[test]
fn crates_use_only_what_is_below_them() {
    let members: BTreeSet<&str> = METADATA.members().map(|p| p.name.as_str()).collect();
    let mut problems = Vec::new();
    for package in METADATA.members() {
        let may = MAY.iter().find(|(name, _)| *name == package.name).map(|(_, may)| *may);
        if may.is_none() && !PROGRAMS.contains(&package.name.as_str()) {
            problems.push(format!("{} has no place in the graph", package.name));
        }
        let uses = package.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev"));
        for used in uses.map(|d| d.name.as_str()).filter(|n| members.contains(n)) {
            if PROGRAMS.contains(&used) || may.is_some_and(|may| !may.contains(&used)) {
                problems.push(format!("{} uses {used}", package.name));
            }
        }
    }
    hold(
        "Dependencies go one way: types ← expression ← contract ← manifest, engine ← proto ← bus ← coordinator, worker ← the binary.",
        "move the code to the crate that owns the duty. If the graph itself has to change, change it here and in \
         ARCHITECTURE.md, with an ADR.",
        &problems,
    );
}

#[test]
fn pure_crates_reach_no_io() {
    let pure: Vec<String> = PURE.iter().map(|c| c.replace("shared/", "kapelle-")).collect();
    let mut problems = Vec::new();
    for package in METADATA.members().filter(|p| pure.contains(&p.name)) {
        let reach = METADATA.reach(package);
        for (what, through) in OUT_OF_REACH.iter().filter_map(|w| Some((w, reach.get(w)?))) {
            problems.push(format!("{} reaches {what} through {through}", package.name));
        }
    }
    hold(
        "types, expression, contract, prompt, manifest, engine and policy reach no runtime, no network, no randomness and no clock of their own.",
        "take the dependency out, or turn off the feature that brings it.",
        &problems,
    );
}

#[test]
fn one_crate_names_backoff() {
    hold(
        "Only kapelle-retry names `backoff`.",
        "use `kapelle_retry::retry`; docs/adr/0004 says why.",
        &others_that_name("backoff", "kapelle-retry"),
    );
}

#[test]
fn one_crate_names_cedar() {
    hold(
        "Only kapelle-policy names `cedar-policy`.",
        "ask `kapelle_policy::Policies`; what is built with Cedar is built slowly.",
        &others_that_name("cedar-policy", "kapelle-policy"),
    );
}

/// Who names a package besides the one that may.
fn others_that_name(package: &str, only: &str) -> Vec<String> {
    let names = METADATA.packages.iter().filter(|p| p.dependencies.iter().any(|d| d.name == package));
    names.filter(|p| p.name != only).map(|p| format!("{} {}", p.name, p.version)).collect()
}

#[test]
fn every_crate_is_on_the_map() {
    let map = &file("ARCHITECTURE.md").text;
    let missing = METADATA.members().filter(|p| !map.contains(&format!("`{}`", p.name)));
    hold(
        "Every crate is in ARCHITECTURE.md.",
        "give it a row in the table of folders and a line under what it never does.",
        &missing.map(|p| p.name.clone()).collect::<Vec<_>>(),
    );
}

#[test]
fn versions_and_lints_come_from_the_workspace() {
    let manifests = crate::tree::with_ending(&["/Cargo.toml"]);
    let strays = manifests.filter(|f| {
        let inherits = |line: &str| f.text.lines().any(|l| l.trim() == line);
        !(inherits("version.workspace = true") && inherits("[lints]") && f.text.contains("workspace = true"))
    });
    hold(
        "Each crate takes its version and its lints from the workspace.",
        "`version.workspace = true`, and `[lints]` with `workspace = true`.",
        &strays.map(|f| f.path.clone()).collect::<Vec<_>>(),
    );
}
