//! Which program an agent's folder holds, where its manifest does not say. One answer or none: who has to guess, asks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::failure::Failure;
use crate::manifests::files::unreadable;

/// Bytes of a file that say what it is: a `#!` line is no longer.
const HEAD_BYTES: u64 = 256;
/// Bytes of a package.json.
const PACKAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Files of the folder itself that are looked at; beyond it nothing is inferred.
const FILES_MAX: usize = 1_000;
/// Where a virtual environment of Python has its interpreter.
const ENVIRONMENTS: [&str; 2] = [".venv/bin/python", "venv/bin/python"];

/// A program, and why it is taken for the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) command: Vec<String>,
    pub(super) because: String,
}

/// Every program of the folder that may be the agent, one for each file.
pub(super) fn candidates(folder: &Path) -> Result<Vec<Program>, Failure> {
    let failed = |e| unreadable(folder, &e);
    let mut found: BTreeMap<String, Program> = BTreeMap::new();
    let mut scripts = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)?.take(FILES_MAX) {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let about = entry.metadata().map_err(failed)?;
        if !about.is_file() || name.starts_with('.') {
            continue;
        }
        let head = head(&entry.path()).map_err(failed)?;
        if let Some(program) = itself(&name, about.permissions().mode() & 0o111 != 0, &head) {
            found.insert(name.clone(), program);
        }
        if name.ends_with(".py") {
            scripts.push(name);
        }
    }
    let main = match scripts.as_slice() {
        _ if scripts.iter().any(|it| it == "main.py") => Some(("main.py", "main.py is there")),
        [only] => Some((only.as_str(), "the only Python file")),
        _ => None,
    };
    if let Some((name, why)) = main {
        let python = ENVIRONMENTS.into_iter().find(|it| folder.join(it).is_file());
        let program = Program { command: words([python.unwrap_or("python3"), name]), because: why.to_owned() };
        // A virtual environment says more than the `#!` line of a file that lies beside it.
        let known = found.entry(name.to_owned()).or_insert_with(|| program.clone());
        if python.is_some() {
            *known = program;
        }
    }
    if let Some((file, program)) = package(folder) {
        found.entry(file).or_insert(program);
    }
    Ok(found.into_values().collect())
}

/// A file that says by itself how it is run.
fn itself(name: &str, executable: bool, head: &[u8]) -> Option<Program> {
    let line = head.strip_prefix(b"#!").map(|rest| rest.split(|b| *b == b'\n').next().unwrap_or_default());
    let line = line.map(|line| String::from_utf8_lossy(line).trim().to_owned());
    match line {
        Some(line) if executable => Some(Program { command: vec![format!("./{name}")], because: format!("#!{line}") }),
        Some(line) => {
            let interpreter = line.split_whitespace().skip_while(|word| word.ends_with("/env") || *word == "-S");
            let command: Vec<String> = interpreter.chain([name]).map(str::to_owned).collect();
            (command.len() > 1).then(|| Program { command, because: format!("#!{line}") })
        }
        None if executable && head.starts_with(b"\x7fELF") => {
            Some(Program { command: vec![format!("./{name}")], because: "an executable".into() })
        }
        None => None,
    }
}

/// What a package.json names: its one `bin`, or its `main`.
fn package(folder: &Path) -> Option<(String, Program)> {
    let mut text = String::new();
    File::open(folder.join("package.json")).ok()?.take(PACKAGE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let package: Value = serde_json::from_str(&text).ok()?;
    let bin = match &package["bin"] {
        Value::Object(several) if several.len() == 1 => several.values().next()?.as_str(),
        one => one.as_str(),
    };
    let (key, file) = match (bin, package["main"].as_str()) {
        (Some(file), _) => ("bin", file),
        (None, Some(file)) => ("main", file),
        (None, None) => return None,
    };
    let file = file.trim_start_matches("./").to_owned();
    folder.join(&file).is_file().then(|| {
        let program = Program { command: words(["node", &file]), because: format!("package.json, `{key}`") };
        (file, program)
    })
}

fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files with their text; a name that ends with `*` is executable.
    fn check(files: &[(&str, &str)], want: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name.trim_end_matches('*'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let mode = if name.ends_with('*') { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let found = candidates(folder.path()).unwrap();
        let found: Vec<String> = found.iter().map(|it| format!("{}: {}", it.command.join(" "), it.because)).collect();
        assert_eq!(found, want, "{files:?}");
    }

    #[test]
    fn one_program_is_found_by_what_it_says_of_itself() {
        check(&[("main.py", ""), ("helper.py", ""), ("README.md", "")], &["python3 main.py: main.py is there"]);
        check(&[("count.py", "import json")], &["python3 count.py: the only Python file"]);
        check(&[("run*", "#!/bin/sh\n"), ("data.json", "{}")], &["./run: #!/bin/sh"]);
        check(&[("agent*", "\x7fELF...")], &["./agent: an executable"]);
        check(&[("a.rb", "#!/usr/bin/env ruby\n")], &["ruby a.rb: #!/usr/bin/env ruby"]);
        check(&[("a.ts", "#!/usr/bin/env -S deno run\n")], &["deno run a.ts: #!/usr/bin/env -S deno run"]);
        check(&[("main.py*", "#!/usr/bin/env python3\n")], &["./main.py: #!/usr/bin/env python3"]);
        check(
            &[("package.json", r#"{"main": "./lib/index.js"}"#), ("lib/index.js", "")],
            &["node lib/index.js: package.json, `main`"],
        );
        check(
            &[("main.py*", "#!/usr/bin/env python3\n"), ("venv/bin/python*", "")],
            &["venv/bin/python main.py: main.py is there"],
        );
    }

    #[test]
    fn several_are_all_named_and_data_is_none() {
        check(&[("a*", "#!/bin/sh\n"), ("b*", "#!/bin/sh\n")], &["./a: #!/bin/sh", "./b: #!/bin/sh"]);
        check(&[("a.py", ""), ("b.py", "")], &[]);
        check(&[("notes.txt*", "hello"), (".hidden*", "#!/bin/sh\n"), ("package.json", "{}")], &[]);
        check(&[("package.json", r#"{"main": "gone.js"}"#)], &[]);
        check(&[("empty", "#!\n")], &[]);
    }
}
