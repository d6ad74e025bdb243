//! Documents name only what is there: links, and paths in code spans.

use std::collections::BTreeSet;

use crate::hold;
use crate::text::{code_spans, links, prose, slug};
use crate::tree::{FILES, File, exists, file, with_ending};

/// Endings of files that a document means as files of this tree when it names a path with a folder in it.
const ENDINGS: [&str; 9] = [".rs", ".md", ".toml", ".proto", ".py", ".yaml", ".conf", ".sh", ".svg"];

#[test]
fn links_lead_somewhere() {
    let problems = with_ending(&[".md"]).flat_map(|f| {
        let links = prose(&f.text).into_iter().flat_map(|(n, line)| links(line).into_iter().map(move |l| (n, l)));
        links.filter(|(_, link)| !leads(f, link)).map(|(n, link)| format!("{}:{n}: {link}", f.path))
    });
    hold("A link leads to a file and a heading that are there.", "mend the link.", &problems.collect::<Vec<_>>());
}

#[test]
fn paths_are_there() {
    let problems = with_ending(&[".md"]).flat_map(|f| {
        let spans = prose(&f.text).into_iter().flat_map(|(n, line)| code_spans(line).into_iter().map(move |s| (n, s)));
        let gone = spans.filter(|(_, span)| is_path(span) && !is_there(f, span));
        gone.map(|(n, span)| format!("{}:{n}: `{span}`", f.path))
    });
    hold(
        "A path in a document is there.",
        "name where the thing is now. A path that is only an example has a `<part>` in it.",
        &problems.collect::<Vec<_>>(),
    );
}

#[test]
fn source_names_documents_that_are_there() {
    let problems = with_ending(&[".rs", ".toml", ".py", ".yaml"]).flat_map(|f| {
        let named = f
            .text
            .lines()
            .enumerate()
            .flat_map(|(n, line)| line.match_indices("docs/").map(move |(at, _)| (n + 1, path_at(&line[at..]))));
        let gone = named.filter(|(_, path)| !path.contains('<') && !doc_exists(path));
        gone.map(|(n, path)| format!("{}:{n}: {path}", f.path))
    });
    hold("Source names documents that are there.", "mend the path.", &problems.collect::<Vec<_>>());
}

/// Whether a link leads to something: another site is not looked at.
fn leads(from: &File, link: &str) -> bool {
    if link.contains("://") || link.starts_with("mailto:") {
        return true;
    }
    let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
    let path = if path.is_empty() { from.path.clone() } else { join(from.folder(), path) };
    exists(&path) && (fragment.is_empty() || headings(&path).contains(fragment))
}

fn headings(path: &str) -> BTreeSet<String> {
    prose(&file(path).text).into_iter().filter(|(_, l)| l.starts_with('#')).map(|(_, l)| slug(l)).collect()
}

/// `a/b` and `../c` make `a/c`.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in path.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Whether a code span means a path of this tree.
fn is_path(span: &str) -> bool {
    let plain = span.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'));
    if !plain || span.starts_with(['/', '-', '.']) || span.contains("//") {
        return false;
    }
    let Some((top, _)) = span.split_once('/') else {
        // A lone name is looked for anywhere; agents and data folders have files of other kinds.
        return [".rs", ".proto"].iter().any(|e| span.ends_with(e));
    };
    ENDINGS.iter().any(|e| span.ends_with(e)) || FILES.iter().any(|f| f.path.split('/').next() == Some(top))
}

/// Whether it is there: from the root, from the document's folder, or, for a lone name, anywhere.
fn is_there(from: &File, span: &str) -> bool {
    let anywhere = || !span.contains('/') && FILES.iter().any(|f| f.name() == span);
    exists(span) || exists(&join(from.folder(), span)) || anywhere()
}

/// The path that a text begins with.
fn path_at(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "/._-<>*{}".contains(c))).unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

/// `docs/adr/0004` is short for the file that begins so.
fn doc_exists(path: &str) -> bool {
    let pattern = path.contains(['*', '{']);
    pattern || exists(path) || FILES.iter().any(|f| f.path.starts_with(path))
}
