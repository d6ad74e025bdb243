//! The examples of this repository: nothing wrong with them, and nothing that may go wrong.

use std::fs;
use std::path::{Path, PathBuf};

use kapelle_manifest::{Agents, Manifest, Sourced, check, parse, schedules, warnings};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()) {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|it| it == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn the_examples_come_out_without_a_warning() {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples"), &mut found);
    let read = |path: &PathBuf| parse(&path.display().to_string(), &fs::read_to_string(path).unwrap()).unwrap();
    let manifests: Vec<Sourced> = found.iter().flat_map(read).collect();
    assert!(manifests.len() >= 7, "{found:?}");
    for path in &found {
        let text = fs::read_to_string(path).unwrap();
        for schedule in schedules(&path.display().to_string(), &text).unwrap() {
            let of = |it: &&Sourced| it.manifest.name_version().1 == schedule.workflow.as_str();
            let Some(Manifest::Workflow(workflow)) = manifests.iter().find(of).map(|it| &it.manifest) else {
                panic!("{} runs what is not here", schedule.name)
            };
            assert!(workflow.spec.input.compile().unwrap().accepts(&schedule.input), "{}", schedule.name);
        }
    }
    let there: Agents = manifests.iter().map(|it| &it.manifest).collect();
    let all = manifests.iter().flat_map(|it| check(it, &there).into_iter().chain(warnings(it, &there)));
    let told: Vec<String> = all.map(|it| it.render(false)).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}
