//! What agents may touch: what is understood, what it is registered as, and what people see when it is wrong.

use std::time::Duration;

use crate::samples::{AGENT, problems};
use kapelle_manifest::{Access, Manifest, Resources, Runtime, parse};

const RUNTIME: &str = "  runtime: { process: { command: [python3, licence_review.py], protocol: jsonl } }\n";

/// The agent with these lines of `access`, and these limits of a `once` process.
fn agent(access: &str, limits: &str) -> String {
    let process = format!("process: {{ command: [./run], protocol: once, limits: {{ {limits} }} }}");
    assert!(AGENT.contains(RUNTIME));
    AGENT.replace(RUNTIME, &format!("  access:\n{access}\n  runtime: {{ {process} }}\n"))
}

fn read(text: &str) -> (Access, Resources, Manifest) {
    let manifest = parse("agent.yaml", text).unwrap().remove(0).manifest;
    let Manifest::Agent(agent) = &manifest else { panic!("{manifest:?}") };
    let Runtime::Process(process) = &agent.spec.runtime else { panic!("{:?}", agent.spec.runtime) };
    (agent.spec.access.clone(), process.limits.clone(), manifest)
}

#[test]
fn what_is_granted_is_held_and_survives_json() {
    let access = "    files: { read: [data, /srv/models], write: [out] }\n    folders: { read: [project], write: [results] }\n    \
                  network: { connect: [443] }\n    env: [HTTPS_PROXY]\n    secrets: [crm-token]";
    let (it, limits, manifest) = read(&agent(access, "memory: 512MiB, cpu: 60s, files: 64, file_size: 1GiB"));
    assert_eq!((it.files.read.len(), it.files.write.as_slice()), (2, &["out".to_owned()][..]));
    assert_eq!((it.folders.read[0].as_str(), it.folders.write[0].as_str()), ("project", "results"));
    assert_eq!((it.network.connect.as_slice(), it.env[0].as_str()), (&[443][..], "HTTPS_PROXY"));
    assert_eq!(it.secrets[0].variable(), "CRM_TOKEN");
    assert_eq!((limits.memory_bytes, limits.cpu), (Some(512 << 20), Some(Duration::from_secs(60))));
    assert_eq!((limits.files, limits.file_size_bytes), (Some(64), Some(1 << 30)));
    let back: Manifest = serde_json::from_str(&manifest.canonical()).unwrap();
    assert_eq!(back, manifest);
    assert_eq!(back.canonical(), manifest.canonical());
}

/// What was registered before there was an `access` has the same digest, and grants nothing.
#[test]
fn nothing_is_granted_that_is_not_written() {
    let (access, limits, manifest) = read(AGENT);
    assert!(access.is_none() && limits.is_default());
    assert!(!manifest.canonical().contains("access") && !manifest.canonical().contains("memory"));
    let empty = AGENT.replace(RUNTIME, &format!("  access: {{ files: {{}}, network: {{ connect: [] }} }}\n{RUNTIME}"));
    assert_eq!(read(&empty).2.digest(), manifest.digest());
}

#[test]
fn what_nothing_would_enforce_is_refused() {
    let cases = [
        ("hosts", agent("    network: { hosts: [api.example.com] }", "")),
        ("tools", agent("    tools: [browser]", "")),
        ("processes", agent("    env: []", "processes: 64")),
        ("native", AGENT.replace(RUNTIME, "  access: { secrets: [token] }\n  runtime: { native: {} }\n")),
        ("cpu_of_many_tasks", AGENT.replace("protocol: jsonl }", "protocol: jsonl, limits: { cpu: 60s } }")),
    ];
    for (name, text) in cases {
        shows(name, &text);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    shows("paths", &agent("    files: { read: [\"${input.dir}\", ~/data, \"\"] }", ""));
    shows("variables", &agent("    env: [PATH, KAPELLE_SECRET_X, 2FAST, \"A=B\"]\n    secrets: [Token, path]", ""));
    shows(
        "sizes",
        &agent("    network: { connect: [0, 70000] }", "memory: 512MB, file_size: 12, files: 2, cpu: 500ms"),
    );
    shows("too_little", &agent("    env: []", "memory: 1MiB"));
}

#[track_caller]
fn shows(name: &str, text: &str) {
    let said: Vec<String> = problems(text)
        .iter()
        .map(|it| format!("{} {}:{} {} [{}]", it.code(), it.line, it.column, it.message, it.hint))
        .collect();
    assert!(!said.is_empty(), "{name}: nothing is wrong");
    insta::assert_snapshot!(name, said.join("\n"));
}
