//! Prompts: templates over an input (`{{ input.text }}`, `{% for … %}`), compiled, bounded, rendered.
//!
//! Manifests check them when they are read, workers render them for each task. Nothing is escaped, nothing is included
//! from elsewhere, and nothing but the input can be named. Rendering ends within its fuel whatever the input is; no
//! template and no input makes it panic.

mod prompt;

pub use prompt::{Error, Prompt};
